package peer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Status is what came of asking a provider.
type Status string

// The statuses (transport-identity-spec.md, "Provider result"). Only Available
// comes with identities. Unavailable and PermissionDenied are outages of the
// provider's authority; Invalid and UntrustedProxy are evidence that is rejected.
const (
	Off              Status = "off"
	NotApplicable    Status = "not_applicable"
	Available        Status = "available"
	Unavailable      Status = "unavailable"
	PermissionDenied Status = "permission_denied"
	NoMatch          Status = "no_match"
	Invalid          Status = "invalid"
	UntrustedProxy   Status = "untrusted_proxy"
)

func (s Status) valid() bool {
	switch s {
	case Off, NotApplicable, Available, Unavailable, PermissionDenied, NoMatch, Invalid, UntrustedProxy:
		return true
	}
	return false
}

func (s Status) outage() bool   { return s == Unavailable || s == PermissionDenied }
func (s Status) rejected() bool { return s == Invalid || s == UntrustedProxy }

// Result is what one provider reports: identities when it is [Available], and
// else none.
type Result struct {
	Status     Status
	Identities []Identity
}

// Evidence is what all providers have reported of one request or connection. It
// never changes, and many may read it at once. Printing, logging or marshaling it
// shows each provider's status and nothing else.
type Evidence struct {
	results map[string]Result
}

// NewEvidence makes evidence of the results of providers, by their names. It is
// an error when a result has an unknown status, has identities although it is
// not [Available] or none although it is, or has an identity that names another
// provider or is not whole.
func NewEvidence(results map[string]Result) (*Evidence, error) {
	owned := make(map[string]Result, len(results))
	for name, r := range results {
		r.Identities = slices.Clone(r.Identities)
		owned[name] = r
	}
	return newEvidence(owned)
}

// newEvidence is [NewEvidence] of results that nobody else keeps.
func newEvidence(results map[string]Result) (*Evidence, error) {
	for name, r := range results {
		switch {
		case name == "":
			return nil, errors.New("peer: a provider without a name")
		case !r.Status.valid():
			return nil, fmt.Errorf("peer: provider %q reports an unknown status %q", name, r.Status)
		case (r.Status == Available) != (len(r.Identities) > 0):
			return nil, fmt.Errorf("peer: provider %q reports %q with %d identities", name, r.Status, len(r.Identities))
		}
		for i := range r.Identities {
			if err := r.Identities[i].complete(); err != nil {
				return nil, fmt.Errorf("peer: provider %q: %w", name, err)
			}
			if r.Identities[i].Provider != name {
				return nil, fmt.Errorf("peer: provider %q reports an identity of another", name)
			}
		}
	}
	return &Evidence{results}, nil
}

// Providers are the names of those who were asked, sorted.
func (e *Evidence) Providers() []string { return slices.Sorted(maps.Keys(e.results)) }

// Status is what came of asking the provider, [Off] when it was not asked.
func (e *Evidence) Status(provider string) Status {
	if r, ok := e.results[provider]; ok {
		return r.Status
	}
	return Off
}

// Identities are what the provider says; none unless it is [Available].
func (e *Evidence) Identities(provider string) []Identity {
	return slices.Clone(e.results[provider].Identities)
}

// Until is when the first of the identities ends that the named providers have
// reported, zero when none says when.
func (e *Evidence) Until(providers ...string) time.Time {
	var until time.Time
	for _, provider := range providers {
		for _, i := range e.results[provider].Identities {
			if until.IsZero() || (!i.Until.IsZero() && i.Until.Before(until)) {
				until = i.Until
			}
		}
	}
	return until
}

// Available is what the provider says. It fails as [Require] does.
func (e *Evidence) Available(provider string) ([]Identity, error) {
	if err := e.usable(provider); err != nil {
		return nil, err
	}
	return e.Identities(provider), nil
}

// Subject is the one subject of the provider that can be a principal, verified
// and stable. It fails as [Primary] does.
func (e *Evidence) Subject(provider string) (Identity, error) {
	if err := e.usable(provider); err != nil {
		return Identity{}, err
	}
	eligible := e.eligible(provider)
	switch len(eligible) {
	case 1:
		return eligible[0], nil
	case 0:
		return Identity{}, refuse(auth.InvalidCredential, provider, "names no subject that is verified and stable")
	}
	return Identity{}, ambiguous(provider)
}

func (e *Evidence) eligible(provider string) []Identity {
	var out []Identity
	for _, i := range e.results[provider].Identities {
		if i.eligible() {
			out = append(out, i)
		}
	}
	return out
}

// usable is the error of a provider that is not [Available].
func (e *Evidence) usable(provider string) error {
	switch s := e.Status(provider); {
	case s == Available:
		return nil
	case s.outage():
		return &auth.Unavailable{Err: fmt.Errorf("peer: provider %q: %s", provider, s)}
	case s.rejected():
		return e.rejection(provider)
	}
	return refuse(auth.MissingCredential, provider, "has no evidence")
}

// rejection is the refusal of evidence that was rejected.
func (e *Evidence) rejection(provider string) error {
	if e.Status(provider) == UntrustedProxy {
		return refuse(auth.ProxyRequired, provider, "has evidence from an untrusted proxy alone")
	}
	return refuse(auth.InvalidCredential, provider, "has rejected the evidence")
}

func ambiguous(provider string) error {
	return refuse(auth.InvalidCredential, provider, "names several subjects")
}

// refuse ends every search for another credential, unless there was nothing to
// refuse.
func refuse(reason auth.Reason, provider, why string) error {
	return &auth.Failure{
		Reason: reason, Final: reason != auth.MissingCredential, Err: fmt.Errorf("peer: provider %q %s", provider, why),
	}
}

// Binding is the digest of everything that the named providers have reported,
// but for addresses, in 64 hexadecimal digits. With application, the application's
// own identity goes in too. Every part has its length before it
// (transport-identity-spec.md, "Stateful binding").
func (e *Evidence) Binding(providers []string, application *vgirpc.Identity) string {
	if !slices.IsSorted(providers) {
		providers = slices.Sorted(slices.Values(providers))
	}
	b := make([]byte, 0, 512)
	for n, provider := range providers {
		if n > 0 && providers[n-1] == provider {
			continue
		}
		b = appendParts(b, provider, string(e.Status(provider)))
		identities := e.results[provider].Identities
		if len(identities) > 1 {
			identities = slices.Clone(identities)
			slices.SortFunc(identities, func(x, y Identity) int {
				a, b := x.bound(), y.bound()
				return slices.Compare(a[:], b[:])
			})
		}
		for i := range identities {
			parts := identities[i].bound()
			b = appendParts(b, parts[:]...)
		}
	}
	if application != nil {
		b = appendParts(b, "application_auth", application.Domain, application.Principal)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func appendParts(dst []byte, parts ...string) []byte {
	for _, part := range parts {
		dst = binary.BigEndian.AppendUint64(dst, uint64(len(part)))
		dst = append(dst, part...)
	}
	return dst
}

// String is each provider with its status: "spiffe:available,tailscale:no_match".
func (e *Evidence) String() string {
	parts := make([]string, 0, len(e.results))
	for _, name := range e.Providers() {
		parts = append(parts, name+":"+string(e.Status(name)))
	}
	return strings.Join(parts, ",")
}

// Format writes the same as [Evidence.String], whatever the verb.
func (e *Evidence) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.String()) }

// LogValue is the same as [Evidence.String].
func (e *Evidence) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalJSON writes each provider's status.
func (e *Evidence) MarshalJSON() ([]byte, error) {
	statuses := make(map[string]Status, len(e.results))
	for name, r := range e.results {
		statuses[name] = r.Status
	}
	return json.Marshal(statuses)
}
