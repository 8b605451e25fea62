package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// DefaultMaxAuthAge is how long ago a caller may have signed in who asks for a
// grant, unless somebody says otherwise.
const DefaultMaxAuthAge = 15 * time.Minute

// Options say what a server can do. The zero value is nothing.
type Options struct {
	// ResolveToken says whom an opaque token stands for; known is false when it
	// stands for nobody. introspect_token is hosted when it is set. The token is
	// as it was sent: not trimmed, never blank, at most [MaxTokenBytes] long, and
	// no JWS. Many calls may run at once.
	//
	// When it cannot tell it returns [Unavailable], or an error that comes to the
	// same; "unknown" instead would make callers drop good tokens. Any other
	// error is a fault of the server.
	ResolveToken func(ctx context.Context, token string) (id TokenIdentity, known bool, err error)
	// Introspectors are the principals that may call introspect_token. With
	// ResolveToken there has to be one: whoever may ask can test guesses at
	// everybody's tokens, so that being known is not enough. They count in every
	// domain unless Domains.Introspectors says in which.
	Introspectors []string

	// MintGrant issues a credential to the caller, who has signed in lately.
	// issue_grant is hosted when it, or Grants, is set. It returns
	// [GrantRefused] when it will not, and [Unavailable] when it cannot tell.
	MintGrant func(ctx context.Context, r GrantRequest) (IssuedGrant, error)
	// Grants mint sealed grants in place of MintGrant, when that is nil, and
	// make [Identity.Authenticator] accept them. A sealed grant holds the
	// principal without its domain: where several domains name callers,
	// Domains.Grants says from which one they are.
	Grants *grant.Keys
	// MaxAuthAge is how long ago the caller of issue_grant may have signed in.
	// [DefaultMaxAuthAge] when zero. It is the claim auth_time that counts, which
	// is when a session began: an identity provider has to be asked for recent
	// ones (max_age).
	MaxAuthAge time.Duration

	// Domains bound by whose word callers have to be known. Without them a
	// principal is the same caller in every domain.
	Domains Domains
}

// GrantRequest is what Options.MintGrant is asked for.
type GrantRequest struct {
	Principal  string // the caller, and nobody else
	Domain     string // by whose word the caller is known; principals of two domains may be two callers
	Purpose    string
	Scopes     []string
	TTLSeconds int64 // as asked for; any number
}

// Identity is what [Host] set up on a server.
type Identity struct {
	opts          Options
	introspectors map[string]bool
}

// Host makes s host [Name] with the methods that opts allow, or not at all when
// they allow none. It fails when there is a ResolveToken without Introspectors,
// or the other way round, when one of them or of the Domains is empty, when
// Domains bound what is not hosted, on a negative MaxAuthAge, and when s hosts
// the protocol already or has begun to serve.
func Host(s *vgirpc.Server, opts Options) (*Identity, error) {
	id, err := newIdentity(opts)
	if err != nil {
		return nil, err
	}
	introspect, issue := id.opts.ResolveToken != nil, id.opts.MintGrant != nil
	if !introspect && !issue {
		return id, nil
	}
	c := newContract(introspect, issue)
	if err := s.Host(c.Protocol); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if introspect {
		vgirpc.HandleUnary(s, c.IntrospectToken, id.introspectToken)
	}
	if issue {
		vgirpc.HandleUnary(s, c.IssueGrant, id.issueGrant)
	}
	return id, nil
}

func newIdentity(opts Options) (*Identity, error) {
	switch {
	case opts.MaxAuthAge < 0:
		return nil, fmt.Errorf("identity: option MaxAuthAge is %v: want a positive time", opts.MaxAuthAge)
	case opts.ResolveToken != nil && len(opts.Introspectors) == 0:
		return nil, errors.New("identity: option Introspectors is empty: name those who may ask whom tokens stand for; " +
			"if every caller could, any user could resolve any other's token")
	case opts.ResolveToken == nil && len(opts.Introspectors) > 0:
		return nil, errors.New("identity: option Introspectors names callers of what is not hosted: ResolveToken is missing")
	case opts.ResolveToken == nil && len(opts.Domains.Introspectors) > 0:
		return nil, errors.New("identity: option Domains.Introspectors bounds what is not hosted: ResolveToken is missing")
	case opts.MintGrant == nil && opts.Grants == nil && len(opts.Domains.Grants) > 0:
		return nil, errors.New("identity: option Domains.Grants bounds what is not hosted: MintGrant and Grants are missing")
	}
	if err := opts.Domains.check(); err != nil {
		return nil, err
	}
	if opts.MaxAuthAge == 0 {
		opts.MaxAuthAge = DefaultMaxAuthAge
	}
	opts.Domains = Domains{Grants: slices.Clone(opts.Domains.Grants), Introspectors: slices.Clone(opts.Domains.Introspectors)}
	if opts.MintGrant == nil && opts.Grants != nil {
		opts.MintGrant = mintSealed(opts.Grants)
	}
	id := &Identity{opts: opts, introspectors: make(map[string]bool, len(opts.Introspectors))}
	for _, principal := range opts.Introspectors {
		if principal == "" {
			return nil, errors.New("identity: option Introspectors: a principal is empty")
		}
		id.introspectors[principal] = true
	}
	return id, nil
}

// introspectToken answers introspect_token. The caller is judged before the
// token is looked at: who may not ask learns nothing of it, not even how long
// looking takes.
func (id *Identity) introspectToken(ctx context.Context, p IntrospectParams) (TokenIdentity, error) {
	if id.opts.ResolveToken == nil {
		return TokenIdentity{}, introspectionRefused("this worker does not resolve credentials")
	}
	caller := &vgirpc.CallFrom(ctx).Peer().Identity
	if !caller.Authenticated || !id.introspectors[caller.Principal] || !within(id.opts.Domains.Introspectors, caller.Domain) {
		return TokenIdentity{}, introspectionRefused("caller is not an introspector")
	}
	if !resolvable(p.Token) {
		return TokenIdentity{}, tokenUnresolved()
	}
	found, known, err := id.resolve(ctx, p.Token)
	switch {
	case err != nil:
		return TokenIdentity{}, callError(err, p.Token)
	case !known:
		return TokenIdentity{}, tokenUnresolved()
	}
	return found, nil
}

// Faults of the application: whoever acted on such an answer would act for
// nobody in particular, or keep a credential that nobody can use.
var (
	errNobody  = &vgirpc.Error{Code: vgirpc.Internal, Message: "the function that resolves tokens named no principal"}
	errNoGrant = &vgirpc.Error{Code: vgirpc.Internal, Message: "the function that mints grants returned no token, or none that ends"}
)

// resolve asks the application.
func (id *Identity) resolve(ctx context.Context, token string) (TokenIdentity, bool, error) {
	found, known, err := id.opts.ResolveToken(ctx, token)
	if err == nil && known && found.Principal == "" {
		return TokenIdentity{}, false, errNobody
	}
	return found, known, err
}

// issueGrant answers issue_grant.
func (id *Identity) issueGrant(ctx context.Context, p GrantParams) (IssuedGrant, error) {
	if id.opts.MintGrant == nil {
		return IssuedGrant{}, GrantRefused("this worker does not mint grants")
	}
	caller := &vgirpc.CallFrom(ctx).Peer().Identity
	if err := checkFresh(caller, id.opts.MaxAuthAge, time.Now()); err != nil {
		return IssuedGrant{}, err
	}
	if !within(id.opts.Domains.Grants, caller.Domain) {
		return IssuedGrant{}, GrantRefused("this worker issues no grants to callers that are known in this way")
	}
	issued, err := id.opts.MintGrant(ctx, GrantRequest{
		Principal: caller.Principal, Domain: caller.Domain, Purpose: p.Purpose, Scopes: p.Scopes, TTLSeconds: p.TTLSeconds,
	})
	switch {
	case err != nil:
		return IssuedGrant{}, callError(err, "")
	case issued.Token == "" || issued.ExpiresAt.IsZero():
		return IssuedGrant{}, errNoGrant
	}
	return issued, nil
}

// mintSealed is a MintGrant that seals.
func mintSealed(keys *grant.Keys) func(context.Context, GrantRequest) (IssuedGrant, error) {
	return func(_ context.Context, r GrantRequest) (IssuedGrant, error) {
		token, claims, err := keys.Mint(grant.Request{
			Principal: r.Principal, Purpose: r.Purpose, Scopes: r.Scopes, TTLSeconds: r.TTLSeconds,
		})
		if err != nil {
			return IssuedGrant{}, GrantRefused(err.Error())
		}
		return IssuedGrant{Token: token, ExpiresAt: claims.ExpiresAt, GrantID: claims.ID}, nil
	}
}
