package jwt_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// nestedClaims are those of an identity provider that says more than a name.
func nestedClaims() map[string]any {
	return map[string]any{
		"aud": []any{audience, "https://other.example"}, "scp": []any{"read", "write"},
		"realm_access": map[string]any{"roles": []any{"admin", "auditor"}, "level": int64(3)},
		"groups":       []any{[]any{"a", map[string]any{"b": "c"}}, nil, true, 1.5},
	}
}

// scribble changes every list and every object in a value.
func scribble(value any) {
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			scribble(item)
			v[i] = "scribbled"
		}
	case map[string]any:
		for name, item := range v {
			scribble(item)
			v[name] = "scribbled"
		}
		v["more"] = "scribbled"
	}
}

func TestWhatACallDoesToItsClaimsIsItsOwnAffair(t *testing.T) {
	key := newSigner(t, "k", "ES256")
	for _, tt := range []struct {
		name   string
		claims map[string]any
	}{
		{"plain values", nil},
		{"lists and objects", nestedClaims()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAuthenticator(t, jwt.Options{Issuers: []jwt.Issuer{{Name: issuerName, JWKS: keys(t, key)}}, Claims: []string{"*"}})
			all := with(goodClaims(), tt.claims)
			want := vgirpc.Identity{Principal: "alice", Domain: issuerName, Authenticated: true, Claims: all}
			r := bearer(key.sign(t, nil, all))
			for _, when := range []string{"at first sight", "the second time", "the third time"} {
				got, err := a.Authenticate(r)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("%s: %v (-want +got):\n%s", when, err, diff)
				}
				scribble(got.Claims)
			}
		})
	}
}

// BenchmarkClaims is what a token costs that was seen before, by what it claims.
func BenchmarkClaims(b *testing.B) {
	key := newSigner(b, "k", "EdDSA")
	a := newAuthenticator(b, jwt.Options{Issuers: []jwt.Issuer{{Name: issuerName, JWKS: keys(b, key)}}, Claims: []string{"*"}})
	for _, tt := range []struct {
		name   string
		claims map[string]any
	}{
		{"plain values", nil},
		{"two lists", map[string]any{"aud": []any{audience, "https://other.example"}, "scp": []any{"read", "write"}}},
		{"lists and objects", nestedClaims()},
	} {
		r := bearer(key.token(b, tt.claims))
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
