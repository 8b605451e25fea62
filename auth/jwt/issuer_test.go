package jwt_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

const (
	issuerName = "https://issuer.example"
	audience   = "https://service.example"
)

// signer is a key of an issuer.
type signer struct {
	kid    string
	method golangjwt.SigningMethod
	key    crypto.Signer
}

func newSigner(tb testing.TB, kid, algorithm string) signer {
	tb.Helper()
	s := signer{kid: kid, method: golangjwt.GetSigningMethod(algorithm)}
	var err error
	switch algorithm[:2] {
	case "ES":
		curve := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[algorithm]
		s.key, err = ecdsa.GenerateKey(curve, rand.Reader)
	case "Ed":
		_, s.key, err = ed25519.GenerateKey(rand.Reader)
	default:
		s.key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// public is the key as a key set has it, with what changes puts in.
func (s signer) public(tb testing.TB, changes map[string]any) map[string]any {
	tb.Helper()
	return publicJWK(tb, s.key.Public(), s.kid, changes)
}

func publicJWK(tb testing.TB, key any, kid string, changes map[string]any) map[string]any {
	tb.Helper()
	jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	if err != nil {
		tb.Fatal(err)
	}
	text, err := json.Marshal(jwk.Marshal())
	if err != nil {
		tb.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		tb.Fatal(err)
	}
	delete(out, "alg")
	maps.Copy(out, changes)
	return out
}

func keySet(tb testing.TB, keys ...map[string]any) []byte {
	tb.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// keys is the set of the public keys of signers.
func keys(tb testing.TB, signers ...signer) []byte {
	tb.Helper()
	var all []map[string]any
	for _, s := range signers {
		all = append(all, s.public(tb, nil))
	}
	return keySet(tb, all...)
}

// with is fields with some of them changed; nil takes one away.
func with(fields, changes map[string]any) map[string]any {
	out := maps.Clone(fields)
	for name, value := range changes {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

func goodClaims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": issuerName, "sub": "alice", "aud": audience, "iat": now, "exp": now + 600, "email": "alice@example.com",
	}
}

// token signs good claims with some of them changed.
func (s signer) token(tb testing.TB, changes map[string]any) string {
	tb.Helper()
	return s.sign(tb, nil, with(goodClaims(), changes))
}

// sign signs claims, or a payload that is given as a string.
func (s signer) sign(tb testing.TB, header map[string]any, payload any) string {
	tb.Helper()
	head := map[string]any{"alg": s.method.Alg(), "typ": "JWT"}
	if s.kid != "" {
		head["kid"] = s.kid
	}
	text, err := json.Marshal(with(head, header))
	if err != nil {
		tb.Fatal(err)
	}
	body, ok := payload.(string)
	if !ok {
		encoded, err := json.Marshal(payload)
		if err != nil {
			tb.Fatal(err)
		}
		body = string(encoded)
	}
	return s.signText(tb, string(text), body)
}

func (s signer) signText(tb testing.TB, header, payload string) string {
	tb.Helper()
	return signWith(tb, s.method, s.key, header, payload)
}

func signWith(tb testing.TB, method golangjwt.SigningMethod, key any, header, payload string) string {
	tb.Helper()
	var t golangjwt.Token
	text := t.EncodeSegment([]byte(header)) + "." + t.EncodeSegment([]byte(payload))
	signature, err := method.Sign(text, key)
	if err != nil {
		tb.Fatal(err)
	}
	return text + "." + t.EncodeSegment(signature)
}

func bearer(tokens ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/Svc/method", http.NoBody)
	for _, t := range tokens {
		r.Header.Add("Authorization", "Bearer "+t)
	}
	return r
}

// newAuthenticator is closed when the test ends.
func newAuthenticator(tb testing.TB, opts jwt.Options) *jwt.Authenticator {
	tb.Helper()
	if opts.Audiences == nil {
		opts.Audiences = []string{audience}
	}
	a, err := jwt.New(tb.Context(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(a.Close)
	return a
}

// outcome is what becomes of a token: "ok", a reason, or "unavailable".
func outcome(tb testing.TB, a auth.Authenticator, token string) string {
	tb.Helper()
	_, err := a.Authenticate(bearer(token))
	return outcomeOf(tb, err)
}

func outcomeOf(tb testing.TB, err error) string {
	tb.Helper()
	if err == nil {
		return "ok"
	}
	if outage, ok := errors.AsType[*auth.Unavailable](err); ok {
		if outage.RetryAfter < 0 {
			tb.Errorf("to be tried again after %s", outage.RetryAfter)
		}
		return "unavailable"
	}
	reason, refused := auth.ReasonOf(err)
	if !refused {
		tb.Errorf("a fault: %v", err)
	}
	return string(reason)
}

func mustAccept(tb testing.TB, a auth.Authenticator, token string) vgirpc.Identity {
	tb.Helper()
	id, err := a.Authenticate(bearer(token))
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// network is a transport without sockets, so that tests can own the clock. It
// answers for the issuer as long as it is up.
type network struct {
	mu      sync.Mutex
	jwks    []byte
	down    bool
	hang    bool          // until the request is given up
	slow    time.Duration // before each answer
	fetches int           // of key sets
	looks   int           // of configurations
}

func (n *network) set(change func(n *network)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

func (n *network) counts() (fetches, looks int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fetches, n.looks
}

// RoundTrip answers as things are when the request comes, after the delay.
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	body, down, hang, slow := n.jwks, n.down, n.hang, n.slow
	if r.URL.Path == "/.well-known/openid-configuration" {
		n.looks++
		body = []byte(`{"issuer":"` + issuerName + `","jwks_uri":"` + issuerName + `/keys"}`)
	} else {
		n.fetches++
	}
	n.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if down {
		return nil, errors.New("connection refused")
	}
	return &http.Response{
		StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), Header: http.Header{}, Request: r,
	}, nil
}

func (n *network) options() jwt.Options {
	return jwt.Options{
		Issuers: []jwt.Issuer{{Name: issuerName}}, HTTPClient: &http.Client{Transport: n},
	}
}

// logTo is a logger that writes everything.
func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
