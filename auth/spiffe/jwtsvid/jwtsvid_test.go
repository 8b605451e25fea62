package jwtsvid_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/spiffe/jwtsvid"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var domain = spiffeid.RequireTrustDomainFromString("example.org")

// authority issues the tokens of a trust domain.
type authority struct {
	key *ecdsa.PrivateKey
	id  string
}

func newAuthority(id string) *authority {
	return &authority{must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), id}
}

func (a *authority) bundle(d spiffeid.TrustDomain) *jwtbundle.Bundle {
	return jwtbundle.FromJWTAuthorities(d, map[string]crypto.PublicKey{a.id: a.key.Public()})
}

func claims(change func(c map[string]any)) map[string]any {
	c := map[string]any{"sub": "spiffe://example.org/worker", "aud": []string{"vgi"}, "exp": time.Now().Add(time.Hour).Unix()}
	if change != nil {
		change(c)
	}
	return c
}

func (a *authority) issue(c map[string]any, header map[jose.HeaderKey]any) string {
	return sign(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: a.key, KeyID: a.id}}, c, header)
}

func sign(key jose.SigningKey, c map[string]any, header map[jose.HeaderKey]any) string {
	opts := (&jose.SignerOptions{}).WithType("JWT")
	for k, v := range header {
		opts.WithHeader(k, v)
	}
	return must(must(must(jose.NewSigner(key, opts)).Sign(must(json.Marshal(c)))).CompactSerialize())
}

func request(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/Svc/method", http.NoBody)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// outcome is what comes of a token, in a word.
func outcome(t *testing.T, a *jwtsvid.Authenticator, token string) string {
	t.Helper()
	id, err := a.Authenticate(request(token))
	if err == nil {
		return id.Domain + " " + id.Principal
	}
	if token != "" && strings.Contains(err.Error(), token) {
		t.Error("the error has the token in it")
	}
	if reason, refused := auth.ReasonOf(err); refused {
		return string(reason)
	}
	if _, out := errors.AsType[*auth.Unavailable](err); out {
		return "unavailable"
	}
	return "fault"
}

func TestTokens(t *testing.T) {
	own, other := newAuthority("a"), newAuthority("a")
	bundles := jwtbundle.NewSet(own.bundle(domain), other.bundle(spiffeid.RequireTrustDomainFromString("other.org")))
	a := must(jwtsvid.New(jwtsvid.Options{Bundles: bundles, Audience: []string{"vgi", "vgi2"}, TrustDomains: []string{"example.org", "partner.org"}}))
	with := func(name string, value any) map[string]any {
		return claims(func(c map[string]any) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		})
	}
	public := must(x509.MarshalPKIXPublicKey(own.key.Public()))
	none := func(c map[string]any) string {
		encode := func(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }
		return encode(map[string]any{"alg": "none", "typ": "JWT", "kid": "a"}) + "." + encode(c) + "."
	}
	good := own.issue(claims(nil), nil)
	parts, admin := strings.Split(good, "."), strings.Split(none(with("sub", "spiffe://example.org/admin")), ".")
	for _, tt := range []struct{ name, token, want string }{
		{"a good one", good, "spiffe spiffe://example.org/worker"},
		{"for several services", own.issue(with("aud", []string{"x", "vgi2"}), nil), "spiffe spiffe://example.org/worker"},
		{"none", "", "missing_credential"},
		{"no token", "x.y", "invalid_credential"},
		{"a long one", strings.Repeat("a", 16<<10+1), "invalid_credential"},
		{"for another service", own.issue(with("aud", []string{"x"}), nil), "invalid_credential"},
		{"for nobody", own.issue(with("aud", nil), nil), "invalid_credential"},
		{"expired", own.issue(with("exp", time.Now().Add(-time.Hour).Unix()), nil), "expired_credential"},
		{"expired, by another authority", other.issue(with("exp", time.Now().Add(-time.Hour).Unix()), nil), "invalid_credential"},
		{"without an end", own.issue(with("exp", nil), nil), "invalid_credential"},
		{"not yet valid", own.issue(with("nbf", time.Now().Add(time.Hour).Unix()), nil), "invalid_credential"},
		{"without a subject", own.issue(with("sub", nil), nil), "invalid_credential"},
		{"of somebody who is no workload", own.issue(with("sub", "alice"), nil), "invalid_credential"},
		{"of a trust domain", own.issue(with("sub", "spiffe://example.org"), nil), "invalid_credential"},
		{"of an ID with an escape", own.issue(with("sub", "spiffe://example.org/a%2Fb"), nil), "invalid_credential"},
		{"of an ID with dots", own.issue(with("sub", "spiffe://example.org/a/../b"), nil), "invalid_credential"},
		{"of a domain that does not count", other.issue(with("sub", "spiffe://other.org/worker"), nil), "invalid_credential"},
		{"of one domain, by the authority of another", other.issue(claims(nil), nil), "invalid_credential"},
		{"of a domain whose bundle is not there", own.issue(with("sub", "spiffe://partner.org/worker"), nil), "unavailable"},
		{"of another type", own.issue(claims(nil), map[jose.HeaderKey]any{"typ": "at+jwt"}), "invalid_credential"},
		{"with a key of its own", (&authority{other.key, "b"}).issue(claims(nil), map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: other.key.Public()}}), "invalid_credential"},
		{"without a signature", none(claims(nil)), "invalid_credential"},
		{"with half a signature", good[:len(good)-40], "invalid_credential"},
		{"with another's payload", parts[0] + "." + admin[1] + "." + parts[2], "invalid_credential"},
		{
			"with the public key as a secret",
			sign(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: public, KeyID: "a"}}, claims(nil), nil), "invalid_credential",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // the second time it may be remembered
				if got := outcome(t, a, tt.token); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			}
		})
	}
	id := must(a.Authenticate(request(good)))
	id.Claims["aud"] = "changed"
	want := vgirpc.Identity{Principal: "spiffe://example.org/worker", Domain: "spiffe", Authenticated: true, Claims: map[string]any{
		"sub": "spiffe://example.org/worker", "aud": []any{"vgi"},
	}}
	again := must(a.Authenticate(request(good)))
	delete(again.Claims, "exp")
	if diff := cmp.Diff(want, again); diff != "" {
		t.Error(diff)
	}
}

func TestATokenIsGoodNoLongerThanItsKey(t *testing.T) {
	own, next := newAuthority("a"), newAuthority("a")
	bundles := jwtbundle.NewSet(own.bundle(domain))
	a := must(jwtsvid.New(jwtsvid.Options{Bundles: bundles, Audience: []string{"vgi"}, TrustDomains: []string{"example.org"}}))
	token := own.issue(claims(nil), nil)
	check := func(step, token, want string) {
		t.Helper()
		if got := outcome(t, a, token); got != want {
			t.Errorf("%s: got %s, want %s", step, got, want)
		}
	}
	const worker = "spiffe spiffe://example.org/worker"
	check("at first", token, worker)
	bundles.Add(next.bundle(domain))
	check("another key of the same name", token, "invalid_credential")
	check("a token of the new key", next.issue(claims(nil), nil), worker)
	bundles.Remove(domain)
	check("no bundle", token, "unavailable")
}

func TestOptionsThatCannotBe(t *testing.T) {
	bundles := jwtbundle.NewSet()
	for name, opts := range map[string]jwtsvid.Options{
		"no bundles":              {Audience: []string{"vgi"}, TrustDomains: []string{"example.org"}},
		"no audience":             {Bundles: bundles, TrustDomains: []string{"example.org"}},
		"an empty audience":       {Bundles: bundles, Audience: []string{""}, TrustDomains: []string{"example.org"}},
		"no trust domain":         {Bundles: bundles, Audience: []string{"vgi"}},
		"a trust domain as a URL": {Bundles: bundles, Audience: []string{"vgi"}, TrustDomains: []string{"spiffe://example.org"}},
	} {
		if _, err := jwtsvid.New(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkSeenBefore(b *testing.B) {
	own := newAuthority("a")
	a := must(jwtsvid.New(jwtsvid.Options{Bundles: own.bundle(domain), Audience: []string{"vgi"}, TrustDomains: []string{"example.org"}}))
	r := request(own.issue(claims(nil), nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}
