package httpserver_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/auth/oauth"
	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/browsertest"
	"github.com/vgirpc/vgirpc-go/internal/oidctest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// signInOptions are those of a service at https://service.test/vgi.
func signInOptions(issuer string) oauth.Options {
	return oauth.Options{
		Resource: "https://service.test/vgi", Prefix: "/vgi", AuthorizationServers: []string{issuer},
		ClientID: "web", ClientSecret: "web-secret", FrontendOrigins: []string{"https://app.test"},
		Keys: [][]byte{[]byte("a key of the test, long enough")},
	}
}

func newSignIn(t *testing.T, o oauth.Options) *oauth.Server {
	t.Helper()
	s, err := oauth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSigningInIsServedBesideTheCalls(t *testing.T) {
	var issuer *httptest.Server
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q}`, issuer.URL, issuer.URL+"/auth", issuer.URL+"/token")
	}))
	defer issuer.Close()
	bearer, err := auth.NewBearer(auth.BearerOptions{Tokens: []auth.BearerToken{{Token: "token", Principal: "ann"}}})
	if err != nil {
		t.Fatal(err)
	}
	h := newHandler(t, httpserver.Options{
		Prefix: "/vgi", Auth: bearer, OAuth: newSignIn(t, signInOptions(issuer.URL)),
		CORS: &httpserver.CORS{Origins: []string{"https://other.test"}}, JSON: &httpserver.JSONGateway{},
	})
	call := requestOf(t, func(c *vgirpc.Client) error {
		_, err := conformance.EchoString.Call(t.Context(), c, conformance.Value[string]{Value: "x"})
		return err
	})
	const (
		challenge = `Bearer resource_metadata="https://service.test/.well-known/oauth-protected-resource/vgi", client_id="web"`
		arrow     = "application/vnd.apache.arrow.stream"
	)
	for _, tt := range []struct {
		name, method, path string
		header             http.Header
		status             int
		want               map[string]string // headers; a value in [] is one that it begins with
	}{
		{
			"the metadata, for pages that may call", http.MethodGet, "/.well-known/oauth-protected-resource/vgi",
			http.Header{"Origin": {"https://other.test"}},
			200,
			map[string]string{"Content-Type": "application/json", "Access-Control-Allow-Origin": "https://other.test"},
		},
		{
			"a call of a stranger is told where tokens are to be had", http.MethodPost, "/vgi/ConformanceService/echo_string",
			http.Header{"Content-Type": {arrow}},
			401,
			map[string]string{"Www-Authenticate": challenge, "Vgi-Auth-Reason": "missing_credential"},
		},
		{
			"no cookie makes a call", http.MethodPost, "/vgi/ConformanceService/echo_string",
			http.Header{"Content-Type": {arrow}, "Cookie": {"_vgi_auth=token"}},
			401,
			map[string]string{"Www-Authenticate": challenge},
		},
		{
			"nor one with JSON", http.MethodPost, "/vgi/ConformanceService/echo_string?format=json",
			http.Header{"Content-Type": {"application/json"}, "Cookie": {"_vgi_auth=token"}},
			401,
			map[string]string{"Www-Authenticate": challenge},
		},
		{
			"a token in a header does", http.MethodPost, "/vgi/ConformanceService/echo_string",
			http.Header{"Content-Type": {arrow}, "Authorization": {"Bearer token"}},
			200,
			map[string]string{"Content-Type": arrow},
		},
		{
			"a client that looks at a page is told as well", http.MethodGet, "/vgi/describe", nil,
			401,
			map[string]string{"Www-Authenticate": challenge, "Location": ""},
		},
		{
			"a browser is sent to sign in", http.MethodGet, "/vgi/describe",
			http.Header{"Accept": {"text/html"}},
			302,
			map[string]string{"Location": "[" + issuer.URL + "/auth?", "Www-Authenticate": "", "Vgi-Auth-Reason": ""},
		},
		{
			"whose cookie is not good as well", http.MethodGet, "/vgi",
			http.Header{"Accept": {"text/html"}, "Cookie": {"_vgi_auth=other"}},
			302,
			map[string]string{"Location": "[" + issuer.URL + "/auth?"},
		},
		{"whose cookie is sees the page", http.MethodGet, "/vgi", http.Header{"Accept": {"text/html"}, "Cookie": {"_vgi_auth=token"}}, 200, nil},
		{
			"and goes back to where it was sent from", http.MethodGet, "/vgi?_vgi_return_to=https%3A%2F%2Fapp.test%2F",
			http.Header{"Accept": {"text/html"}, "Cookie": {"_vgi_auth=token"}},
			302,
			map[string]string{"Location": "https://app.test/#token=token"},
		},
		{
			"a callback needs no credential", http.MethodGet, "/vgi/_oauth/callback", nil,
			400,
			map[string]string{"Content-Type": "text/html; charset=utf-8"},
		},
		{"signing out neither", http.MethodGet, "/vgi/_oauth/logout", nil, 302, map[string]string{"Location": "/vgi"}},
		{
			"the token proxy answers to its own origins", http.MethodOptions, "/vgi/_oauth/token",
			http.Header{"Origin": {"https://app.test"}, "Access-Control-Request-Method": {"POST"}},
			204,
			map[string]string{"Access-Control-Allow-Origin": "https://app.test", "Access-Control-Allow-Headers": "Content-Type"},
		},
		{
			"and not to those that may call", http.MethodOptions, "/vgi/_oauth/token",
			http.Header{"Origin": {"https://other.test"}, "Access-Control-Request-Method": {"POST"}},
			204,
			map[string]string{"Access-Control-Allow-Origin": ""},
		},
		{"nothing else is below", http.MethodGet, "/vgi/_oauth/other", nil, 404, nil},
		{"nor is it a call", http.MethodPost, "/vgi/_oauth/other", http.Header{"Content-Type": {arrow}}, 404, nil},
		{"what only looks like it wants a credential", http.MethodGet, "/vgi/_oauthx/callback", nil, 401, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(string(call)))
			maps.Copy(r.Header, tt.header)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			for name, want := range tt.want {
				got := w.Header().Get(name)
				if start, ok := strings.CutPrefix(want, "["); ok && strings.HasPrefix(got, start) {
					continue
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
			if w.Header().Get("X-Request-ID") == "" {
				t.Error("no request id")
			}
		})
	}
}

func TestPagesShowWhoIsSignedInWhereSomebodyCanBe(t *testing.T) {
	bearer, err := auth.NewBearer(auth.BearerOptions{Tokens: []auth.BearerToken{{Token: "token", Principal: "ann"}}})
	if err != nil {
		t.Fatal(err)
	}
	metadata := signInOptions("https://id.test")
	metadata.ClientID, metadata.ClientSecret = "", ""
	for _, tt := range []struct {
		name string
		opts httpserver.Options
		want bool
	}{
		{"with a sign-in", httpserver.Options{Prefix: "/vgi", Auth: bearer, OAuth: newSignIn(t, signInOptions("https://id.test"))}, true},
		{"with the metadata alone", httpserver.Options{Prefix: "/vgi", Auth: bearer, OAuth: newSignIn(t, metadata)}, false},
		{"with neither", httpserver.Options{Prefix: "/vgi", Auth: bearer}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHandler(t, tt.opts)
			for _, path := range []string{"/vgi", "/vgi/describe"} {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
				r.Header.Set("Authorization", "Bearer token")
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				got := strings.Contains(w.Body.String(), "vgi-user-info") && strings.Contains(w.Body.String(), `href="/vgi/_oauth/logout"`)
				if w.Code != http.StatusOK || got != tt.want || strings.Contains(w.Body.String(), "_oauth") != tt.want {
					t.Errorf("%s: status %d, shown: %v", path, w.Code, got)
				}
			}
		})
	}
}

func TestASignInThatMakesNoSense(t *testing.T) {
	anybody := auth.Func(func(*http.Request) (vgirpc.Identity, error) { return vgirpc.Identity{}, nil })
	s := newSignIn(t, signInOptions("https://id.test"))
	for _, tt := range []struct {
		name string
		opts httpserver.Options
		want string
	}{
		{"another prefix", httpserver.Options{Prefix: "/other", Auth: anybody, OAuth: s}, "prefix"},
		{"two challenges", httpserver.Options{Prefix: "/vgi", Auth: anybody, OAuth: s, Challenge: "Bearer"}, "Challenge"},
		{"nobody who looks at who signed in", httpserver.Options{Prefix: "/vgi", OAuth: s}, "Auth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := httpserver.New(newServer(t), tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one about %s", err, tt.want)
			}
		})
	}
}

// TestSigningInWithABrowser runs internal/browsertest/oauth.mjs in Chromium
// against services whose authorization server is a certified provider of OpenID
// Connect. The services are at localhost and the provider at 127.0.0.1, which
// are two sites.
func TestSigningInWithABrowser(t *testing.T) {
	provider := oidctest.Start(t, oidctest.Options{RedirectURIs: []string{"http://127.0.0.1:1/"}, Lifetime: time.Hour})
	app := httptest.NewServer(http.HandlerFunc(serveApp))
	defer app.Close()
	friend := strings.Replace(app.URL, "127.0.0.1", "localhost", 1)
	control := httptest.NewServer(controlOf(t, provider))
	defer control.Close()
	config := map[string]any{"issuer": provider.Issuer, "friend": friend, "control": control.URL}
	for _, name := range []string{"service", "fresh"} {
		config[name] = serveSignIn(t, provider, friend)
	}
	for _, step := range browsertest.Run(t, "..", "internal/browsertest/oauth.mjs", config) {
		t.Run(step.Name, func(t *testing.T) {
			if step.Failure != "" {
				t.Error(step.Failure)
			}
		})
	}
}

// serveSignIn serves the conformance service to whom the provider vouches for,
// below /vgi of the origin that is returned.
func serveSignIn(t *testing.T, provider *oidctest.Provider, friend string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	origin := "http://localhost:" + port
	provider.AllowRedirect(t, origin+"/vgi/_oauth/callback")
	tokens, err := jwt.New(context.WithoutCancel(t.Context()), jwt.Options{
		Issuers: []jwt.Issuer{{Name: provider.Issuer}}, Audiences: []string{oidctest.DefaultAudience}, AllowHTTP: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tokens.Close() })
	o := signInOptions(provider.Issuer)
	o.Resource, o.FrontendOrigins = origin+"/vgi", []string{friend}
	o.ClientID, o.ClientSecret, o.ClientSecretBasic = string(oidctest.Web), oidctest.Web.Secret(), true
	serveOn(t, l, newHandler(t, httpserver.Options{
		Prefix: "/vgi", Auth: tokens, OAuth: newSignIn(t, o), JSON: &httpserver.JSONGateway{},
	}), httpserver.ServeOptions{})
	return origin
}

// controlOf lets the script do with the provider what its operator does.
func controlOf(t *testing.T, provider *oidctest.Provider) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		switch what, account, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); what {
		case "rotate":
			provider.RotateKeys(t, false)
		case "outage":
			provider.Outage(t, oidctest.Unavailable)
		case "recover":
			provider.Recover(t)
		case "deny":
			provider.Deny(t)
		case "account":
			provider.SignIn(t, account)
		}
	})
}
