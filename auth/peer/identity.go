package peer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Assurance is how evidence was verified.
type Assurance string

// The assurances.
const (
	CryptographicPeer Assurance = "cryptographic_peer" // by this process, on the connection itself
	LocalDaemon       Assurance = "local_daemon"       // by a daemon on this machine
	ConfiguredProxy   Assurance = "configured_proxy"   // by a proxy that the operator trusts
)

// Kind is what kind of subject evidence names.
type Kind string

// The kinds of subjects; an empty one is Unknown.
const (
	User       Kind = "user"
	TaggedNode Kind = "tagged_node"
	Workload   Kind = "workload"
	Endpoint   Kind = "endpoint"
	Unknown    Kind = "unknown"
)

// Stability is whether a subject's key will always mean the same subject.
type Stability string

// The stabilities; an empty one is NoStability.
const (
	Stable      Stability = "stable"
	Login       Stability = "login" // a name that may pass to somebody else
	NoStability Stability = "none"
)

// Identity is what a provider says about a peer. It is a value: a copy shares
// nothing that could change.
type Identity struct {
	Provider  string // [Provider.Name] of the provider that says so
	Source    string // where the evidence is from, such as "envoy_xfcc_sanitize_set"
	Assurance Assurance
	Issuer    string // the authority whose subject this is, such as "spiffe://example.org"
	Transport string

	Kind      Kind
	Subject   string // key of the subject at the issuer; "" when there is none
	Stability Stability
	Verified  bool // the subject is

	Attributes           Object
	Capabilities         Object
	CapabilitiesVerified bool

	// SourceAddr and ProxyAddr are for audits: they are no part of the binding,
	// and never name anybody.
	SourceAddr, ProxyAddr string
	// Until is when the evidence ends, zero when it does not say: a connection
	// that keeps its peer must not go on for longer. It is no part of the binding
	// either.
	Until time.Time
}

// complete puts the defaults in and checks the identity.
func (i *Identity) complete() error {
	if i.Kind == "" {
		i.Kind = Unknown
	}
	if i.Stability == "" {
		i.Stability = NoStability
	}
	switch i.Assurance {
	case CryptographicPeer, LocalDaemon, ConfiguredProxy:
	default:
		return fmt.Errorf("an unknown assurance %q", i.Assurance)
	}
	switch i.Kind {
	case User, TaggedNode, Workload, Endpoint, Unknown:
	default:
		return fmt.Errorf("an unknown kind of subject %q", i.Kind)
	}
	switch i.Stability {
	case Stable, Login, NoStability:
	default:
		return fmt.Errorf("an unknown stability %q", i.Stability)
	}
	for _, text := range [...]string{i.Provider, i.Source, i.Issuer, i.Transport, i.Subject} {
		if !utf8.ValidString(text) {
			return errText
		}
	}
	switch {
	case i.Provider == "" || i.Source == "" || i.Issuer == "":
		return errors.New("an identity needs a provider, a source and an issuer")
	case i.Subject == "" && (i.Verified || i.Stability != NoStability):
		return errors.New("an identity without a subject is neither verified nor stable")
	}
	return nil
}

// bound are the parts of the identity that the binding is made of, in their order.
func (i *Identity) bound() [14]string {
	return [...]string{
		i.Provider, i.Issuer, i.Subject, string(i.Assurance), i.Source, i.Transport,
		string(i.Kind), string(i.Stability), strconv.FormatBool(i.Verified), strconv.FormatBool(i.CapabilitiesVerified),
		"", "", // where addresses would be
		i.Attributes.JSON(), i.Capabilities.JSON(),
	}
}

// eligible reports whether the subject can be a principal.
func (i *Identity) eligible() bool { return i.Verified && i.Subject != "" && i.Stability == Stable }

// Principal is the one name of the subject among all providers and issuers:
// peer/provider/issuer/subject, with everything but letters, digits and -._~ of
// each escaped as in a URL. It is "" when there is no subject.
func (i *Identity) Principal() string {
	if i.Subject == "" {
		return ""
	}
	b := append(make([]byte, 0, 128), "peer"...)
	for _, part := range [...]string{i.Provider, i.Issuer, i.Subject} {
		b = appendEscaped(append(b, '/'), part)
	}
	return string(b)
}

func appendEscaped(dst []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}
