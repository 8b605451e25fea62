package spiffe

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/auth/peer"
)

// DirectOptions configure [Direct].
type DirectOptions struct {
	// TrustDomains are those whose workloads count, as in "example.org".
	TrustDomains []string
	// Bundles, when not nil, are what chains of certificates are verified
	// against, that of a trust domain for the IDs in it alone. A chain is looked
	// at again whenever its bundle has changed: a connection does not outlive
	// its authority's place there. When nil, the TLS stack has to have verified
	// the chain, and only time is looked at again.
	Bundles x509bundle.Source
}

// DirectProvider names workloads by the X.509-SVIDs that they show on the
// connection itself, as "spiffe". It is a [peer.Provider].
type DirectProvider struct {
	leaf    *mtls.Authenticator
	domains map[string]bool
	bundles x509bundle.Source

	mu       sync.RWMutex
	verified map[[sha256.Size]byte]verified // by chain
}

// verified is a chain that has been verified.
type verified struct {
	bundle *x509bundle.Bundle // a copy
	until  time.Time
}

// maxVerified bounds what is remembered; beyond it, it is all forgotten.
const maxVerified = 1024

// Direct returns a provider for TLS connections of this process. It is an error
// when there are no trust domains, or one is no name of such.
func Direct(opts DirectOptions) (*DirectProvider, error) {
	leaf, err := newLeaf(opts.TrustDomains)
	if err != nil {
		return nil, err
	}
	p := &DirectProvider{
		leaf: leaf, domains: map[string]bool{}, bundles: opts.Bundles, verified: map[[sha256.Size]byte]verified{},
	}
	for _, d := range opts.TrustDomains {
		p.domains[d] = true
	}
	return p, nil
}

// newLeaf returns what holds certificates against the X.509-SVID profile.
func newLeaf(trustDomains []string) (*mtls.Authenticator, error) {
	if len(trustDomains) == 0 {
		return nil, errors.New("spiffe: no trust domains")
	}
	leaf, err := mtls.New(mtls.Options{Source: mtls.Direct, TrustDomains: trustDomains})
	if err != nil {
		return nil, fmt.Errorf("spiffe: %w", err)
	}
	return leaf, nil
}

// checkLeaf is the SPIFFE ID of a certificate whose chain has been verified.
func checkLeaf(leaf *mtls.Authenticator, certs []*x509.Certificate) (string, error) {
	id, err := leaf.Authenticate(&http.Request{TLS: &tls.ConnectionState{
		PeerCertificates: certs, VerifiedChains: [][]*x509.Certificate{certs},
	}})
	return id.Principal, err
}

// Name is [ProviderName].
func (*DirectProvider) Name() string { return ProviderName }

// Local says that nobody is asked.
func (*DirectProvider) Local() {}

// Resolve reads the certificate of the connection.
func (p *DirectProvider) Resolve(_ context.Context, s *peer.Snapshot) peer.Result {
	switch {
	case s.TLS == nil:
		return peer.Result{Status: peer.NotApplicable}
	case len(s.TLS.PeerCertificates) == 0:
		return peer.Result{Status: peer.NoMatch}
	case p.bundles == nil && len(s.TLS.VerifiedChains) == 0:
		return peer.Result{Status: peer.Invalid}
	}
	id, err := checkLeaf(p.leaf, s.TLS.PeerCertificates)
	if err != nil {
		return peer.Result{Status: peer.Invalid}
	}
	until := s.TLS.PeerCertificates[0].NotAfter
	if p.bundles != nil {
		var status peer.Status
		if until, status = p.verify(s.TLS.PeerCertificates); status != peer.Available {
			return peer.Result{Status: status}
		}
	}
	identity, err := workload(id, "tls_x509_svid", peer.CryptographicPeer, s)
	if err != nil {
		return peer.Result{Status: peer.Invalid}
	}
	identity.Until = until
	return peer.Result{Status: peer.Available, Identities: []peer.Identity{identity}}
}

// verify looks for a chain to the bundle of the leaf's own trust domain, unless
// it has found one in the same bundle before, and returns when the chain ends.
func (p *DirectProvider) verify(certs []*x509.Certificate) (time.Time, peer.Status) {
	id, err := x509svid.IDFromCert(certs[0])
	if err != nil || !p.domains[id.TrustDomain().Name()] {
		return time.Time{}, peer.Invalid
	}
	bundle, err := p.bundles.GetX509BundleForTrustDomain(id.TrustDomain())
	if err != nil { // and there should be one
		return time.Time{}, peer.Unavailable
	}
	key, now := chainKey(certs), time.Now()
	p.mu.RLock()
	known, ok := p.verified[key]
	p.mu.RUnlock()
	if ok && now.Before(known.until) && known.bundle.Equal(bundle) {
		return known.until, peer.Available
	}
	bundle = bundle.Clone()
	_, chains, err := x509svid.Verify(certs, bundle, x509svid.WithTime(now))
	if err != nil {
		return time.Time{}, peer.Invalid
	}
	known = verified{bundle: bundle, until: certs[0].NotAfter}
	for _, c := range chains[0] {
		if c.NotAfter.Before(known.until) {
			known.until = c.NotAfter
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.verified) >= maxVerified {
		clear(p.verified)
	}
	p.verified[key] = known
	return known.until, peer.Available
}

// chainKey is the digest of certificates, each with an end of its own: DER says
// how long it is.
func chainKey(certs []*x509.Certificate) (key [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range certs {
		h.Write(c.Raw)
	}
	h.Sum(key[:0])
	return key
}

// parseDomains reads names of trust domains.
func parseDomains(names []string) ([]spiffeid.TrustDomain, error) {
	out := make([]spiffeid.TrustDomain, 0, len(names))
	for _, name := range names {
		d, err := spiffeid.TrustDomainFromString(name)
		if err != nil || d.Name() != name {
			return nil, fmt.Errorf("spiffe: %q is no trust domain", name)
		}
		out = append(out, d)
	}
	return out, nil
}
