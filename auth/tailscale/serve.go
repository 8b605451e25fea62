package tailscale

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vgirpc/vgirpc-go/auth/peer"
)

// ProviderName is the name of the providers of this package: a service has one.
const ProviderName = "tailscale"

// What Tailscale Serve sets.
const (
	headerLogin        = "Tailscale-User-Login"
	headerName         = "Tailscale-User-Name"
	headerPicture      = "Tailscale-User-Profile-Pic"
	headerCapabilities = "Tailscale-App-Capabilities"
	headerFunnel       = "Tailscale-Funnel-Request"
)

const (
	maxHeader     = 16 << 10 // bytes of one
	maxCapability = 512      // bytes of a name
)

var errHeader = errors.New("tailscale: a header that is not of its form")

// ServeOptions configure [Serve].
type ServeOptions struct {
	// Issuer is the operator's name for the tailnet, such as
	// "tailnet:example.com"; it has no default.
	Issuer string
	// Proxies are the addresses that Serve connects from, each on its own, as in
	// "127.0.0.1", or "unix".
	Proxies []string
}

// ServeProvider reads the headers of Tailscale Serve, as "tailscale". It is a
// [peer.Provider].
type ServeProvider struct {
	issuer  string
	proxies peer.Proxies
}

// Serve returns a provider for what comes through Tailscale Serve. It is an error
// when there is no issuer or no proxy.
func Serve(opts ServeOptions) (*ServeProvider, error) {
	if err := checkIssuer(opts.Issuer); err != nil {
		return nil, err
	}
	proxies, err := peer.ParseProxies(opts.Proxies)
	if err != nil {
		return nil, fmt.Errorf("tailscale: %w", err)
	}
	return &ServeProvider{opts.Issuer, proxies}, nil
}

func checkIssuer(issuer string) error {
	if issuer == "" || !utf8.ValidString(issuer) || strings.ContainsFunc(issuer, unicode.IsControl) {
		return errors.New("tailscale: no issuer, or control characters in it")
	}
	return nil
}

// Name is [ProviderName].
func (*ServeProvider) Name() string { return ProviderName }

// Local says that nobody is asked.
func (*ServeProvider) Local() {}

// ProxyHeaders are those that Serve sets for a user.
func (*ServeProvider) ProxyHeaders() []string { return []string{headerLogin, headerCapabilities} }

// Resolve reads what Serve has said. A request from the internet (Funnel) is
// [peer.NotApplicable], whatever else it has.
func (p *ServeProvider) Resolve(_ context.Context, s *peer.Snapshot) peer.Result {
	switch {
	case s.Header == nil:
		return peer.Result{Status: peer.NotApplicable}
	case !p.proxies.Trust(s):
		return peer.Result{Status: peer.UntrustedProxy}
	}
	h, err := readHeaders(s)
	switch {
	case err != nil:
		return peer.Result{Status: peer.Invalid}
	case h.funnel:
		return peer.Result{Status: peer.NotApplicable}
	case h.login == "" && h.capabilities == peer.Object{}:
		return peer.Result{Status: peer.NoMatch}
	}
	identity := peer.Identity{
		Provider: ProviderName, Source: "serve_proxy", Assurance: peer.ConfiguredProxy, Issuer: p.issuer, Transport: s.Transport,
		Capabilities: h.capabilities, CapabilitiesVerified: h.hasCapabilities,
		SourceAddr: s.Asserted, ProxyAddr: s.ImmediateAddr(),
	}
	if h.login != "" {
		identity.Kind, identity.Subject, identity.Stability, identity.Verified = peer.User, "login:"+h.login, peer.Login, true
		attributes := map[string]any{"user_login": h.login}
		if h.name != "" {
			attributes["user_display_name"] = h.name
		}
		if identity.Attributes, err = peer.NewObject(attributes); err != nil {
			return peer.Result{Status: peer.Invalid}
		}
	}
	return peer.Result{Status: peer.Available, Identities: []peer.Identity{identity}}
}

// headers are what Serve has said.
type headers struct {
	funnel          bool
	login, name     string
	capabilities    peer.Object
	hasCapabilities bool
}

// readHeaders reads all of them: one that is wrong spoils the others.
func readHeaders(s *peer.Snapshot) (h headers, err error) {
	funnel, isFunnel, err := s.One(headerFunnel)
	if err != nil {
		return h, err
	}
	login, hasLogin, err := text(s, headerLogin)
	if err != nil {
		return h, err
	}
	name, hasName, err := text(s, headerName)
	if err != nil {
		return h, err
	}
	_, hasPicture, err := text(s, headerPicture)
	if err != nil {
		return h, err
	}
	capabilities, hasCapabilities, err := text(s, headerCapabilities)
	if err != nil {
		return h, err
	}
	switch {
	case isFunnel && funnel != "?1":
		return h, errHeader
	case isFunnel:
		return headers{funnel: true}, nil
	case (hasLogin || hasName || hasPicture) && login == "":
		return h, errHeader
	}
	h = headers{login: login, name: name, hasCapabilities: hasCapabilities}
	if hasCapabilities {
		h.capabilities, err = parseCapabilities(capabilities)
	}
	return h, err
}

// text is the value of a header that comes once, decoded.
func text(s *peer.Snapshot, name string) (value string, ok bool, err error) {
	raw, ok, err := s.One(name)
	if err != nil || !ok {
		return "", false, err
	}
	value, err = decode(raw)
	return value, true, err
}

// decode reads ASCII as it is, or words in UTF-8 and encoding Q of RFC 2047 with
// blanks between them, and nothing else beside them.
func decode(raw string) (string, error) {
	if len(raw) > maxHeader || strings.ContainsFunc(raw, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", errHeader
	}
	if !strings.HasPrefix(raw, "=?") {
		return raw, nil
	}
	var (
		b       strings.Builder
		decoder mime.WordDecoder
	)
	const prefix = "=?utf-8?q?"
	for rest := raw; ; {
		word, following, more := strings.Cut(rest, " ")
		if len(word) < len(prefix)+2 || !strings.EqualFold(word[:len(prefix)], prefix) {
			return "", errHeader
		}
		piece, err := decoder.Decode(word)
		if err != nil || !utf8.ValidString(piece) || strings.Count(word, "?") != 4 {
			return "", errHeader
		}
		b.WriteString(piece)
		if !more {
			break
		}
		rest = strings.TrimLeft(following, " ")
	}
	if strings.ContainsFunc(b.String(), func(c rune) bool { return c < ' ' || c == 0x7F }) {
		return "", errHeader
	}
	return b.String(), nil
}

// parseCapabilities reads an object that has, by the names of capabilities, lists
// of objects.
func parseCapabilities(decoded string) (peer.Object, error) {
	object, err := peer.ParseObject([]byte(decoded))
	if err != nil {
		return peer.Object{}, err
	}
	for name, v := range object.Map() {
		if len(name) > maxCapability || !strings.Contains(name, "/") || strings.ContainsFunc(name, unicode.IsControl) {
			return peer.Object{}, errHeader
		}
		entries, ok := v.([]any)
		if !ok {
			return peer.Object{}, errHeader
		}
		for _, entry := range entries {
			if _, ok := entry.(map[string]any); !ok {
				return peer.Object{}, errHeader
			}
		}
	}
	return object, nil
}
