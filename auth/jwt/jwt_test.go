package jwt_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestOptions(t *testing.T) {
	key := newSigner(t, "k", "ES256")
	good := func() jwt.Options {
		return jwt.Options{Issuers: []jwt.Issuer{{Name: issuerName, JWKS: keys(t, key)}}, Audiences: []string{audience}}
	}
	secret := bytes.Repeat([]byte{7}, 32)
	for _, tt := range []struct {
		name   string
		change func(o *jwt.Options)
		want   string // in the error; "" for none
	}{
		{"a key set alone is enough", func(*jwt.Options) {}, ""},
		{"no issuers", func(o *jwt.Options) { o.Issuers = nil }, "no issuers"},
		{"no audiences", func(o *jwt.Options) { o.Audiences = nil }, "no audiences"},
		{"an empty audience", func(o *jwt.Options) { o.Audiences = []string{""} }, "empty audience"},
		{"an issuer without a name", func(o *jwt.Options) { o.Issuers[0].Name = "" }, "without a name"},
		{"an issuer twice", func(o *jwt.Options) { o.Issuers = append(o.Issuers, o.Issuers[0]) }, "twice"},
		{"two places for keys", func(o *jwt.Options) { o.Issuers[0].JWKSURL = "https://x.example" }, "more than one place"},
		{"keys over http", func(o *jwt.Options) { o.Issuers[0] = jwt.Issuer{Name: "http://issuer.example"} }, "over http"},
		{"keys from a file", func(o *jwt.Options) { o.Issuers[0] = jwt.Issuer{Name: "i", JWKSURL: "file://host/keys"} }, `scheme "file"`},
		{"an issuer that is no URL", func(o *jwt.Options) { o.Issuers[0] = jwt.Issuer{Name: "issuer"} }, "no absolute URL"},
		{"a key set that is none", func(o *jwt.Options) { o.Issuers[0].JWKS = []byte("x") }, "no JSON Web Key Set"},
		{"a key set without keys of use", func(o *jwt.Options) { o.Algorithms = []string{"RS256"} }, "none of which is of use"},
		{"the algorithm none", func(o *jwt.Options) { o.Algorithms = []string{"none"} }, "no signature"},
		{"the same in capitals", func(o *jwt.Options) { o.Algorithms = []string{"NONE"} }, "no signature"},
		{"an unknown algorithm", func(o *jwt.Options) { o.Algorithms = []string{"es256"} }, "unknown algorithm"},
		{"a shared secret that nobody has", func(o *jwt.Options) { o.Algorithms = []string{"ES256", "HS256"} }, "no issuer has one"},
		{"a shared secret that was not asked for", func(o *jwt.Options) { o.Issuers[0] = jwt.Issuer{Name: "i", Secret: secret} }, "no algorithm for it"},
		{"a short secret", func(o *jwt.Options) {
			o.Algorithms, o.Issuers[0] = []string{"HS256"}, jwt.Issuer{Name: "i", Secret: secret[1:]}
		}, "less than 32 bytes"},
		{"an issuer none of whose algorithms is pinned", func(o *jwt.Options) {
			o.Algorithms, o.Issuers = []string{"HS256"}, append(o.Issuers, jwt.Issuer{Name: "i", Secret: secret})
		}, "only algorithms with a shared secret"},
		{"much leeway", func(o *jwt.Options) { o.Leeway = time.Hour }, "leeway"},
		{"a negative time", func(o *jwt.Options) { o.RefreshTimeout = -1 }, "negative"},
		{"a negative size", func(o *jwt.Options) { o.MaxTokenBytes = -1 }, "negative"},
		{"keys that grow old before they are refreshed", func(o *jwt.Options) { o.MaxStale = time.Minute }, "cannot be refreshed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := good()
			tt.change(&opts)
			a, err := jwt.New(t.Context(), opts)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				a.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	key := newSigner(t, "k", "ES256")
	now := time.Now().Unix()
	token := key.sign(t, nil, map[string]any{
		"iss": issuerName, "sub": "alice", "aud": []string{"other", audience}, "exp": now + 60, "auth_time": now - 1,
		"email": "alice@example.com", "roles": []string{"a"}, "scope": "read write",
	})
	issuer := jwt.Issuer{Name: issuerName, JWKS: keys(t, key)}
	named := issuer
	named.Domain = "staff"
	all := map[string]any{
		"iss": issuerName, "sub": "alice", "aud": []any{"other", audience}, "exp": now + 60, "auth_time": now - 1,
		"email": "alice@example.com", "roles": []any{"a"}, "scope": "read write",
	}
	for _, tt := range []struct {
		name string
		opts jwt.Options
		want vgirpc.Identity
	}{
		{"the subject of the issuer, with the usual claims", jwt.Options{Issuers: []jwt.Issuer{issuer}}, vgirpc.Identity{
			Principal: "alice", Domain: issuerName, Authenticated: true,
			Claims: with(all, map[string]any{"email": nil, "roles": nil}),
		}},
		{"another claim, another domain and all claims", jwt.Options{
			Issuers: []jwt.Issuer{named}, PrincipalClaim: "email", Claims: []string{"*"},
		}, vgirpc.Identity{Principal: "alice@example.com", Domain: "staff", Authenticated: true, Claims: all}},
		{"no claims", jwt.Options{Issuers: []jwt.Issuer{issuer}, Claims: []string{}}, vgirpc.Identity{
			Principal: "alice", Domain: issuerName, Authenticated: true, Claims: map[string]any{},
		}},
		{"one claim of several", jwt.Options{Issuers: []jwt.Issuer{issuer}, Claims: []string{"roles", "absent"}}, vgirpc.Identity{
			Principal: "alice", Domain: issuerName, Authenticated: true, Claims: map[string]any{"roles": []any{"a"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, mustAccept(t, newAuthenticator(t, tt.opts), token)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryAlgorithm(t *testing.T) {
	for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			key := newSigner(t, "k", algorithm)
			a := newAuthenticator(t, jwt.Options{Issuers: []jwt.Issuer{{Name: issuerName, JWKS: keys(t, key)}}})
			token := key.token(t, nil)
			mustAccept(t, a, token)
			forged := newSigner(t, "k", algorithm).token(t, nil)
			if got := outcome(t, a, forged); got != "invalid_credential" {
				t.Errorf("a signature of another key: %s", got)
			}
			other := map[bool]string{true: "ES256", false: "RS256"}[algorithm[0] == 'R']
			jwks := keys(t, key, newSigner(t, "k2", other))
			a = newAuthenticator(t, jwt.Options{Algorithms: []string{other}, Issuers: []jwt.Issuer{{Name: issuerName, JWKS: jwks}}})
			if got := outcome(t, a, token); algorithm != other && got != "invalid_credential" {
				t.Errorf("an algorithm that is not pinned: %s", got)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	key := newSigner(t, "k", "ES256")
	a := newAuthenticator(t, jwt.Options{
		Issuers:   []jwt.Issuer{{Name: issuerName, JWKS: keys(t, key)}},
		Audiences: []string{audience, "https://alias.example"}, MaxTokenBytes: 4096,
	})
	single := newAuthenticator(t, jwt.Options{Issuers: []jwt.Issuer{{Name: issuerName, JWKS: keys(t, key)}}, SingleAudience: true})
	now := time.Now().Unix()
	claims := func(changes map[string]any) string { return key.token(t, changes) }
	header := func(changes map[string]any) string { return key.sign(t, changes, goodClaims()) }
	raw := func(payload string) string { return key.sign(t, nil, payload) }
	good := claims(nil)
	parts := strings.Split(good, ".")
	const body = `"iss":"` + issuerName + `","aud":"` + audience + `","exp":9999999999`
	for _, tt := range []struct {
		name  string
		token string
		want  string // "ok" or the reason
		cause string
	}{
		{"a good token", good, "ok", ""},
		{"an access token as RFC 9068 has it", header(map[string]any{"typ": "application/at+jwt"}), "ok", ""},
		{"a type in other letters", header(map[string]any{"typ": "jwt"}), "ok", ""},
		{"no type", header(map[string]any{"typ": nil}), "ok", ""},
		{"no key id, and one key", header(map[string]any{"kid": nil}), "ok", ""},
		{"another of the audiences", claims(map[string]any{"aud": "https://alias.example"}), "ok", ""},
		{"two audiences, one of them this", claims(map[string]any{"aud": []string{"x", audience}}), "ok", ""},
		{"expired within the leeway", claims(map[string]any{"exp": now - 20}), "ok", ""},
		{"issued ahead within the leeway", claims(map[string]any{"iat": now + 20}), "ok", ""},
		{"a time with a fraction", claims(map[string]any{"exp": float64(now) + 60.5}), "ok", ""},

		{"expired", claims(map[string]any{"exp": now - 60}), "expired_credential", "expired"},
		{"expired at the epoch", claims(map[string]any{"exp": 0}), "expired_credential", "expired"},
		{"not valid yet", claims(map[string]any{"nbf": now + 60}), "expired_credential", "not valid yet"},
		{"expired and for another audience", claims(map[string]any{"exp": now - 60, "aud": "x"}), "invalid_credential", "audience"},
		{"issued in the future", claims(map[string]any{"iat": now + 60}), "invalid_credential", "future"},
		{"no expiry", claims(map[string]any{"exp": nil}), "invalid_credential", "lacks a claim"},
		{"an expiry that is a string", claims(map[string]any{"exp": "tomorrow"}), "invalid_credential", "another type"},
		{"an expiry beyond all dates", claims(map[string]any{"exp": 1e300}), "invalid_credential", "another type"},
		{"a beginning beyond all dates", claims(map[string]any{"nbf": 1e300}), "invalid_credential", "another type"},
		{"a beginning before all dates", claims(map[string]any{"nbf": -1}), "invalid_credential", "another type"},

		{"another audience", claims(map[string]any{"aud": "x"}), "invalid_credential", "audience"},
		{"no audience", claims(map[string]any{"aud": nil}), "invalid_credential", "lacks a claim"},
		{"no audience in a list", claims(map[string]any{"aud": []string{}}), "invalid_credential", "lacks a claim"},
		{"an audience that is a number", claims(map[string]any{"aud": []any{1, audience}}), "invalid_credential", "another type"},
		{"another issuer", claims(map[string]any{"iss": issuerName + "/"}), "invalid_credential", "issuer"},
		{"no issuer", claims(map[string]any{"iss": nil}), "invalid_credential", "issuer"},
		{"an issuer that is a list", claims(map[string]any{"iss": []string{issuerName}}), "invalid_credential", "no string"},
		{"no subject", claims(map[string]any{"sub": nil}), "invalid_credential", "no principal"},
		{"an empty subject", claims(map[string]any{"sub": ""}), "invalid_credential", "no principal"},
		{"a subject that is a number", claims(map[string]any{"sub": 7}), "invalid_credential", "no principal"},
		{"a subject with a line break", claims(map[string]any{"sub": "a\nb"}), "invalid_credential", "no principal"},

		{"another type of token", header(map[string]any{"typ": "logout+jwt"}), "invalid_credential", "another type"},
		{"an empty type", header(map[string]any{"typ": ""}), "invalid_credential", "another type"},
		{"a type that is a number", header(map[string]any{"typ": 1}), "invalid_credential", "another type"},
		{"extensions that must be understood", header(map[string]any{"crit": []string{"exp"}, "exp": 1}), "invalid_credential", "extensions"},
		{"an empty list of extensions", header(map[string]any{"crit": []string{}}), "invalid_credential", "extensions"},
		{"a payload that is not encoded", header(map[string]any{"b64": false}), "invalid_credential", "not encoded"},
		{"a payload that says that it is encoded", header(map[string]any{"b64": true}), "invalid_credential", "not encoded"},
		{"a compressed payload", header(map[string]any{"zip": "DEF"}), "invalid_credential", "compressed"},
		{"an unknown key", header(map[string]any{"kid": "other"}), "invalid_credential", "no key"},
		{"a key id that is a number", header(map[string]any{"kid": 1}), "invalid_credential", "key id"},
		{"a long key id", header(map[string]any{"kid": strings.Repeat("k", 1025)}), "invalid_credential", "key id"},
		{"the header's algorithm is not the signature's", header(map[string]any{"alg": "ES384"}), "invalid_credential", "another algorithm"},
		{"an algorithm that is not pinned", header(map[string]any{"alg": "HS256"}), "invalid_credential", "pinned"},
		{"no algorithm", header(map[string]any{"alg": nil}), "invalid_credential", "pinned"},
		{"the algorithm none", parts64(`{"alg":"none","typ":"JWT"}`, parts[1], ""), "invalid_credential", "pinned"},
		{"the algorithm None", parts64(`{"alg":"None","typ":"JWT"}`, parts[1], ""), "invalid_credential", "pinned"},

		{"a claim twice", raw(`{` + body + `,"sub":"bob","sub":"alice"}`), "invalid_credential", "no JSON Web Token"},
		{"a claim twice in another spelling", raw(`{` + body + `,"sub":"bob","s\u0075b":"alice"}`), "invalid_credential", "no JSON Web Token"},
		{"a claim twice within another", raw(`{` + body + `,"sub":"bob","x":[{"a":1,"a":2}]}`), "invalid_credential", "no JSON Web Token"},
		{"a header twice", key.signText(t, `{"alg":"ES256","kid":"k","kid":"k"}`, `{`+body+`,"sub":"bob"}`), "invalid_credential", "header"},
		{"claims nested deeply", raw(`{` + body + `,"sub":"bob","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`), "invalid_credential", "no JSON Web Token"},
		{"claims that are a list", raw(`[]`), "invalid_credential", "no JSON Web Token"},
		{"claims that are null", raw(`null`), "invalid_credential", "issuer"},
		{"claims with bad UTF-8", raw(`{` + body + `,"sub":"` + "\xff" + `"}`), "invalid_credential", "no JSON Web Token"},
		{"something after the claims", raw(`{` + body + `,"sub":"bob"}{}`), "invalid_credential", "no JSON Web Token"},
		{"a number that is none", raw(`{` + body + `,"sub":"bob","x":1e999}`), "invalid_credential", "no JSON Web Token"},

		{"a signature cut short", good[:len(good)-2], "invalid_credential", "signature"},
		{"no signature", parts[0] + "." + parts[1] + ".", "invalid_credential", "signature"},
		{"other claims under the signature", parts[0] + "." + strings.Split(claims(map[string]any{"sub": "bob"}), ".")[1] + "." + parts[2], "invalid_credential", "signature"},
		{"two parts", parts[0] + "." + parts[1], "invalid_credential", "no JSON Web Token"},
		{"four parts", good + ".x", "invalid_credential", "no JSON Web Token"},
		{"an encrypted token", parts64(`{"alg":"RSA-OAEP","enc":"A256GCM"}`, "a", "b") + ".c.d", "invalid_credential", "encrypted"},
		{"another kind of token", "vgig1.abc", "invalid_credential", "header"},
		{"padded base64", parts[0] + "=." + parts[1] + "." + parts[2], "invalid_credential", "header"},
		{"a long token", claims(map[string]any{"x": strings.Repeat("x", 4096)}), "invalid_credential", "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := a.Authenticate(bearer(tt.token))
			if got := outcomeOf(t, err); got != tt.want {
				t.Fatalf("got %s: %v", got, err)
			}
			if err == nil {
				return
			}
			f, ok := err.(*auth.Failure) //nolint:errorlint // it is not wrapped
			if !ok || f.Detail != "" || !strings.Contains(f.Err.Error(), tt.cause) {
				t.Errorf("got %#v", err)
			}
		})
	}
	t.Run("two audiences when only one may be", func(t *testing.T) {
		mustAccept(t, single, claims(map[string]any{"aud": []string{audience}}))
		if got := outcome(t, single, claims(map[string]any{"aud": []string{audience, "x"}})); got != "invalid_credential" {
			t.Error(got)
		}
	})
}

// parts64 puts a header before parts that are encoded.
func parts64(header, payload, signature string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + payload + "." + signature
}

func TestAuthorizationHeader(t *testing.T) {
	key := newSigner(t, "k", "ES256")
	a := newAuthenticator(t, jwt.Options{Issuers: []jwt.Issuer{{Name: issuerName, JWKS: keys(t, key)}}})
	token := key.token(t, nil)
	for _, tt := range []struct {
		name   string
		values []string
		want   string
	}{
		{"none", nil, "missing_credential"},
		{"an empty one", []string{""}, "missing_credential"},
		{"the scheme in other letters", []string{"bEARER " + token}, "ok"},
		{"two of them", []string{"Bearer " + token, "Bearer " + token}, "invalid_credential"},
		{"another scheme", []string{"Basic " + token}, "invalid_credential"},
		{"no token", []string{"Bearer "}, "invalid_credential"},
		{"no scheme", []string{token}, "invalid_credential"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := bearer()
			if tt.values != nil {
				r.Header["Authorization"] = tt.values
			}
			_, err := a.Authenticate(r)
			if got := outcomeOf(t, err); got != tt.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestScopesAndRequiredClaims(t *testing.T) {
	key := newSigner(t, "k", "ES256")
	a := newAuthenticator(t, jwt.Options{
		Issuers:        []jwt.Issuer{{Name: issuerName, JWKS: keys(t, key)}},
		RequiredScopes: []string{"read", "write"},
		RequiredClaims: map[string][]string{"tid": {"t1", "t2"}, "azp": nil},
	})
	for _, tt := range []struct {
		name    string
		changes map[string]any
		want    string
	}{
		{"scopes in one string", map[string]any{"scope": "write x read"}, "ok"},
		{"scopes in a list", map[string]any{"scp": []string{"read", "write"}}, "ok"},
		{"the other tenant", map[string]any{"scope": "read write", "tid": "t2"}, "ok"},
		{"several tenants", map[string]any{"scope": "read write", "tid": []string{"t9", "t1"}}, "ok"},
		{"one scope", map[string]any{"scope": "read"}, "insufficient_scope"},
		{"a scope that begins like one", map[string]any{"scope": "read writer"}, "insufficient_scope"},
		{"no scope", nil, "insufficient_scope"},
		{"another tenant", map[string]any{"scope": "read write", "tid": "t3"}, "insufficient_scope"},
		{"a tenant that is a number", map[string]any{"scope": "read write", "tid": 1}, "insufficient_scope"},
		{"no party", map[string]any{"scope": "read write", "azp": nil}, "insufficient_scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := outcome(t, a, key.token(t, with(map[string]any{"tid": "t1", "azp": "app"}, tt.changes))); got != tt.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// Whoever holds a key of one issuer speaks for that issuer alone.
func TestIssuersDoNotSpeakForEachOther(t *testing.T) {
	one, two := newSigner(t, "k", "ES256"), newSigner(t, "k", "ES256")
	a := newAuthenticator(t, jwt.Options{Issuers: []jwt.Issuer{
		{Name: issuerName, JWKS: keys(t, one)}, {Name: "https://two.example", JWKS: keys(t, two)},
	}})
	fromTwo := map[string]any{"iss": "https://two.example"}
	if got := mustAccept(t, a, one.token(t, nil)).Domain; got != issuerName {
		t.Error(got)
	}
	if got := mustAccept(t, a, two.token(t, fromTwo)).Domain; got != "https://two.example" {
		t.Error(got)
	}
	for _, forged := range []string{one.token(t, fromTwo), two.token(t, nil)} {
		if got := outcome(t, a, forged); got != "invalid_credential" {
			t.Error(got)
		}
	}
}

func TestSharedSecret(t *testing.T) {
	secret := bytes.Repeat([]byte("s"), 32)
	public := newSigner(t, "k", "RS256")
	a := newAuthenticator(t, jwt.Options{
		Algorithms: []string{"HS256", "RS256"},
		Issuers:    []jwt.Issuer{{Name: "internal", Secret: secret}, {Name: issuerName, JWKS: keys(t, public)}},
	})
	der, err := x509.MarshalPKIXPublicKey(public.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	payload := func(issuer string) string {
		text, err := json.Marshal(with(goodClaims(), map[string]any{"iss": issuer}))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	hs := func(key []byte, issuer string) string {
		return signWith(t, golangjwt.SigningMethodHS256, key, `{"alg":"HS256","kid":"k"}`, payload(issuer))
	}
	for _, tt := range []struct {
		name, token, want string
	}{
		{"the secret", hs(secret, "internal"), "ok"},
		{"another secret", hs([]byte("guess"), "internal"), "invalid_credential"},
		{"an empty secret", hs([]byte{}, "internal"), "invalid_credential"},
		{"the secret for an issuer that has none", hs(secret, issuerName), "invalid_credential"},
		{"a public key as a secret", hs(der, issuerName), "invalid_credential"},
		{"the same as PEM", hs(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), issuerName), "invalid_credential"},
		{"a key for an issuer that has a secret", public.sign(t, nil, payload("internal")), "invalid_credential"},
		{"another size of the algorithm", signWith(t, golangjwt.SigningMethodHS512, secret, `{"alg":"HS512"}`, payload("internal")), "invalid_credential"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := outcome(t, a, tt.token); got != tt.want {
				t.Error(got)
			}
		})
	}
}

func TestKeysOfNoUse(t *testing.T) {
	good := newSigner(t, "good", "ES256")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	bad := newSigner(t, "bad", "ES256")
	secret := bytes.Repeat([]byte("s"), 32)
	weak := signer{kid: "bad", method: golangjwt.SigningMethodRS256, key: small}
	for _, tt := range []struct {
		name  string
		key   map[string]any
		token string
		want  string
	}{
		{"a key for everything", bad.public(t, nil), bad.token(t, nil), "ok"},
		{"a key for signatures", bad.public(t, map[string]any{"use": "sig", "alg": "ES256", "key_ops": []string{"verify"}}), bad.token(t, nil), "ok"},
		{"one for encryption", bad.public(t, map[string]any{"use": "enc"}), bad.token(t, nil), "invalid_credential"},
		{"one to sign with", bad.public(t, map[string]any{"key_ops": []string{"sign"}}), bad.token(t, nil), "invalid_credential"},
		{"one for another algorithm", bad.public(t, map[string]any{"alg": "ES384"}), bad.token(t, nil), "invalid_credential"},
		{"a weak one", publicJWK(t, &small.PublicKey, "bad", nil), weak.token(t, nil), "invalid_credential"},
		{"a certificate elsewhere, which nobody looks at", bad.public(t, map[string]any{"x5u": "https://127.0.0.1:1/x"}), bad.token(t, nil), "ok"},
		{
			"a secret that is published",
			map[string]any{"kty": "oct", "kid": "bad", "k": base64.RawURLEncoding.EncodeToString(secret)},
			signWith(t, golangjwt.SigningMethodHS256, secret, `{"alg":"HS256","kid":"bad"}`, `{}`), "invalid_credential",
		},
		{"a kind that nobody knows", map[string]any{"kty": "PQC", "kid": "bad"}, bad.token(t, nil), "invalid_credential"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			jwks := keySet(t, tt.key, good.public(t, nil))
			a := newAuthenticator(t, jwt.Options{Issuers: []jwt.Issuer{{Name: issuerName, JWKS: jwks}}})
			if got := outcome(t, a, tt.token); got != tt.want {
				t.Error(got)
			}
			mustAccept(t, a, good.token(t, nil))
		})
	}
}

func TestTokensThatNameNoKey(t *testing.T) {
	var signers []signer
	for range 9 {
		signers = append(signers, newSigner(t, "", "ES256"))
	}
	few := newAuthenticator(t, jwt.Options{Issuers: []jwt.Issuer{{Name: issuerName, JWKS: keys(t, signers[:8]...)}}})
	mustAccept(t, few, signers[7].token(t, nil))
	if got := outcome(t, few, signers[8].token(t, nil)); got != "invalid_credential" {
		t.Errorf("none of the keys: %s", got)
	}
	many := newAuthenticator(t, jwt.Options{Issuers: []jwt.Issuer{{Name: issuerName, JWKS: keys(t, signers...)}}})
	if got := outcome(t, many, signers[0].token(t, nil)); got != "invalid_credential" {
		t.Errorf("too many to try: %s", got)
	}
}

// fakeIssuer is an issuer over TLS whose answers a test may change.
type fakeIssuer struct {
	*httptest.Server
	keys          atomic.Pointer[http.HandlerFunc]
	configuration atomic.Pointer[http.HandlerFunc]
	others        atomic.Int32 // requests for anything else
	closing       chan struct{}
}

func answer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

func newFakeIssuer(tb testing.TB, key signer) *fakeIssuer {
	tb.Helper()
	f := &fakeIssuer{closing: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) { (*f.keys.Load())(w, r) })
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		(*f.configuration.Load())(w, r)
	})
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) { f.others.Add(1) })
	f.Server = httptest.NewUnstartedServer(mux)
	f.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	f.StartTLS()
	tb.Cleanup(f.Close)
	tb.Cleanup(func() { close(f.closing) })
	f.set(&f.keys, answer(string(keys(tb, key))))
	f.set(&f.configuration, answer(`{"issuer":"`+f.URL+`","jwks_uri":"`+f.URL+`/keys"}`))
	return f
}

func (f *fakeIssuer) set(what *atomic.Pointer[http.HandlerFunc], h http.HandlerFunc) { what.Store(&h) }

func (f *fakeIssuer) options() jwt.Options {
	return jwt.Options{Issuers: []jwt.Issuer{{Name: f.URL}}, HTTPClient: f.Client()}
}

func TestIssuerOverTLS(t *testing.T) {
	key := newSigner(t, "k", "ES256")
	for _, tt := range []struct {
		name   string
		change func(f *fakeIssuer, o *jwt.Options)
		want   string
		cause  string // in the log
	}{
		{"discovery", func(*fakeIssuer, *jwt.Options) {}, "ok", ""},
		{"discovery elsewhere", func(f *fakeIssuer, o *jwt.Options) {
			o.Issuers[0].DiscoveryURL = f.URL + "/.well-known/openid-configuration"
		}, "ok", ""},
		{"a JWKS URL", func(f *fakeIssuer, o *jwt.Options) { o.Issuers[0].JWKSURL = f.URL + "/keys" }, "ok", ""},
		{"a certificate that nobody trusts", func(_ *fakeIssuer, o *jwt.Options) { o.HTTPClient = nil }, "unavailable", "certificate"},
		{"the configuration of another issuer", func(f *fakeIssuer, _ *jwt.Options) {
			f.set(&f.configuration, answer(`{"issuer":"https://evil.example","jwks_uri":"`+f.URL+`/keys"}`))
		}, "unavailable", "another issuer"},
		{"a configuration without an issuer", func(f *fakeIssuer, _ *jwt.Options) {
			f.set(&f.configuration, answer(`{"jwks_uri":"`+f.URL+`/keys"}`))
		}, "unavailable", "another issuer"},
		{"keys over http", func(f *fakeIssuer, _ *jwt.Options) {
			f.set(&f.configuration, answer(`{"issuer":"`+f.URL+`","jwks_uri":"http://keys.example"}`))
		}, "unavailable", "over http"},
		{"keys nowhere", func(f *fakeIssuer, _ *jwt.Options) { f.set(&f.configuration, answer(`{"issuer":"`+f.URL+`"}`)) }, "unavailable", "no absolute URL"},
		{"a configuration that is none", func(f *fakeIssuer, _ *jwt.Options) { f.set(&f.configuration, answer(`<html>`)) }, "unavailable", "no OpenID configuration"},
		{"a configuration that is elsewhere", func(f *fakeIssuer, _ *jwt.Options) {
			f.set(&f.configuration, http.RedirectHandler(f.URL+"/other", http.StatusFound).ServeHTTP)
		}, "unavailable", "status 302"},
		{"keys that are elsewhere", func(f *fakeIssuer, _ *jwt.Options) {
			f.set(&f.keys, http.RedirectHandler(f.URL+"/other", http.StatusFound).ServeHTTP)
		}, "unavailable", "status 302"},
		{"a fault of the issuer", func(f *fakeIssuer, _ *jwt.Options) { f.set(&f.keys, http.NotFound) }, "unavailable", "status 404"},
		{"a huge key set", func(f *fakeIssuer, _ *jwt.Options) {
			f.set(&f.keys, answer(string(keys(t, key))+strings.Repeat(" ", 1<<20)))
		}, "unavailable", "more than 1048576 bytes"},
		{"many keys", func(f *fakeIssuer, _ *jwt.Options) {
			f.set(&f.keys, answer(`{"keys":[`+strings.Repeat("{},", 128)+`{}]}`))
		}, "unavailable", "want at most 128"},
		{"keys that are no JSON", func(f *fakeIssuer, _ *jwt.Options) { f.set(&f.keys, answer(`keys`)) }, "unavailable", "no JSON Web Key Set"},
		{"an answer that breaks off", func(f *fakeIssuer, _ *jwt.Options) {
			f.set(&f.keys, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte("{"))
			})
		}, "unavailable", "unexpected EOF"},
		{"an answer that does not end", func(f *fakeIssuer, o *jwt.Options) {
			o.RefreshTimeout = 20 * time.Millisecond
			f.set(&f.keys, func(w http.ResponseWriter, _ *http.Request) {
				_ = http.NewResponseController(w).Flush()
				<-f.closing
			})
		}, "unavailable", "deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var said bytes.Buffer
			f := newFakeIssuer(t, key)
			opts := f.options()
			opts.Logger = logTo(&said)
			tt.change(f, &opts)
			a := newAuthenticator(t, opts)
			got := outcome(t, a, key.token(t, map[string]any{"iss": f.URL}))
			a.Close()
			if got != tt.want || f.others.Load() != 0 {
				t.Errorf("got %s; %d redirects were followed", got, f.others.Load())
			}
			if !strings.Contains(said.String(), tt.cause) {
				t.Errorf("the log says %s", &said)
			}
		})
	}
}

// The headers by which a token could bring its own key.
func TestKeysInTokens(t *testing.T) {
	key, evil := newSigner(t, "k", "ES256"), newSigner(t, "evil", "ES256")
	f := newFakeIssuer(t, key)
	a := newAuthenticator(t, f.options())
	claims := with(goodClaims(), map[string]any{"iss": f.URL})
	certificate := base64.StdEncoding.EncodeToString(f.Certificate().Raw)
	for name, header := range map[string]map[string]any{
		"jwk":          {"jwk": evil.public(t, nil)},
		"jku":          {"jku": f.URL + "/evil"},
		"x5u":          {"x5u": f.URL + "/evil"},
		"x5c":          {"x5c": []string{certificate}},
		"without kid":  {"jwk": evil.public(t, nil), "kid": nil},
		"of a key set": {"jwk": evil.public(t, nil), "kid": "k"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := outcome(t, a, evil.sign(t, header, claims)); got != "invalid_credential" {
				t.Error(got)
			}
			if header["kid"] == nil {
				header = with(header, map[string]any{"kid": "k"})
			}
			mustAccept(t, a, key.sign(t, header, claims)) // they are not forbidden
		})
	}
	if n := f.others.Load(); n != 0 {
		t.Errorf("%d requests went where tokens said", n)
	}
}

func TestNothingOfATokenIsTold(t *testing.T) {
	const mark = "XYZZY"
	var said bytes.Buffer
	key := newSigner(t, "k", "ES256")
	f := newFakeIssuer(t, key)
	opts := f.options()
	opts.Logger = logTo(&said)
	opts.RequiredClaims = map[string][]string{"tid": {"t"}}
	a := newAuthenticator(t, opts)
	base := map[string]any{"iss": f.URL, "sub": mark, "tid": "t", "email": mark}
	tokens := []string{
		key.token(t, with(base, map[string]any{"tid": mark})),
		key.token(t, with(base, map[string]any{"iss": mark})),
		key.token(t, with(base, map[string]any{"aud": mark})),
		key.token(t, with(base, map[string]any{"exp": mark})),
		key.token(t, with(base, map[string]any{"exp": 1})),
		key.token(t, with(base, map[string]any{"sub": mark + "\n"})),
		newSigner(t, "k", "ES256").token(t, base),
		newSigner(t, mark, "ES256").token(t, base),
		key.sign(t, map[string]any{"kid": mark}, with(goodClaims(), base)),
		key.sign(t, map[string]any{"typ": mark}, with(goodClaims(), base)),
		key.sign(t, map[string]any{"alg": mark}, with(goodClaims(), base)),
		key.sign(t, nil, `{"`+mark+`":1,"`+mark+`":2}`),
		mark, mark + "." + mark + "." + mark,
	}
	for _, token := range tokens {
		_, err := a.Authenticate(bearer(token))
		var failure *auth.Failure
		if !errors.As(err, &failure) {
			t.Fatalf("got %v", err)
		}
		if text := failure.Error() + failure.Detail; strings.Contains(text, mark) || strings.Contains(text, token) {
			t.Errorf("it says %s", text)
		}
	}
	a.Close()
	if strings.Contains(said.String(), mark) {
		t.Errorf("the log says %s", &said)
	}
}

// A token that comes again is not verified again, and is refused all the same as
// soon as it has to be.
func TestTokenThatComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newSigner(t, "k", "ES256")
		n := &network{jwks: keys(t, key)}
		opts := n.options()
		opts.RefreshInterval, opts.Leeway = time.Minute, 10*time.Second
		a := newAuthenticator(t, opts)
		short, long := key.token(t, map[string]any{"exp": time.Now().Unix() + 30}), key.token(t, nil)
		for range 2 {
			id := mustAccept(t, a, short)
			mustAccept(t, a, long)
			if id.Claims["sub"] != "alice" {
				t.Errorf("what one caller did to its claims, another got: %v", id.Claims)
			}
			id.Claims["sub"] = "bob"
		}
		time.Sleep(39 * time.Second)
		mustAccept(t, a, short)
		time.Sleep(time.Second)
		if got := outcome(t, a, short); got != "expired_credential" {
			t.Error(got)
		}
		n.set(func(n *network) { n.jwks = keys(t, newSigner(t, "other", "ES256")) })
		mustAccept(t, a, long)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := outcome(t, a, long); got != "invalid_credential" {
			t.Errorf("its key is gone: %s", got)
		}
	})
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	key := newSigner(t, "k", "ES256")
	before := runtime.NumGoroutine()
	for range 20 {
		f := newFakeIssuer(t, key)
		opts := f.options()
		opts.Audiences = []string{audience}
		a, err := jwt.New(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		mustAccept(t, a, key.token(t, map[string]any{"iss": f.URL}))
		a.Close()
		f.Close()
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, and %d before", runtime.NumGoroutine(), before)
		}
	}
}
