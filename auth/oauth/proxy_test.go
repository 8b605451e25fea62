package oauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheProxyPassesOnWhatItMay(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	const code = "grant_type=authorization_code&code=abc&code_verifier=v&redirect_uri=https://x/cb"
	for _, tt := range []struct {
		name, kind, body string
		change           func(*Options)
		raw              http.HandlerFunc // of the token endpoint
		down             bool
		status           int
		answer           string // the body, or the error in it
		sent             url.Values
	}{
		{
			"a code", form, code + "&client_id=my-client-id", nil, nil, false, 200, `{"a":"b"}`,
			url.Values{
				"grant_type": {"authorization_code"}, "code": {"abc"}, "code_verifier": {"v"}, "redirect_uri": {"https://x/cb"},
				"client_id": {clientID}, "client_secret": {clientSecret},
			},
		},
		{
			"a refresh, with a charset and without the client", form + "; charset=utf-8", "grant_type=refresh_token&refresh_token=r&scope=openid", nil, nil, false,
			200, `{"a":"b"}`,
			url.Values{
				"grant_type": {"refresh_token"}, "refresh_token": {"r"}, "scope": {"openid"}, "client_id": {clientID}, "client_secret": {clientSecret},
			},
		},
		{
			"nothing that it does not know, nor another secret", form, code + "&client_secret=guess&resource=x&assertion=y", nil, nil, false, 200, `{"a":"b"}`,
			url.Values{
				"grant_type": {"authorization_code"}, "code": {"abc"}, "code_verifier": {"v"}, "redirect_uri": {"https://x/cb"},
				"client_id": {clientID}, "client_secret": {clientSecret},
			},
		},
		{
			"with the secret in a header", form, "grant_type=refresh_token&refresh_token=r", func(o *Options) { o.ClientSecretBasic = true }, nil, false,
			200, `{"a":"b"}`,
			url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"r"}, "client_id": {clientID}},
		},
		{"no JSON", "application/json", `{"grant_type":"authorization_code"}`, nil, nil, false, 415, "invalid_request", nil},
		{"nothing without a kind", "", code, nil, nil, false, 415, "invalid_request", nil},
		{"no form that is none", form, "grant_type=%zz", nil, nil, false, 400, "invalid_request", nil},
		{"no form without an end", form, code + "&x=" + strings.Repeat("a", maxForm), nil, nil, false, 400, "invalid_request", nil},
		{"no other grant", form, "grant_type=client_credentials", nil, nil, false, 400, "unsupported_grant_type", nil},
		{"nor a device's", form, "grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code=x", nil, nil, false, 400, "unsupported_grant_type", nil},
		{"nor none", form, "code=abc", nil, nil, false, 400, "unsupported_grant_type", nil},
		{"nor two", form, code + "&grant_type=client_credentials", nil, nil, false, 400, "invalid_request", nil},
		{"no other client", form, code + "&client_id=evil", nil, nil, false, 400, "invalid_client", nil},
		{"no code without PKCE", form, "grant_type=authorization_code&code=stolen&redirect_uri=https://x/cb", nil, nil, false, 400, "invalid_request", nil},
		{
			"an error as it is", form, code, nil, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json;charset=x")
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":"invalid_grant" }`)
			}, false, 400, `{"error":"invalid_grant" }`, nil,
		},
		{"an outage", form, code, nil, nil, true, 502, "server_error", nil},
		{
			"no redirect", form, code, nil, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			},
			false, 502, "server_error", nil,
		},
		{
			"no answer without an end", form, code, nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("a"), maxBody+1)) },
			false, 502, "server_error", nil,
		},
		{
			"no answer that breaks off", form, code, nil, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				fmt.Fprint(w, "{")
			}, false, 502, "server_error", nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			p.set(func() {
				p.down = tt.down
				p.raw = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"a":"b"}`) }
				if tt.raw != nil {
					p.raw = tt.raw
				}
			})
			s := newSite(t, p, tt.change)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/vgi/_oauth/token", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.kind)
			r.Header.Set("Cookie", authCookie+"=access-of-ann")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != tt.status || (w.Body.String() != tt.answer && !strings.Contains(w.Body.String(), `"error":"`+tt.answer+`"`)) {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			if tt.sent != nil {
				if diff := cmp.Diff(tt.sent, p.lastForm(t)); diff != "" {
					t.Error(diff)
				}
			}
			if basic := clientID + ":" + clientSecret; s.opts.ClientSecretBasic && p.basic != basic {
				t.Errorf("the header says %q", p.basic)
			}
			if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" ||
				!strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || len(h["Set-Cookie"]) != 0 {
				t.Errorf("headers %v", h)
			}
			if strings.Contains(w.Body.String(), clientSecret) || p.count("/elsewhere") != 0 {
				t.Error("the secret went elsewhere")
			}
		})
	}
}

func TestTheProxyHasOriginsOfItsOwn(t *testing.T) {
	s := newSite(t, newIDP(t), func(o *Options) { o.FrontendOrigins = []string{"https://App.test:443"} })
	for _, tt := range []struct {
		origin []string
		want   string
	}{
		{[]string{"https://app.test"}, "https://app.test"},
		{[]string{"https://app.test.evil.test"}, ""},
		{[]string{"http://app.test"}, ""},
		{[]string{"http://localhost:3000"}, ""},
		{[]string{"null"}, ""},
		{[]string{"https://app.test", "https://evil.test"}, ""},
		{nil, ""},
	} {
		t.Run(strings.Join(tt.origin, " "), func(t *testing.T) {
			for method, want := range map[string]int{http.MethodOptions: http.StatusNoContent, http.MethodPost: http.StatusUnsupportedMediaType} {
				r := httptest.NewRequestWithContext(t.Context(), method, "/vgi/_oauth/token", nil)
				r.Header["Origin"] = tt.origin
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				h := w.Header()
				if w.Code != want || h.Get("Access-Control-Allow-Origin") != tt.want || h.Get("Vary") != "Origin" || h.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s: status %d, headers %v", method, w.Code, h)
				}
				if method == http.MethodOptions && (!strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") || h.Get("Access-Control-Allow-Headers") != "Content-Type") {
					t.Errorf("headers %v", h)
				}
			}
		})
	}
}

func TestWhereAnIssuerIsAsked(t *testing.T) {
	const ok = http.StatusOK
	for _, tt := range []struct {
		name, path   string // of the issuer
		names        string // at the end of the issuer that the documents name
		openID, rfc  int    // statuses of the two places
		asked        []string
		want         []string // in the error, after the issuer's origin; none for success
		wantElsewise string   // in the error
	}{
		{"OpenID Connect", "", "", ok, ok, []string{"/.well-known/openid-configuration"}, nil, ""},
		{
			"RFC 8414", "", "", 404, ok,
			[]string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"},
			nil, "",
		},
		{
			"RFC 8414 of one with a path", "/realms/a", "/realms/a", 404, ok,
			[]string{"/realms/a/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/a"},
			nil, "",
		},
		{
			"RFC 8414 of one with a slash at its end", "/a%2Fb/", "/a%2Fb/", 404, ok,
			[]string{"/a%2Fb/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/a%2Fb"},
			nil, "",
		},
		{
			"nowhere", "/a", "/a", 404, 404,
			[]string{"/a/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/a"},
			[]string{"/a/.well-known/openid-configuration: status 404", "/.well-known/oauth-authorization-server/a: status 404"},
			"",
		},
		{
			"one that is out of service is asked nowhere else", "", "", 500, ok,
			[]string{"/.well-known/openid-configuration"},
			[]string{"/.well-known/openid-configuration: status 500"},
			"",
		},
		{
			"a slash too many", "/a/", "/a", ok, ok,
			[]string{"/a/.well-known/openid-configuration"},
			[]string{"/a/.well-known/openid-configuration"},
			"slash",
		},
		{
			"a slash too few", "/a", "/a/", 404, ok,
			[]string{"/a/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/a"},
			[]string{"/.well-known/oauth-authorization-server/a"},
			"slash",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []string
			var site *httptest.Server
			site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.URL.EscapedPath())
				status := tt.openID
				if strings.HasPrefix(r.URL.Path, "/.well-known/oauth-") {
					status = tt.rfc
				}
				writeJSON(w, status, map[string]string{
					"issuer": site.URL + tt.names, "authorization_endpoint": site.URL + "/auth", "token_endpoint": site.URL + "/token",
				})
			}))
			defer site.Close()
			s, err := New(Options{
				Resource: "https://service.test", AuthorizationServers: []string{site.URL + tt.path}, ClientID: "c", Keys: [][]byte{make([]byte, 32)},
			})
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.issuer.get(t.Context())
			if diff := cmp.Diff(tt.asked, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if tt.want == nil {
				if err != nil || p.tokenURL != site.URL+"/token" {
					t.Errorf("got %+v, %v", p, err)
				}
				return
			}
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), site.URL+want) || !strings.Contains(err.Error(), tt.wantElsewise) {
					t.Errorf("error %v, want %q and %q", err, site.URL+want, tt.wantElsewise)
				}
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	for _, tt := range []struct {
		name  string
		extra map[string]any
		want  string
	}{
		{"another issuer", map[string]any{"issuer": "https://evil.test"}, "another issuer"},
		{"keys in a place that a log should not know", map[string]any{"jwks_uri": "http://id.test/s3cret-place"}, "jwks_uri"},
		{"no authorization endpoint", map[string]any{"authorization_endpoint": nil}, "lacks"},
		{"no token endpoint", map[string]any{"token_endpoint": ""}, "lacks"},
		{"an endpoint over http", map[string]any{"token_endpoint": "http://id.test/token"}, "AllowHTTP"},
		{"an endpoint that is none", map[string]any{"authorization_endpoint": "javascript:alert(1)"}, "endpoint"},
		{"keys over http", map[string]any{"jwks_uri": "http://id.test/jwks"}, "AllowHTTP"},
		{"what is not what it should be", map[string]any{"authorization_endpoint": 7}, "JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			p.set(func() { p.extra = tt.extra })
			if _, err := newSite(t, p, nil).issuer.get(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), ".test") {
				t.Errorf("error %v, want %q and nothing of the document", err, tt.want)
			}
		})
	}
	t.Run("a crowd asks once", func(t *testing.T) {
		p := newIDP(t)
		s := newSite(t, p, nil)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := s.issuer.get(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := p.count(discoveryPath); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
	t.Run("who goes does not take the answer along, and who waits may go", func(t *testing.T) {
		asked, answer := make(chan struct{}), make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(asked); <-answer }))
		defer slow.Close()
		s, err := New(Options{Resource: "https://service.test", AuthorizationServers: []string{slow.URL}, ClientID: "c", Keys: [][]byte{make([]byte, 32)}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := s.issuer.get(ctx)
			first <- err
		}()
		<-asked
		cancel()
		if _, err := s.issuer.get(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("who waits: %v", err)
		}
		close(answer)
		if err := <-first; err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("who asked: %v", err)
		}
	})
}

func TestAStateIsGoodForOneTime(t *testing.T) {
	var u used
	now := time.Unix(1_700_000_000, 0)
	for i := range maxUsed {
		if !u.first(strconv.Itoa(i), now, time.Minute) {
			t.Fatalf("%d is seen for the first time", i)
		}
	}
	if u.first("0", now, time.Minute) || u.first("16383", now, time.Minute) {
		t.Error("used for the second time")
	}
	if !u.first("more", now, time.Minute) || len(u.queue) > maxUsed || len(u.seen) != len(u.queue) {
		t.Errorf("%d are remembered", len(u.queue))
	}
	if !u.first("later", now.Add(time.Minute), time.Minute) || len(u.seen) != 1 || len(u.queue) != 1 {
		t.Errorf("%d are remembered that are over", len(u.queue)-1)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	good := func() Options {
		return Options{Resource: "https://service.test/vgi", AuthorizationServers: []string{"https://id.test"}, ClientID: "c", ClientSecret: "s"}
	}
	for _, tt := range []struct {
		name   string
		change func(o *Options)
		want   string
	}{
		{"no resource", func(o *Options) { o.Resource = "" }, "Resource"},
		{"a resource that is a path", func(o *Options) { o.Resource = "/vgi" }, "Resource"},
		{"a resource over http", func(o *Options) { o.Resource = "http://service.test" }, "AllowHTTP"},
		{"a resource that breaks the challenge", func(o *Options) { o.Resource = `https://service.test/"x` }, "Resource"},
		{"a resource with a query", func(o *Options) { o.Resource = "https://service.test/?x" }, "Resource"},
		{"a resource with a user", func(o *Options) { o.Resource = "https://a@service.test/" }, "Resource"},
		{"no authorization server", func(o *Options) { o.AuthorizationServers = nil }, "AuthorizationServers"},
		{"an authorization server over http", func(o *Options) { o.AuthorizationServers = []string{"http://id.test"} }, "AllowHTTP"},
		{"one over something else", func(o *Options) { o.AuthorizationServers = []string{"ftp://id.test"} }, "https"},
		{"a prefix without a slash", func(o *Options) { o.Prefix = "vgi" }, "Prefix"},
		{"a prefix that ends with one", func(o *Options) { o.Prefix = "/vgi/" }, "Prefix"},
		{"a prefix that is another host", func(o *Options) { o.Prefix = "//evil.test" }, "Prefix"},
		{"a client id that breaks the challenge", func(o *Options) { o.ClientID = `a"b` }, "ClientID"},
		{"a secret that would be escaped", func(o *Options) { o.ClientSecret = "a b" }, "ClientSecret"},
		{"a secret without a client", func(o *Options) { o.ClientID = "" }, "ClientSecret"},
		{"a device's secret without its client", func(o *Options) { o.DeviceClientSecret, o.PublishSecrets = "x", true }, "DeviceClientSecret"},
		{"a device's secret that is kept", func(o *Options) { o.DeviceClientID, o.DeviceClientSecret = "d", "x" }, "PublishSecrets"},
		{"an id_token without its scope", func(o *Options) { o.UseIDToken, o.Scopes = true, []string{"api"} }, "openid"},
		{"a scope that is two", func(o *Options) { o.Scopes = []string{"a b"} }, "Scopes"},
		{"a parameter that is the sign-in's", func(o *Options) { o.AuthorizeParams = map[string]string{"state": "x"} }, "AuthorizeParams"},
		{"a short key", func(o *Options) { o.Keys = [][]byte{make([]byte, 15)} }, "Keys"},
		{"an origin with a path", func(o *Options) { o.FrontendOrigins = []string{"https://app.test/"} }, "FrontendOrigins"},
		{"every origin", func(o *Options) { o.FrontendOrigins = []string{"*"} }, "FrontendOrigins"},
		{"a link that is a script", func(o *Options) { o.PolicyURI = "javascript:alert(1)" }, "PolicyURI"},
		{"a negative time", func(o *Options) { o.Timeout = -1 }, "Timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := good()
			tt.change(&o)
			_, err := New(o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one about %s", err, tt.want)
			}
			if o.ClientSecret == "a b" && strings.Contains(err.Error(), o.ClientSecret) {
				t.Errorf("a secret is told: %v", err)
			}
		})
	}
	for _, tt := range []struct {
		name   string
		change func(o *Options)
	}{
		{"as they are", func(*Options) {}},
		{"this machine", func(o *Options) {
			o.Resource, o.AuthorizationServers = "http://[::1]:80/x", []string{"http://localhost:1"}
		}},
		{"http that is allowed", func(o *Options) { o.Resource, o.AllowHTTP = "http://service.test", true }},
		{"only the metadata", func(o *Options) { o.ClientID, o.ClientSecret = "", "" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := good()
			tt.change(&o)
			if _, err := New(o); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeysInText(t *testing.T) {
	key := bytes.Repeat([]byte{0xfb, 0xff}, 16)
	for _, tt := range []struct {
		name, text string
		want       int
		err        string
	}{
		{"hex", strings.Repeat("fbff", 16), 1, ""},
		{"base64", base64.StdEncoding.EncodeToString(key) + "\n", 1, ""},
		{"base64 for URLs", " " + base64.RawURLEncoding.EncodeToString(key), 1, ""},
		{"two, and comments", "# new\n" + strings.Repeat("fbff", 16) + " # x\n" + base64.StdEncoding.EncodeToString(key) + ",", 2, ""},
		{"none", " # none\n", 0, "no key"},
		{"a short one", strings.Repeat("ab", 32) + ",abcd", 0, "key 2 has 2 bytes"},
		{"what is none", "s3cret!", 0, "key 1 is neither"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseKeys(tt.text)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || len(got) != tt.want {
				t.Fatalf("%d keys, %v", len(got), err)
			}
			for _, k := range got {
				if diff := cmp.Diff(key, k); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
