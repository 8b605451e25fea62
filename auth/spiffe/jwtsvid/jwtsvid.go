package jwtsvid

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Options configure [New]; none has a default.
type Options struct {
	// Bundles have the keys of each trust domain.
	Bundles jwtbundle.Source
	// Audience are the names of this service, one of which a token has to be for.
	Audience []string
	// TrustDomains are those whose workloads count, as in "example.org".
	TrustDomains []string
}

// Authenticator names callers by their JWT-SVIDs: the principal is the SPIFFE ID,
// the domain "spiffe", and the claims are those of the token. It is an
// [auth.Authenticator].
type Authenticator struct {
	opts    Options
	domains []spiffeid.TrustDomain

	mu    sync.RWMutex
	known map[[sha256.Size]byte]*accepted // by token
}

// accepted is a token that has been accepted. It is again until it ends, as long
// as the bundle is the same.
type accepted struct {
	identity vgirpc.Identity
	domain   spiffeid.TrustDomain
	bundle   *jwtbundle.Bundle // a copy
	until    time.Time
}

const (
	maxToken = 16 << 10 // bytes
	maxKnown = 4096     // tokens remembered; beyond it, all are forgotten
)

// New returns an authenticator. It is an error when an option is missing, or a
// trust domain is no name of such.
func New(opts Options) (*Authenticator, error) {
	switch {
	case opts.Bundles == nil:
		return nil, errors.New("jwtsvid: no Bundles to verify tokens against")
	case len(opts.Audience) == 0 || slices.Contains(opts.Audience, ""):
		return nil, errors.New("jwtsvid: no audience, or an empty one: a token for anybody could be for somebody else")
	case len(opts.TrustDomains) == 0:
		return nil, errors.New("jwtsvid: no trust domains")
	}
	a := &Authenticator{opts: opts, known: map[[sha256.Size]byte]*accepted{}}
	a.opts.Audience = slices.Clone(opts.Audience)
	for _, name := range opts.TrustDomains {
		d, err := spiffeid.TrustDomainFromString(name)
		if err != nil || d.Name() != name {
			return nil, fmt.Errorf("jwtsvid: %q is no trust domain", name)
		}
		a.domains = append(a.domains, d)
	}
	return a, nil
}

// Authenticate names the caller by the bearer token.
//
// It fails with [auth.MissingCredential] without one, with
// [auth.ExpiredCredential] when its time is over by more than a minute, with
// [*auth.Unavailable] when there is no bundle of a trust domain that counts, and
// with [auth.InvalidCredential] otherwise.
func (a *Authenticator) Authenticate(r *http.Request) (vgirpc.Identity, error) {
	token, err := auth.TokenOf(r)
	if err != nil {
		return vgirpc.Identity{}, err
	}
	if len(token) > maxToken {
		return vgirpc.Identity{}, refuse(auth.InvalidCredential, "a long token")
	}
	key := sha256.Sum256([]byte(token))
	a.mu.RLock()
	known := a.known[key]
	a.mu.RUnlock()
	if known == nil || !a.holds(known) {
		if known, err = a.verify(token); err != nil {
			return vgirpc.Identity{}, err
		}
		a.remember(key, known)
	}
	return known.identity.Clone(), nil
}

// holds reports whether what was accepted would be again.
func (a *Authenticator) holds(known *accepted) bool {
	bundle, err := a.opts.Bundles.GetJWTBundleForTrustDomain(known.domain)
	return err == nil && time.Now().Before(known.until) && known.bundle.Equal(bundle)
}

func (a *Authenticator) remember(key [sha256.Size]byte, known *accepted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= maxKnown {
		clear(a.known)
	}
	a.known[key] = known
}

// refuse is a refusal whose words are for logs on this side.
func refuse(reason auth.Reason, why string) *auth.Failure {
	return &auth.Failure{Reason: reason, Err: errors.New("jwtsvid: " + why)}
}

// asked is a source of bundles for one token.
type asked struct {
	a      *Authenticator
	bundle *jwtbundle.Bundle
	outage error
}

// GetJWTBundleForTrustDomain is the bundle of a trust domain that counts.
func (q *asked) GetJWTBundleForTrustDomain(d spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	if !slices.Contains(q.a.domains, d) {
		return nil, errors.New("a trust domain that does not count")
	}
	bundle, err := q.a.opts.Bundles.GetJWTBundleForTrustDomain(d)
	if err != nil {
		q.outage = err
		return nil, err
	}
	q.bundle = bundle.Clone() // what comes of it is remembered
	return q.bundle, nil
}

// verify reads a token. The library's errors repeat parts of it, and are dropped.
func (a *Authenticator) verify(token string) (*accepted, error) {
	q := &asked{a: a}
	svid, err := jwtsvid.ParseAndValidate(token, q, a.opts.Audience)
	switch {
	case q.outage != nil:
		return nil, &auth.Unavailable{Err: fmt.Errorf("jwtsvid: the bundle: %w", q.outage)}
	case err != nil && strings.HasSuffix(err.Error(), "token has expired"):
		return nil, refuse(auth.ExpiredCredential, "the token has expired")
	case err != nil:
		return nil, refuse(auth.InvalidCredential, "no token of a trust domain that counts, for this service and of now")
	case svid.ID.Path() == "":
		return nil, refuse(auth.InvalidCredential, "the SPIFFE ID of a trust domain and no workload")
	}
	return &accepted{
		identity: vgirpc.Identity{
			Principal: svid.ID.String(), Domain: "spiffe", Authenticated: true, Claims: svid.Claims,
		},
		domain: svid.ID.TrustDomain(), bundle: q.bundle, until: svid.Expiry,
	}, nil
}
