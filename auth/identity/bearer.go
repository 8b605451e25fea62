package identity

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// The domains of callers who were known by a bearer token of this package. Their
// principal is as the token has it, in whatever domain it was issued ([Domains]).
const (
	DomainGrant = "grant" // a sealed grant; claims grant_id, scopes ([]string) and purpose
	DomainToken = "token" // a token that was resolved; claim token_name
)

// Authenticator is own with what the server's identity accepts as bearer tokens
// behind it, in the order of WIRE_PROTOCOL section 16: own, sealed grants,
// tokens that ResolveToken knows. What begins as a sealed grant and is none ends
// the search, and is never resolved; neither is a JWS. Callers known in this way
// have no auth_time, so that they cannot mint grants.
//
// Without own, a request with no Authorization header is anonymous, and one with
// a header that nobody accepts is refused. Without a ResolveToken and Grants the
// result is own itself, which may be nil.
//
// It fails when own depends on headers of a proxy or has a gate in front, which
// the alternatives would go around: compose auth.All(gate, auth.Any(...)) with
// [Identity.Bearers].
func (id *Identity) Authenticator(own auth.Authenticator) (auth.Authenticator, error) {
	members := id.Bearers()
	if len(members) == 0 {
		return own, nil
	}
	if own == nil {
		members = append(members, auth.Func(anonymous))
	} else {
		if headers := auth.ProxyHeaders(own); len(headers) > 0 {
			return nil, fmt.Errorf("identity: the authenticator depends on a proxy to set %s, and grants and resolved tokens "+
				"would go around it; compose auth.All(gate, auth.Any(...)) with Bearers", strings.Join(headers, ", "))
		}
		members = slices.Insert(members, 0, own)
	}
	all, err := auth.Any(members...)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return all, nil
}

// Bearers are the authenticators that [Identity.Authenticator] puts behind
// another one, in their order; nil without a ResolveToken and Grants.
func (id *Identity) Bearers() []auth.Authenticator {
	var members []auth.Authenticator
	if id.opts.Grants != nil {
		members = append(members, auth.Func(id.byGrant))
	}
	if id.opts.ResolveToken != nil {
		members = append(members, auth.Func(id.byToken))
	}
	return members
}

// Refusals are made once: an answer says the reason alone, and the causes hold
// nothing of a request.
var (
	errOther     = refused("not a sealed grant")
	errNotShown  = refused("a sealed grant, a JWS or too long a token is not resolved")
	errUnknown   = refused("the bearer token did not resolve")
	errUnclaimed = refused("nobody accepts the Authorization header")
)

func refused(why string) error {
	return &auth.Failure{Reason: auth.InvalidCredential, Err: errors.New(why)}
}

// byGrant accepts sealed grants. A token that says that it is one, and is not,
// is refused for good: it must not get a second chance from whoever resolves
// tokens.
func (id *Identity) byGrant(r *http.Request) (vgirpc.Identity, error) {
	token, err := auth.TokenOf(r)
	if err != nil {
		return vgirpc.Identity{}, err
	}
	if !strings.HasPrefix(token, grant.Prefix) {
		return vgirpc.Identity{}, errOther
	}
	claims, err := id.opts.Grants.Verify(token)
	if err != nil {
		reason := auth.InvalidCredential
		if errors.Is(err, grant.ErrExpired) {
			reason = auth.ExpiredCredential
		}
		return vgirpc.Identity{}, &auth.Failure{Reason: reason, Err: err, Final: true}
	}
	return vgirpc.Identity{
		Principal: claims.Principal, Domain: DomainGrant, Authenticated: true,
		Claims: map[string]any{"grant_id": claims.ID, "scopes": claims.Scopes, "purpose": claims.Purpose},
	}, nil
}

// byToken accepts tokens that the application resolves.
func (id *Identity) byToken(r *http.Request) (vgirpc.Identity, error) {
	token, err := auth.TokenOf(r)
	if err != nil {
		return vgirpc.Identity{}, err
	}
	if strings.HasPrefix(token, grant.Prefix) || !resolvable(token) {
		return vgirpc.Identity{}, errNotShown
	}
	found, known, err := id.resolve(r.Context(), token)
	switch {
	case err != nil:
		return vgirpc.Identity{}, authError(err, token)
	case !known:
		return vgirpc.Identity{}, errUnknown
	}
	return vgirpc.Identity{
		Principal: found.Principal, Domain: DomainToken, Authenticated: true,
		Claims: map[string]any{"token_name": found.TokenName},
	}, nil
}

// anonymous accepts a request that presents nothing.
func anonymous(r *http.Request) (vgirpc.Identity, error) {
	if absent(r.Header["Authorization"]) {
		return vgirpc.Identity{}, nil
	}
	return vgirpc.Identity{}, errUnclaimed
}

// absent reports whether there is no Authorization header, or an empty one.
func absent(values []string) bool { return len(values) == 0 || (len(values) == 1 && values[0] == "") }
