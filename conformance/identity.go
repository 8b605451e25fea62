package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/auth/identity"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// The policies of the identity protocol (IDENTITY_CONFORMANCE_FIXTURE.md).
const (
	identityOff            = "off"
	identityBoth           = "both"
	identityIntrospectOnly = "introspect-only"
	identityGrants         = "grants"
)

// Whom the fixture's tokens stand for, and who may ask.
const (
	introspector     = "conformance-introspector"
	subjectPrincipal = "subject@conformance.example"
	subjectName      = "conformance-subject"
	paddedName       = "conformance-padded"
)

// How the two errors that say "nobody can tell" differ: neither delay is
// anybody's default.
const (
	unavailableRetry     = 5 * time.Second
	authUnavailableRetry = 7 * time.Second
)

// Whoami tells a caller who it is to the worker. Its method is [WhoamiMethod].
var (
	Whoami       = vgirpc.NewProtocol("conformance.Whoami.v1", "")
	WhoamiMethod = vgirpc.NewUnary[vgirpc.None, string](Whoami, "whoami")
)

// hostIdentity hosts the identity protocol with a policy, or does nothing.
func hostIdentity(s *vgirpc.Server, policy string) (*identity.Identity, error) {
	opts := identity.Options{
		ResolveToken: resolveFixtureToken, Introspectors: []string{introspector}, MaxAuthAge: 900 * time.Second,
	}
	switch policy {
	case identityOff:
		opts = identity.Options{}
	case identityBoth:
		opts.MintGrant = mintFixtureGrant
	case identityGrants:
		keys, err := fixtureGrantKeys()
		if err != nil {
			return nil, err
		}
		opts.Grants = keys
		if err := s.Host(Whoami); err != nil {
			return nil, err
		}
		vgirpc.HandleUnary(s, WhoamiMethod, whoami)
	}
	return identity.Host(s, opts)
}

// fixtureGrantKeys are the keys that everybody knows, the minting one first.
func fixtureGrantKeys() (*grant.Keys, error) {
	return grant.New(grant.Options{
		Keys: [][]byte{countingKey(0x10), countingKey(0x30)}, Audience: "conformance", MaxTTL: time.Hour,
	})
}

// countingKey is the key whose bytes count up from first.
func countingKey(first byte) []byte {
	key := make([]byte, grant.KeySize)
	for i := range key {
		key[i] = first + byte(i)
	}
	return key
}

// resolveFixtureToken resolves nearly everything: when a token is refused, one
// of the protocol's guards has refused it.
func resolveFixtureToken(_ context.Context, token string) (identity.TokenIdentity, bool, error) {
	found := identity.TokenIdentity{Principal: subjectPrincipal, TokenName: subjectName, TTLSeconds: 300}
	switch token {
	case "conformance-unavailable-token":
		return identity.TokenIdentity{}, false, identity.Unavailable(unavailableRetry, "conformance: mapping store unreachable")
	case "conformance-auth-unavailable-token":
		return identity.TokenIdentity{}, false, &auth.Unavailable{
			RetryAfter: authUnavailableRetry, Err: errors.New("conformance: authority unreachable"),
		}
	case "conformance-unknown-token":
		return identity.TokenIdentity{}, false, nil
	case "conformance-zero-ttl-token":
		found.TTLSeconds = 0
	case "conformance-minimal-token":
		return identity.NewTokenIdentity(subjectPrincipal), true, nil
	case "  conformance-padded-probe  ":
		found.TokenName = paddedName
	}
	return found, true, nil
}

// grantExpiry is when all grants of the fixture end, so that tests need no
// clock.
var grantExpiry = time.Date(2030, time.January, 1, 0, 0, 0, 0, time.UTC)

// mintFixtureGrant mints grants that say for whom they are, and for what.
func mintFixtureGrant(_ context.Context, r identity.GrantRequest) (identity.IssuedGrant, error) {
	issued := identity.IssuedGrant{
		Token:     "conformance-grant-for:" + r.Principal + "|" + strings.Join(r.Scopes, ","),
		ExpiresAt: grantExpiry, GrantID: "conformance-grant-id",
	}
	switch r.Purpose {
	case "conformance-auth-unavailable":
		return identity.IssuedGrant{}, &auth.Unavailable{
			RetryAfter: authUnavailableRetry, Err: errors.New("conformance: grant store unreachable"),
		}
	case "conformance-refused":
		return identity.IssuedGrant{}, identity.GrantRefused("conformance: this purpose is refused")
	case "conformance-minimal":
		issued.GrantID = ""
	}
	return issued, nil
}

// whoami is the caller's identity as JSON: compact, with sorted keys.
func whoami(ctx context.Context, _ vgirpc.None) (string, error) {
	caller := vgirpc.CallFrom(ctx).Peer().Identity
	claims := caller.Claims
	if claims == nil {
		claims = map[string]any{}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(map[string]any{
		"authenticated": caller.Authenticated, "claims": claims, "domain": caller.Domain, "principal": caller.Principal,
	})
	return strings.TrimSuffix(out.String(), "\n"), err
}
