// Package attacks_test is the table of attacks on whoever decides who is calling
// over HTTP: each with its name, where it is repelled, and what its sender is
// told. Every one goes over a real connection to a real handler, which lets the
// same request in when it is not an attack, and calls no method for one that is.
package attacks_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/proof"
)

// attack is one row.
type attack struct {
	name     string
	repelled string // by whom: a package and what of it
	request  func(r *http.Request)
	status   int
	reason   auth.Reason // "" where it is none of authentication's
	from     string      // address; that of the trusted proxy when empty
}

const (
	es = "auth/jwt: the key of the issuer that the token names"
	// elsewhere is an address of this machine that no proxy has.
	elsewhere = "127.0.0.2"
)

func bearing(text string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(headerAuth, "Bearer "+text) }
}

// unsigned is a token with a header of the attacker's and no signature.
func unsigned(algorithm string) string {
	good := token(golangjwt.SigningMethodNone, golangjwt.UnsafeAllowNoneSignatureType, nil, nil)
	_, payload, _ := strings.Cut(good, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+algorithm+`","typ":"JWT","kid":"ec"}`)) + "." + payload
}

// onTokens are attacks on credentials in the Authorization header.
func onTokens(s *sites) []attack {
	k := s.keys
	es256, rs256, hs256 := golangjwt.SigningMethodES256, golangjwt.SigningMethodRS256, golangjwt.SigningMethodHS256
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(k.rsa.Public()))})
	claim := func(name string, value any) func(*http.Request) {
		return bearing(token(es256, k.ec, map[string]any{name: value}, nil))
	}
	now := time.Now()
	const pinned, issuer, times = "auth/jwt: algorithms are pinned", "auth/jwt: a key belongs to one issuer", "auth/jwt: exp, nbf and iat"
	return []attack{
		{"none", pinned, bearing(unsigned("none")), 401, auth.InvalidCredential, ""},
		{"none in another case", pinned, bearing(unsigned("nOnE")), 401, auth.InvalidCredential, ""},
		{"no algorithm", pinned, bearing(unsigned("")), 401, auth.InvalidCredential, ""},
		{"a signature that is left out", es, bearing(unsigned("ES256")), 401, auth.InvalidCredential, ""},
		{
			"algorithm confusion: HMAC with the public key for a secret",
			"auth/jwt: HS algorithms are for issuers with a secret",
			bearing(token(hs256, public, nil, map[string]any{"kid": "rsa"})), 401, auth.InvalidCredential, "",
		},
		{
			"algorithm confusion: a signature of another kind than the key", es,
			bearing(token(rs256, k.rsa, nil, map[string]any{"kid": "ec"})), 401, auth.InvalidCredential, "",
		},
		{
			"an algorithm that is not pinned", pinned,
			bearing(token(golangjwt.SigningMethodPS256, k.rsa, nil, map[string]any{"kid": "rsa"})), 401, auth.InvalidCredential, "",
		},
		{
			"key confusion: one issuer speaks for another", issuer,
			bearing(token(es256, k.b, nil, map[string]any{"kid": "b"})), 401, auth.InvalidCredential, "",
		},
		{
			"key confusion: a shared secret signs for an issuer with keys", issuer,
			bearing(token(hs256, []byte(sharedKey), nil, nil)), 401, auth.InvalidCredential, "",
		},
		{
			"key confusion: keys sign for an issuer with a shared secret", issuer,
			bearing(token(es256, k.ec, map[string]any{"iss": issuerHS}, nil)), 401, auth.InvalidCredential, "",
		},
		{"a key of nobody under a known id", es, bearing(token(es256, k.own, nil, nil)), 401, auth.InvalidCredential, ""},
		{
			"a key that the token brings along", "auth/jwt: jwk, jku, x5c and x5u lead nowhere",
			bearing(token(es256, k.own, nil, map[string]any{"kid": "mine", "jku": "http://127.0.0.1:1/", "jwk": map[string]any{"kty": "EC"}})),
			401, auth.InvalidCredential, "",
		},
		{"an unknown issuer", issuer, claim("iss", "https://evil.example"), 401, auth.InvalidCredential, ""},
		{"an issuer with a slash more", issuer, claim("iss", issuerA+"/"), 401, auth.InvalidCredential, ""},
		{"expired", times, claim("exp", now.Add(-time.Hour).Unix()), 401, auth.ExpiredCredential, ""},
		{"no end", times, claim("exp", nil), 401, auth.InvalidCredential, ""},
		{"not yet valid", times, claim("nbf", now.Add(time.Hour).Unix()), 401, auth.ExpiredCredential, ""},
		{"issued in the future", times, claim("iat", now.Add(time.Hour).Unix()), 401, auth.InvalidCredential, ""},
		{"a wrong audience", "auth/jwt: audiences", claim("aud", "https://other.example"), 401, auth.InvalidCredential, ""},
		{"no audience", "auth/jwt: audiences", claim("aud", nil), 401, auth.InvalidCredential, ""},
		{"an audience that begins like this one", "auth/jwt: audiences", claim("aud", audience+".evil.example"), 401, auth.InvalidCredential, ""},
		{"a critical extension", "auth/jwt: crit", bearing(token(es256, k.ec, nil, map[string]any{"crit": []string{"x"}, "x": 1})), 401, auth.InvalidCredential, ""},
		{"a token for something else", "auth/jwt: types", bearing(token(es256, k.ec, nil, map[string]any{"typ": "logout+jwt"})), 401, auth.InvalidCredential, ""},

		{"no credential", "auth.TokenOf", func(*http.Request) {}, 401, auth.MissingCredential, ""},
		{"the beginning of a token", "auth.Bearer: digests are compared", bearing(annToken[:len(annToken)-1]), 401, auth.InvalidCredential, ""},
		{"a token with more behind it", "auth.Bearer: digests are compared", bearing(annToken + "x"), 401, auth.InvalidCredential, ""},
		{"a token in another case", "auth.Bearer: digests are compared", bearing(strings.ToUpper(annToken)), 401, auth.InvalidCredential, ""},
		{"a token with an escape", "auth.Bearer: nothing is unescaped", bearing("%61" + annToken[1:]), 401, auth.InvalidCredential, ""},
		{"a token with a byte that no token has", "auth.TokenOf", bearing("\u00e4" + annToken), 401, auth.InvalidCredential, ""},
		{"two tokens in one header", "auth.TokenOf", bearing(annToken + " " + bobToken), 401, auth.InvalidCredential, ""},
		{"two tokens after a comma", "auth.Bearer: digests are compared", bearing(annToken + "," + bobToken), 401, auth.InvalidCredential, ""},
		{
			"duplicate headers", "auth.TokenOf",
			func(r *http.Request) { r.Header[headerAuth] = []string{"Bearer " + annToken, "Bearer " + bobToken} },
			401, auth.InvalidCredential, "",
		},
		{
			"duplicate headers in two cases", "auth.TokenOf",
			func(r *http.Request) {
				r.Header[headerAuth], r.Header["aUTHORIZATION"] = []string{"Bearer " + annToken}, []string{"Bearer " + bobToken}
			},
			401, auth.InvalidCredential, "",
		},
		{
			"another scheme", "auth.TokenOf",
			func(r *http.Request) { r.Header.Set(headerAuth, "Basic "+annToken) }, 401, auth.InvalidCredential, "",
		},
		{
			"a credential in a cookie", "httpserver: calls take no cookie",
			func(r *http.Request) { r.Header.Set("Cookie", "_vgi_auth="+annToken) }, 401, auth.MissingCredential, "",
		},
		{
			"a credential in the query", "httpserver: calls take no parameter",
			func(r *http.Request) { r.URL.RawQuery = "access_token=" + annToken }, 401, auth.MissingCredential, "",
		},
		{"a grant that was made up", "auth/grant: sealed", bearing("vgig1." + strings.Repeat("A", 200)), 401, auth.InvalidCredential, ""},

		// What is open to everybody leads to no call.
		{"a path that looks open: an escape", "httpserver: paths are not unescaped", toPath("/%2ewell-known/..%2ftest.Target/whoami"), 401, auth.MissingCredential, ""},
		{"a path that looks open: dots", "httpserver: dots are no exemption", toPath("/.well-known/../test.Target/whoami"), 401, auth.MissingCredential, ""},
		{"a path that looks open: health and more", "httpserver: /health is a whole path", toPath("/health/../test.Target/whoami"), 401, auth.MissingCredential, ""},
		{"a path that looks open: another case", "httpserver: paths have one case", toPath("/HEALTH"), 401, auth.MissingCredential, ""},
		{"a path that looks open: sign-in", "httpserver: dots are no exemption", toPath("/_oauth/../test.Target/whoami"), 401, auth.MissingCredential, ""},
		{
			"a verb that looks harmless", "httpserver: OPTIONS leads to no call",
			func(r *http.Request) { r.Method = http.MethodOptions }, 405, "", "",
		},
		{
			"a verb in a header", "httpserver: the verb is that of the request",
			func(r *http.Request) { r.Header.Set("X-Http-Method-Override", "OPTIONS") }, 401, auth.MissingCredential, "",
		},
	}
}

// toPath sends a call to a path as it stands.
func toPath(raw string) func(*http.Request) {
	return func(r *http.Request) { r.URL.Opaque = raw }
}

// onProofs are attacks on the proof that a proxy gives.
func onProofs(tb testing.TB, s *sites) []attack {
	tb.Helper()
	proven := func(values ...string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set(headerAuth, "Bearer "+annToken)
			r.Header[http.CanonicalHeaderKey(proof.Header)] = values
		}
	}
	var nonce [16]byte
	used, fresh := s.signer.Mint(), s.signer.Mint()
	first := must(http.NewRequestWithContext(tb.Context(), http.MethodPost, s.proofs.url+path, nil))
	proven(used)(first)
	if got := send(tb, first, ""); got.Reason != "" { // an empty body is no call, and its proof was good
		tb.Fatalf("the proof that is to be replayed: %+v", got)
	}
	const gate = "auth/proof: the gate comes before any credential"
	return []attack{
		{"a credential around the proxy", gate, bearing(annToken), 401, auth.ProxyRequired, ""},
		{
			"a proof without a credential", "auth.All: a proof is no credential",
			func(r *http.Request) { r.Header.Set(proof.Header, s.signer.Mint()) }, 401, auth.MissingCredential, "",
		},
		{"a replayed proof", "auth/proof: nonces are remembered", proven(used), 401, auth.ProxyRequired, ""},
		{"a future-dated proof", "auth/proof: skew in both directions", proven(s.signer.MintAt(time.Now().Add(10*time.Minute), nonce)), 401, auth.ProxyRequired, ""},
		{"an old proof", "auth/proof: skew in both directions", proven(s.signer.MintAt(time.Now().Add(-10*time.Minute), nonce)), 401, auth.ProxyRequired, ""},
		{"a proof for another service", "auth/proof: the origin is in the MAC", proven(s.stranger.Mint()), 401, auth.ProxyRequired, ""},
		{"a proof whose time was changed", "auth/proof: the time is in the MAC", proven(later(fresh)), 401, auth.ProxyRequired, ""},
		{"two proofs", "auth/proof: one header", proven(s.signer.Mint(), s.signer.Mint()), 401, auth.ProxyRequired, ""},
		{"a proof with an escape", "auth/proof: characters are checked first", proven("%76" + s.signer.Mint()[1:]), 401, auth.ProxyRequired, ""},
		{"a proof in another case", "auth/proof: characters are checked first", proven(strings.ToUpper(s.signer.Mint())), 401, auth.ProxyRequired, ""},
		{
			"a proof under a name with an underscore", "net/http: another name is another header",
			func(r *http.Request) {
				r.Header.Set(headerAuth, "Bearer "+annToken)
				r.Header["VGI_Proxy_Proof"] = []string{s.signer.Mint()}
			},
			401, auth.ProxyRequired, "",
		},
	}
}

// later is a proof a second later, with the same MAC.
func later(minted string) string {
	fields := strings.Split(minted, ".")
	last := fields[2][len(fields[2])-1]
	fields[2] = fields[2][:len(fields[2])-1] + string('0'+(last-'0'+1)%10)
	return strings.Join(fields, ".")
}

// onForwards are attacks by headers that a proxy sets.
func onForwards() []attack {
	shown := func(values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[headerXFCC] = values }
	}
	const address, form = "auth/mtls: proxies have addresses", "auth/mtls: one element of exactly the form"
	mine := "Hash=" + fingerprint
	return []attack{
		{"a forged header from an untrusted address", address, shown(mine), 401, auth.ProxyRequired, elsewhere},
		{
			"likewise, which says that it comes from the proxy", address,
			func(r *http.Request) {
				shown(mine)(r)
				r.Header.Set("X-Forwarded-For", "127.0.0.1")
				r.Header.Set("X-Real-IP", "127.0.0.1")
				r.Header.Set("Forwarded", "for=127.0.0.1")
			},
			401, auth.ProxyRequired, elsewhere,
		},
		{"no header", "auth/mtls: the proxy's header is needed", func(*http.Request) {}, 401, auth.ProxyRequired, ""},
		{"duplicate headers", "auth/mtls: one header", shown(mine, mine), 401, auth.InvalidCredential, ""},
		{
			"duplicate headers in two cases", "auth/mtls: one header",
			func(r *http.Request) {
				shown(mine)(r)
				r.Header["x-forwarded-client-cert"] = []string{"Hash=" + strings.Repeat("0", 64)}
			},
			401, auth.InvalidCredential, "",
		},
		{
			"a header under a name with underscores", "net/http: another name is another header",
			func(r *http.Request) { r.Header["X_Forwarded_Client_Cert"] = []string{mine} }, 401, auth.ProxyRequired, "",
		},
		{"two elements", form, shown(mine + ",Hash=" + strings.Repeat("0", 64)), 401, auth.InvalidCredential, ""},
		{"two hashes", form, shown(mine + ";Hash=" + strings.Repeat("0", 64)), 401, auth.InvalidCredential, ""},
		{"two hashes in two cases", form, shown(mine + ";hash=" + strings.Repeat("0", 64)), 401, auth.InvalidCredential, ""},
		{"a hash with escapes", form, shown("Hash=%64" + fingerprint[1:]), 401, auth.InvalidCredential, ""},
		{"an escaped separator", form, shown("Subject=%22%2c;" + mine + "%3bHash=0"), 401, auth.InvalidCredential, ""},
		{"a quote without an end", form, shown(`Subject="CN=x;` + mine), 401, auth.InvalidCredential, ""},
	}
}

func TestAttacksAreRepelled(t *testing.T) {
	s := newSites(t)
	for _, part := range []struct {
		name    string
		site    *site
		attacks []attack
	}{{"on tokens", s.tokens, onTokens(s)}, {"on proofs", s.proofs, onProofs(t, s)}, {"on forwarded certificates", s.forwards, onForwards()}} {
		t.Run(part.name, func(t *testing.T) {
			call := part.site.recorded(t)
			control := func() {
				t.Helper()
				r := call.request(t, part.site.url)
				part.site.good(r.Header)
				if got := send(t, r, ""); got.Status != 200 || got.Dispatched != 1 {
					t.Fatalf("the good request: %+v", got)
				}
			}
			for _, a := range part.attacks {
				t.Run(a.name, func(t *testing.T) {
					control()
					r := call.request(t, part.site.url)
					a.request(r)
					want := answer{Status: a.status, Reason: string(a.reason)}
					if diff := cmp.Diff(want, send(t, r, a.from)); diff != "" {
						t.Errorf("%s should have repelled it:\n%s", a.repelled, diff)
					}
				})
			}
			control()
		})
	}
}
