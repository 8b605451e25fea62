package attacks_test

import (
	"context"
	"crypto"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	golangjwt "github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/auth/oauth"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// signInSite is a service with pages over TLS, at which people sign in.
type signInSite struct {
	*httptest.Server

	idp string
}

// newAuthority is an authorization server that lets everybody in as ann, with a
// token for a resource.
func newAuthority(tb testing.TB, resource func() string) (at string) {
	tb.Helper()
	keys := newKeyring()
	set := jwks(map[string]crypto.PublicKey{"ec": keys.ec.Public()})
	var once sync.Map // codes
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	say := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(must(json.Marshal(v)))
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		say(w, map[string]any{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/authorize", "token_endpoint": server.URL + "/token",
			"jwks_uri": server.URL + "/jwks", "authorization_response_iss_parameter_supported": true,
		})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) })
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		once.Store(q.Get("state"), true)
		back := url.Values{"code": {q.Get("state")}, "state": {q.Get("state")}, "iss": {server.URL}}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if _, known := once.LoadAndDelete(r.FormValue("code")); !known || r.FormValue("code_verifier") == "" {
			w.WriteHeader(http.StatusBadRequest)
			say(w, map[string]string{"error": "invalid_grant"})
			return
		}
		claims := map[string]any{"iss": server.URL, "aud": resource()}
		say(w, map[string]any{
			"access_token": token(golangjwt.SigningMethodES256, keys.ec, claims, nil), "token_type": "Bearer", "expires_in": 600,
		})
	})
	return server.URL
}

func newSignInSite(tb testing.TB) *signInSite {
	tb.Helper()
	s := &signInSite{Server: httptest.NewUnstartedServer(nil)}
	here := "https://" + s.Listener.Addr().String()
	s.idp = newAuthority(tb, func() string { return here })
	signIn := must(oauth.New(oauth.Options{
		Resource: here, AuthorizationServers: []string{s.idp}, ClientID: "web", AllowHTTP: true,
		Keys: [][]byte{[]byte(strings.Repeat("o", 32))}, FrontendOrigins: []string{"https://app.example"},
	}))
	tokens := must(jwt.New(tb.Context(), jwt.Options{Issuers: []jwt.Issuer{{Name: s.idp}}, Audiences: []string{here}, AllowHTTP: true}))
	tb.Cleanup(tokens.Close)
	p := vgirpc.NewProtocol("test.Target", "1.0.0")
	whoami := vgirpc.NewUnary[vgirpc.None, string](p, "whoami")
	server := must(vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, p))
	vgirpc.HandleUnary(server, whoami, func(context.Context, vgirpc.None) (string, error) {
		dispatched.Add(1)
		return "", nil
	})
	s.Config.Handler = must(httpserver.New(server, httpserver.Options{Auth: tokens, OAuth: signIn}))
	s.StartTLS()
	tb.Cleanup(s.Close)
	return s
}

// browser keeps cookies by name, as an attacker may have planted them.
type browser struct {
	tb      testing.TB
	site    *signInSite
	cookies map[string]string
}

func (s *signInSite) browser(tb testing.TB) *browser {
	tb.Helper()
	return &browser{tb, s, map[string]string{}}
}

// reply is what a browser gets.
type reply struct {
	status   int
	location string
}

// visit is a navigation, to an address that may be odd.
func (b *browser) visit(method, target string) reply {
	b.tb.Helper()
	r := must(http.NewRequestWithContext(b.tb.Context(), method, b.site.URL, http.NoBody))
	r.URL.RawPath, r.URL.RawQuery, _ = strings.Cut(target, "?")
	r.URL.Path = must(url.PathUnescape(r.URL.RawPath))
	r.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/vnd.apache.arrow.stream")
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := b.site.Client().Transport.RoundTrip(r)
	if err != nil {
		b.tb.Fatal(err)
	}
	_ = resp.Body.Close()
	for _, c := range resp.Cookies() {
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return reply{resp.StatusCode, resp.Header.Get("Location")}
}

// begin opens a page, and returns the callback's address that the authorization
// server sends the browser to.
func (b *browser) begin(target string) *url.URL {
	b.tb.Helper()
	to := b.visit(http.MethodGet, target).location
	if !strings.HasPrefix(to, b.site.idp+"/authorize?") {
		b.tb.Fatalf("%s leads to %q", target, to)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(must(http.NewRequestWithContext(b.tb.Context(), http.MethodGet, to, nil)))
	if err != nil {
		b.tb.Fatal(err)
	}
	_ = resp.Body.Close()
	return must(resp.Location())
}

func (b *browser) come(callback *url.URL) reply {
	return b.visit(http.MethodGet, callback.RequestURI())
}

// signedIn is whether the browser has got a token.
func (b *browser) signedIn() bool {
	for name := range b.cookies {
		if strings.Contains(name, "_vgi_auth") {
			return true
		}
	}
	return false
}

func TestAttacksOnASignInAreRepelled(t *testing.T) {
	s := newSignInSite(t)
	type result struct {
		Status   int
		Location string
		SignedIn bool
	}
	changed := func(name, value string) func(b *browser) reply {
		return func(b *browser) reply {
			callback := b.begin("/describe")
			q := callback.Query()
			q.Set(name, value)
			callback.RawQuery = q.Encode()
			return b.come(callback)
		}
	}
	through := func(target string) func(b *browser) reply {
		return func(b *browser) reply { return b.come(b.begin(target)) }
	}
	for _, tt := range []struct {
		name, repelled string
		attack         func(b *browser) reply // of the victim's browser
		want           result
	}{
		{"no attack", "", through("/describe?x=1"), result{302, "/describe?x=1", true}},
		{"CSRF on the callback", "auth/oauth: state", changed("state", strings.Repeat("x", 43)), result{400, "", false}},
		{"mix-up of issuers", "auth/oauth: iss (RFC 9207)", changed("iss", "https://evil.example"), result{400, "", false}},
		{"a code that was made up", "auth/oauth: the authorization server decides", changed("code", "made-up"), result{502, "", false}},
		{
			"login CSRF: the attacker's callback in the victim's browser", "auth/oauth: the sign-in is in a cookie",
			func(b *browser) reply { return b.come(s.browser(t).begin("/describe")) },
			result{400, "", false},
		},
		{
			"login CSRF in a browser that has begun a sign-in", "auth/oauth: state",
			func(b *browser) reply {
				b.begin("/describe")
				return b.come(s.browser(t).begin("/describe"))
			},
			result{400, "", false},
		},
		{
			"session fixation: the attacker's sign-in planted", "auth/oauth: a sign-in is bound to its browser",
			func(b *browser) reply {
				attacker := s.browser(t)
				callback := attacker.begin("/describe")
				b.begin("/describe")
				for name, value := range attacker.cookies {
					if !strings.HasPrefix(name, "__Host-") { // which no other host can plant
						b.cookies[name] = value
					}
				}
				return b.come(callback)
			},
			result{400, "", false},
		},
		{
			"a callback that comes again", "auth/oauth: a state is good for one time",
			func(b *browser) reply {
				callback := b.begin("/describe")
				again := &browser{b.tb, b.site, maps.Clone(b.cookies)}
				if first := again.come(callback); first.status != http.StatusFound {
					t.Fatalf("the first time: status %d", first.status)
				}
				return b.come(callback)
			},
			result{400, "", false},
		},
		{"open redirect: another host", "auth/oauth: returnPath", through("//evil.example/describe"), result{302, "/", true}},
		{"open redirect: escapes", "auth/oauth: returnPath", through("/%5c%5cevil.example"), result{302, "/", true}},
		{"open redirect: a whole URL in the path", "auth/oauth: returnPath", through("/https:%2f%2fevil.example"), result{302, "/", true}},
		{
			"open redirect: a frontend that is not on the list", "auth/oauth: frontends",
			through("/describe?_vgi_return_to=https%3A%2F%2Fevil.example%2F"),
			result{302, "/describe?_vgi_return_to=https%3A%2F%2Fevil.example%2F", true},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := s.browser(t)
			resp := tt.attack(b)
			got := result{resp.status, resp.location, b.signedIn()}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s:\n%s", tt.repelled, diff)
			}
			// Whoever is signed in now stays here, and calls nothing by a cookie.
			if to := b.visit(http.MethodGet, "/describe?_vgi_return_to=https%3A%2F%2Fevil.example%2F").location; strings.HasPrefix(to, "https://evil") {
				t.Errorf("the browser is sent to %s", to)
			}
			before := dispatched.Load()
			if got := b.visit(http.MethodPost, path); got.status != http.StatusUnauthorized || dispatched.Load() != before {
				t.Errorf("a call with the cookie alone: status %d", got.status)
			}
		})
	}
}
