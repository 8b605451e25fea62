package mtls

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Authenticator names callers by their certificates. It is an
// [auth.Authenticator].
type Authenticator struct {
	opts         Options
	proxies      proxies
	fingerprints map[string]string // nil for all

	mu    sync.RWMutex
	known map[string]*accepted // by evidence
}

// accepted is a certificate that was accepted. It is again while it is valid:
// nothing but the time can change that.
type accepted struct {
	identity            vgirpc.Identity
	notBefore, notAfter time.Time // zero when unknown
}

// maxKnown bounds what is remembered; beyond it, it is all forgotten.
const maxKnown = 1024

// New returns an authenticator. It is an error when the options do not fit
// together, or name nobody who could be believed.
func New(opts Options) (*Authenticator, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, fmt.Errorf("mtls: %w", err)
	}
	a := &Authenticator{opts: opts, known: map[string]*accepted{}}
	if a.proxies, err = parseProxies(opts.Proxies); err != nil {
		return nil, fmt.Errorf("mtls: %w", err)
	}
	if opts.Fingerprints == nil {
		return a, nil
	}
	a.fingerprints = map[string]string{}
	for text, principal := range opts.Fingerprints {
		digits, ok := normalize(text)
		if !ok {
			return nil, fmt.Errorf("mtls: %q is no SHA-256 fingerprint", text)
		}
		if _, twice := a.fingerprints[digits]; twice {
			return nil, fmt.Errorf("mtls: the fingerprint %q appears twice", text)
		}
		a.fingerprints[digits] = principal
	}
	return a, nil
}

// ProxyHeaders are the headers that the proxy has to set; none with [Direct].
func (a *Authenticator) ProxyHeaders() []string {
	switch {
	case a.opts.Source == Direct:
		return nil
	case a.opts.Source == GoogleSPIFFE:
		return []string{a.opts.Header, googlePresent, googleVerified, googleError}
	case a.opts.verified():
		return []string{a.opts.Header, a.opts.VerifyHeader}
	}
	return []string{a.opts.Header}
}

// Authenticate names the caller by its certificate.
//
// It fails with [auth.ProxyRequired] when the request does not come from a
// configured proxy or lacks the proxy's header, with [auth.MissingCredential]
// when there was no certificate, with [auth.ExpiredCredential] outside the
// certificate's time, with [auth.InsufficientScope] when its principal is not on
// the allow-list, and with [auth.InvalidCredential] otherwise.
func (a *Authenticator) Authenticate(r *http.Request) (vgirpc.Identity, error) {
	raw, err := a.evidence(r)
	if err != nil {
		return vgirpc.Identity{}, err
	}
	now := time.Now()
	a.mu.RLock()
	known := a.known[raw]
	a.mu.RUnlock()
	if known == nil {
		c, err := a.read(raw)
		if err != nil {
			return vgirpc.Identity{}, err
		}
		if known, err = a.accept(c); err != nil {
			return vgirpc.Identity{}, err
		}
	}
	if now.Before(known.notBefore) || (!known.notAfter.IsZero() && now.After(known.notAfter)) {
		return vgirpc.Identity{}, refuse(auth.ExpiredCredential, "the certificate is outside its time")
	}
	a.remember(raw, known)
	return known.identity.Clone(), nil
}

// remember keeps what was made of the evidence.
func (a *Authenticator) remember(raw string, known *accepted) {
	a.mu.RLock()
	have := a.known[raw] != nil
	a.mu.RUnlock()
	if have {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= maxKnown {
		clear(a.known)
	}
	a.known[raw] = known
}

// refuse is a refusal whose words are for logs on this side.
func refuse(reason auth.Reason, why string) *auth.Failure {
	return &auth.Failure{Reason: reason, Err: errors.New(why)}
}

// accept makes an identity of a certificate.
func (a *Authenticator) accept(c *certificate) (*accepted, error) {
	principal, err := a.principal(c)
	if err != nil {
		return nil, err
	}
	if a.opts.Allow != nil && !slices.Contains(a.opts.Allow, principal) {
		return nil, refuse(auth.InsufficientScope, "the certificate's principal is not on the allow-list")
	}
	return &accepted{
		identity: vgirpc.Identity{
			Principal: principal, Domain: a.opts.Domain, Authenticated: true, Claims: c.claims(),
		},
		notBefore: c.notBefore, notAfter: c.notAfter,
	}, nil
}

// principal is whom a certificate stands for.
func (a *Authenticator) principal(c *certificate) (string, error) {
	listed := ""
	if a.fingerprints != nil {
		var ok bool
		if listed, ok = a.fingerprints[c.fingerprint]; !ok {
			return "", refuse(auth.InvalidCredential, "the certificate is not on the list")
		}
	}
	name, err := c.name(a.opts.Name, a.opts.TrustDomains)
	switch {
	case listed != "" && a.opts.Name != SPIFFEID: // the list says it, whatever the names are
		return listed, nil
	case err != nil:
		return "", refuse(auth.InvalidCredential, err.Error())
	case listed != "":
		return listed, nil
	}
	return name, nil
}

// trusts reports whether the connection comes from a proxy that is configured.
func (a *Authenticator) trusts(r *http.Request) bool {
	if c, ok := peer.ConnOf(r.Context()); ok { // the request has the address that a PROXY header asserts
		return (c.Unix && a.proxies.unix) || (!c.Unix && a.proxies.contain(c.Immediate.Addr()))
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return a.proxies.unix
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.proxies.contain(from.Addr())
}
