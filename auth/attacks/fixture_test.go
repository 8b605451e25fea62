package attacks_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/auth/identity"
	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/auth/proof"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

const (
	audience    = "https://service.example"
	issuerA     = "https://a.example"
	issuerB     = "https://b.example"
	issuerHS    = "https://shared.example"
	sharedKey   = "a secret of forty bytes that is not told"
	annToken    = "alpha-token-of-ann"
	bobToken    = "bravo-token-of-bob"
	originID    = "the-service"
	fingerprint = "d3b07384d113edec49eaa6238ad5ff00d3b07384d113edec49eaa6238ad5ff00"
	headerXFCC  = "X-Forwarded-Client-Cert"
	headerAuth  = "Authorization"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // of a test's own making
	}
	return v
}

// row is what the stream under test exchanges.
type row struct {
	N int64 `vgi:"n"`
}

// sum is the state of that stream. Its turns count as dispatched.
type sum struct{ Total int64 }

// dispatched counts what handlers were called for.
var dispatched = new(atomic.Int64) //nolint:gochecknoglobals // one counter for all services, in one process

// Exchange adds up what it is sent.
func (s *sum) Exchange(_ context.Context, in []row, out *vgirpc.Emitter[row]) error {
	dispatched.Add(1)
	for _, r := range in {
		s.Total += r.N
	}
	return out.Emit(row{s.Total})
}

// service is what attackers are after.
type service struct {
	protocol *vgirpc.Protocol
	whoami   *vgirpc.Unary[vgirpc.None, string]
	total    *vgirpc.Exchange[vgirpc.None, row, row]
	keep     *vgirpc.Unary[vgirpc.None, vgirpc.None]
	kept     *vgirpc.Unary[vgirpc.None, string]
}

// site is a service behind a guard, and its good request.
type site struct {
	*service

	url  string
	good func(h http.Header) // adds what lets ann in
}

// path of the unary call under test.
const path = "/test.Target/whoami"

// newSite serves behind an authenticator over real HTTP.
func newSite(tb testing.TB, good func(http.Header), guard func(*vgirpc.Server) (auth.Authenticator, error)) *site {
	tb.Helper()
	p := vgirpc.NewProtocol("test.Target", "1.0.0")
	s := &service{
		p, vgirpc.NewUnary[vgirpc.None, string](p, "whoami"), vgirpc.NewExchange[vgirpc.None, row, row](p, "total"),
		vgirpc.NewUnary[vgirpc.None, vgirpc.None](p, "keep"), vgirpc.NewUnary[vgirpc.None, string](p, "kept"),
	}
	server := must(vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, p))
	vgirpc.HandleUnary(server, s.whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		dispatched.Add(1)
		return vgirpc.CallFrom(ctx).Peer().Identity.Principal, nil
	})
	vgirpc.HandleExchange(server, s.total, func(context.Context, vgirpc.None) (*sum, error) {
		dispatched.Add(1)
		return &sum{}, nil
	})
	vgirpc.HandleUnary(server, s.keep, func(ctx context.Context, _ vgirpc.None) (vgirpc.None, error) {
		dispatched.Add(1)
		return vgirpc.None{}, httpserver.OpenSession(ctx, "kept", 0)
	})
	vgirpc.HandleUnary(server, s.kept, func(ctx context.Context, _ vgirpc.None) (string, error) {
		dispatched.Add(1)
		text, _ := httpserver.Session(ctx).(string)
		return text, nil
	})
	handler := must(httpserver.New(server, httpserver.Options{
		Auth: must(guard(server)), Challenge: "Bearer", Sticky: &httpserver.Sticky{},
		Keys: must(httpserver.NewKeyRing([]byte(strings.Repeat("k", 32)))),
	}))
	web := httptest.NewServer(handler)
	tb.Cleanup(web.Close)
	return &site{s, web.URL, good}
}

// client calls the site with a header, and is watched.
func (s *site) client(tb testing.TB, header http.Header, watch http.RoundTripper) *httpclient.Transport {
	tb.Helper()
	opts := httpclient.Options{MaxResponseBytes: -1, Header: header}
	if watch != nil {
		opts.Wrap = func(http.RoundTripper) http.RoundTripper { return watch }
	}
	t := must(httpclient.New(s.url, opts, vgirpc.ClientOptions{}))
	tb.Cleanup(func() { _ = t.Close() })
	return t
}

// recorder keeps the last request of a client, to be sent again by somebody else.
type recorder struct {
	header http.Header
	path   string
	body   []byte
}

// RoundTrip sends a request and keeps it.
func (c *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body = must(io.ReadAll(r.Body))
		_ = r.Body.Close()
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	c.header, c.path, c.body = r.Header.Clone(), r.URL.Path, body
	return http.DefaultTransport.RoundTrip(r)
}

// request is what was recorded, without who sent it.
func (c *recorder) request(tb testing.TB, base string) *http.Request {
	tb.Helper()
	r := must(http.NewRequestWithContext(tb.Context(), http.MethodPost, base+c.path, bytes.NewReader(c.body)))
	r.Header = c.header.Clone()
	r.Header.Del(headerAuth)
	return r
}

// recorded is a call of whoami as its client sends it, by ann.
func (s *site) recorded(tb testing.TB) *recorder {
	tb.Helper()
	h := http.Header{}
	s.good(h)
	rec := &recorder{}
	if who, err := s.whoami.Call(tb.Context(), s.client(tb, h, rec).Client(), vgirpc.None{}); err != nil || who == "" {
		tb.Fatalf("the good request: %q, %v", who, err)
	}
	for name := range h {
		rec.header.Del(name)
	}
	return rec
}

// answer is what became of a request.
type answer struct {
	Status     int
	Reason     string // VGI-Auth-Reason
	Dispatched int64
}

// send sends a request from an address of this machine, "" for the usual one.
func send(tb testing.TB, r *http.Request, from string) answer {
	tb.Helper()
	dialer := &net.Dialer{}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	before := dispatched.Load()
	resp, err := transport.RoundTrip(r)
	if err != nil && from != "" && os.Getenv("CI") == "" {
		tb.Skipf("this machine has no address %s to come from: %v", from, err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return answer{resp.StatusCode, resp.Header.Get("Vgi-Auth-Reason"), dispatched.Load() - before}
}

// keyring are the keys of the issuers.
type keyring struct {
	ec  *ecdsa.PrivateKey // of A
	rsa *rsa.PrivateKey   // of A
	b   *ecdsa.PrivateKey // of B
	own *ecdsa.PrivateKey // of nobody
}

func newKeyring() *keyring {
	ec := func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }
	return &keyring{ec(), must(rsa.GenerateKey(rand.Reader, 2048)), ec(), ec()}
}

// jwks is a key set.
func jwks(public map[string]crypto.PublicKey) []byte {
	var keys []jwkset.JWKMarshal
	for kid, key := range public {
		k := must(jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}}))
		keys = append(keys, k.Marshal())
	}
	return must(json.Marshal(map[string]any{"keys": keys}))
}

// token is a good one of issuer A, with changes of claims and header.
func token(method golangjwt.SigningMethod, key any, claims, header map[string]any) string {
	now := time.Now()
	all := golangjwt.MapClaims{"iss": issuerA, "aud": audience, "sub": "ann", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	t := golangjwt.NewWithClaims(method, all)
	t.Header["kid"] = "ec"
	maps.Copy(t.Header, header)
	return must(t.SignedString(key))
}

// sites are the guards under attack.
type sites struct {
	keys                     *keyring
	signer, stranger         *proof.Signer
	tokens, proofs, forwards *site
}

func newSites(tb testing.TB) *sites {
	tb.Helper()
	s := &sites{keys: newKeyring()}
	tokens := must(jwt.New(tb.Context(), jwt.Options{
		Issuers: []jwt.Issuer{
			{Name: issuerA, JWKS: jwks(map[string]crypto.PublicKey{"ec": s.keys.ec.Public(), "rsa": s.keys.rsa.Public()})},
			{Name: issuerB, JWKS: jwks(map[string]crypto.PublicKey{"b": s.keys.b.Public()})},
			{Name: issuerHS, Secret: []byte(sharedKey)},
		},
		Audiences: []string{audience}, Algorithms: []string{"ES256", "RS256", "HS256"},
	}))
	tb.Cleanup(tokens.Close)
	bearer := must(auth.NewBearer(auth.BearerOptions{Tokens: []auth.BearerToken{
		{Token: annToken, Principal: "ann"}, {Token: bobToken, Principal: "bob"},
	}}))
	ann := func(h http.Header) { h.Set(headerAuth, "Bearer "+annToken) }
	s.tokens = newSite(tb, ann, func(server *vgirpc.Server) (auth.Authenticator, error) {
		keys := must(grant.New(grant.Options{Keys: [][]byte{bytes.Repeat([]byte("g"), grant.KeySize)}, Audience: "here"}))
		id := must(identity.Host(server, identity.Options{Grants: keys}))
		return id.Authenticator(must(auth.Any(tokens, bearer)))
	})
	key := proof.Key{ID: "edge", Secret: [32]byte{1, 2, 3}}
	s.signer = must(proof.NewSigner(key, originID))
	s.stranger = must(proof.NewSigner(key, "another-service"))
	gate := must(proof.New(proof.Options{Mode: proof.Require, OriginID: originID, Keys: []proof.Key{key}}))
	s.proofs = newSite(tb, func(h http.Header) {
		ann(h)
		h.Set(proof.Header, s.signer.Mint())
	}, func(*vgirpc.Server) (auth.Authenticator, error) { return gate.Guard(bearer) })
	s.forwards = newSite(tb, func(h http.Header) { h.Set(headerXFCC, "Hash="+fingerprint) }, func(*vgirpc.Server) (auth.Authenticator, error) {
		return mtls.New(mtls.Options{Source: mtls.XFCC, Name: mtls.SHA256, Proxies: []string{"127.0.0.1"}})
	})
	return s
}
