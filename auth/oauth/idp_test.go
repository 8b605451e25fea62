package oauth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// idp is an authorization server that lets everybody in as ann. It holds
// clients to PKCE, to their secret and to one use of a code.
type idp struct {
	*httptest.Server

	mu     sync.Mutex
	key    *rsa.PrivateKey
	kid    string
	codes  map[string]url.Values // authorization requests by code
	forms  []url.Values          // what came to the token endpoint
	basic  string                // of the last token request
	asked  map[string]int        // requests by path
	down   bool                  // 503 to everything
	extra  map[string]any        // of the discovery document
	claims func(jwt.MapClaims)   // changes an id_token
	answer func(map[string]any)  // changes a token response
	raw    http.HandlerFunc      // answers instead of the token endpoint
	signer func(jwt.MapClaims) (string, error)
}

const (
	clientID     = "my-client-id"
	clientSecret = "my-client-secret"
)

func newIDP(t *testing.T) *idp {
	t.Helper()
	p := &idp{codes: map[string]url.Values{}, asked: map[string]int{}}
	p.rotate(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /jwks", p.jwks)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked[r.URL.Path]++
		if p.down {
			http.Error(w, "out of service", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// set changes the server while it may be asked.
func (p *idp) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *idp) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *idp) lastForm(t *testing.T) url.Values {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.forms) == 0 {
		t.Fatal("nothing came to the token endpoint")
	}
	return p.forms[len(p.forms)-1]
}

func (p *idp) rotate(t *testing.T) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.set(func() { p.key, p.kid = key, random() })
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) //nolint:errchkjson // what it is given is JSON
}

func (p *idp) discovery(w http.ResponseWriter, _ *http.Request) {
	doc := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"jwks_uri": p.URL + "/jwks", "id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		"authorization_response_iss_parameter_supported": true,
	}
	maps.Copy(doc, p.extra)
	writeJSON(w, http.StatusOK, doc)
}

func (p *idp) jwks(w http.ResponseWriter, _ *http.Request) {
	b64 := base64.RawURLEncoding.EncodeToString
	writeJSON(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "kid": p.kid, "alg": "RS256", "use": "sig",
		"n": b64(p.key.N.Bytes()), "e": b64(big.NewInt(int64(p.key.E)).Bytes()),
	}}})
}

func (p *idp) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	code := random()
	p.codes[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *idp) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.forms = append(p.forms, r.PostForm)
	id, secret, _ := r.BasicAuth()
	p.basic = id + ":" + secret
	if p.raw != nil {
		p.raw(w, r)
		return
	}
	code := r.PostForm.Get("code")
	request, known := p.codes[code]
	delete(p.codes, code)
	digest := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case r.PostForm.Get("client_secret") != clientSecret && secret != clientSecret:
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	case !known || rawURL.EncodeToString(digest[:]) != request.Get("code_challenge") || request.Get("code_challenge_method") != "S256" ||
		r.PostForm.Get("redirect_uri") != request.Get("redirect_uri"):
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "no such code"})
		return
	}
	claims := jwt.MapClaims{
		"iss": p.URL, "aud": clientID, "sub": "ann", "email": "ann@example.test", "nonce": request.Get("nonce"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	if p.claims != nil {
		p.claims(claims)
	}
	sign := p.sign
	if p.signer != nil {
		sign = p.signer
	}
	idToken, err := sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out := map[string]any{
		"access_token": "access-of-ann", "token_type": "Bearer", "expires_in": 600, "refresh_token": "refresh-of-ann", "id_token": idToken,
	}
	if p.answer != nil {
		p.answer(out)
	}
	writeJSON(w, http.StatusOK, out)
}

func (p *idp) sign(claims jwt.MapClaims) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = p.kid
	return token.SignedString(p.key)
}

// accept lets in whoever has one of the tokens.
func accept(tokens ...string) auth.Authenticator {
	return auth.Func(func(r *http.Request) (vgirpc.Identity, error) {
		sent := r.Header.Get("Authorization")
		for _, t := range tokens {
			if sent == "Bearer "+t {
				return vgirpc.Identity{Principal: "ann", Authenticated: true}, nil
			}
		}
		if sent == "" {
			return vgirpc.Identity{}, &auth.Failure{Reason: auth.MissingCredential}
		}
		return vgirpc.Identity{}, &auth.Failure{Reason: auth.InvalidCredential}
	})
}

// site is a service with pages: the handler of a Server, and in front of the
// rest what package httpserver does.
type site struct {
	*Server

	accept auth.Authenticator
	now    time.Time
}

// newSite returns a service at https://service.test/vgi.
func newSite(t *testing.T, p *idp, change func(*Options)) *site {
	t.Helper()
	o := Options{
		Resource: "https://service.test/vgi", Prefix: "/vgi", AuthorizationServers: []string{p.URL},
		ClientID: clientID, ClientSecret: clientSecret, Keys: [][]byte{[]byte("a key of the test, long enough")},
	}
	if change != nil {
		change(&o)
	}
	s := &site{accept: accept("access-of-ann"), now: time.Now()}
	var err error
	if s.Server, err = newServer(o, func() time.Time { return s.now }); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Owns(r.URL.EscapedPath()) {
		s.Handler(s.accept).ServeHTTP(w, r)
		return
	}
	id, err := s.Authenticator(s.accept).Authenticate(r)
	if err == nil {
		if !s.Release(w, r) {
			fmt.Fprint(w, id.Principal)
		}
		return
	}
	if reason, ok := auth.ReasonOf(err); !ok || !s.Begin(w, r, reason) {
		http.Error(w, "refused", http.StatusUnauthorized)
	}
}

// browser keeps cookies as they are sent, without regard to names and paths but
// for what [browser.get] is told.
type browser struct {
	t       *testing.T
	site    http.Handler
	cookies map[string]*http.Cookie
}

func newBrowser(t *testing.T, site http.Handler) *browser {
	t.Helper()
	return &browser{t, site, map[string]*http.Cookie{}}
}

// request is a navigation to a target with the cookies that the browser has.
func (b *browser) request(target string) *http.Request {
	r := httptest.NewRequestWithContext(b.t.Context(), http.MethodGet, target, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	return r
}

// do sends a request, and keeps the cookies of the answer.
func (b *browser) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.site.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookies[c.Name] = c
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return w
}

func (b *browser) get(target string) *httptest.ResponseRecorder { return b.do(b.request(target)) }

// begin opens a page and returns the authorization request that it leads to.
func (b *browser) begin(target string) *url.URL {
	b.t.Helper()
	w := b.get(target)
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusFound {
		b.t.Fatalf("status %d to %q: %v", w.Code, w.Header().Get("Location"), err)
	}
	return to
}

// authorize has the authorization server answer a request, and returns the
// callback's target.
func (b *browser) authorize(request *url.URL) *url.URL {
	b.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, request.String(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		b.t.Fatal(err)
	}
	return to
}

// come goes on with a callback.
func (b *browser) come(callback *url.URL) *httptest.ResponseRecorder {
	return b.get(callback.RequestURI())
}
