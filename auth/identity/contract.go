package identity

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Name is the protocol's name. It has no version beside it: an incompatible
// protocol has another name.
const Name = "vgi_rpc.Identity.v2"

const (
	methodIntrospect = "introspect_token"
	methodIssue      = "issue_grant"
)

// DefaultTTLSeconds is for how long an answer of introspect_token may be kept
// when whoever resolves tokens has nothing to say about it.
const DefaultTTLSeconds = 300

// IntrospectParams are the parameters of introspect_token.
type IntrospectParams struct {
	Token string `vgi:"token"`
}

// String shows no token.
func (IntrospectParams) String() string { return "parameters of introspect_token" }

// GoString is String, so that %#v shows no token either.
func (p IntrospectParams) GoString() string { return p.String() }

// LogValue is String, so that no log shows a token either.
func (p IntrospectParams) LogValue() slog.Value { return slog.StringValue(p.String()) }

// TokenIdentity is whom a token stands for. It never has claims: they would let
// a server choose how its caller treats a user.
type TokenIdentity struct {
	// Principal is the canonical name, as the server itself would have it; never
	// empty.
	Principal string `vgi:"principal"`
	// TokenName tells people which token it was, in records. Never the token.
	TokenName string `vgi:"token_name,default="`
	// TTLSeconds is for how long the asker may keep the answer, and so for how
	// long a token works on that was revoked. 0 is "do not keep it", and is sent
	// as 0: [NewTokenIdentity] fills in [DefaultTTLSeconds].
	TTLSeconds int64 `vgi:"ttl_seconds,default=300"`
}

// NewTokenIdentity is the identity of a principal whose token has no name and
// which may be kept for [DefaultTTLSeconds].
func NewTokenIdentity(principal string) TokenIdentity {
	return TokenIdentity{Principal: principal, TTLSeconds: DefaultTTLSeconds}
}

// GrantParams are the parameters of issue_grant. There is no subject among
// them: a grant is for its caller.
type GrantParams struct {
	Purpose    string   `vgi:"purpose"` // why, for records
	Scopes     []string `vgi:"scopes"`  // what the grant may do; the server says what they mean
	TTLSeconds int64    `vgi:"ttl_seconds"`
}

// IssuedGrant is a standing credential. It is printed without its token.
type IssuedGrant struct {
	// Token is the credential, in a form that is the server's own affair.
	Token string `vgi:"token"`
	// ExpiresAt is when the server ceases to honour the grant, in UTC and
	// microseconds. It declares what the token enforces.
	ExpiresAt time.Time `vgi:"expires_at"`
	// GrantID tells grants apart in records, and is no secret; "" for none.
	GrantID string `vgi:"grant_id,default="`
}

// String names the grant and never shows the token.
func (g IssuedGrant) String() string { return fmt.Sprintf("grant %q", g.GrantID) }

// GoString is String, so that %#v shows no token either.
func (g IssuedGrant) GoString() string { return g.String() }

// LogValue is String, so that no log shows a token either.
func (g IssuedGrant) LogValue() slog.Value { return slog.StringValue(g.String()) }

// Contract is [Name] for clients. A server may host one of its methods alone; it
// answers calls of the other one as of any method that it has not got.
type Contract struct {
	Protocol        *vgirpc.Protocol
	IntrospectToken *vgirpc.Unary[IntrospectParams, TokenIdentity] // nil when left out
	IssueGrant      *vgirpc.Unary[GrantParams, IssuedGrant]        // likewise
}

// NewContract returns the contract with both methods.
func NewContract() *Contract { return newContract(true, true) }

// newContract returns the contract with some methods. The set of methods is part
// of the protocol's hash.
func newContract(introspect, issue bool) *Contract {
	// A description may have a name of the framework's own, which an application
	// cannot give to a protocol.
	p, err := (&vgirpc.ServiceDescription{Protocol: Name}).Untyped()
	if err != nil {
		panic(fmt.Sprintf("identity: %v", err)) //nolint:forbidigo // registration: the name is a constant
	}
	c := &Contract{Protocol: p}
	if introspect {
		c.IntrospectToken = vgirpc.NewUnary[IntrospectParams, TokenIdentity](p, methodIntrospect, vgirpc.MethodOptions{
			Idempotency: vgirpc.NoSideEffects, Doc: "Says whom an opaque token stands for, to callers on the server's list.",
		})
	}
	if issue {
		c.IssueGrant = vgirpc.NewUnary[GrantParams, IssuedGrant](p, methodIssue, vgirpc.MethodOptions{
			Doc: "Issues a standing credential to the calling user, who has to have signed in lately.",
		})
	}
	return c
}
