package oauth

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// attributes are a cookie without its value.
func attributes(w *httptest.ResponseRecorder) map[string]http.Cookie {
	out := map[string]http.Cookie{}
	for _, c := range w.Result().Cookies() {
		c := *c
		c.Value, c.Raw, c.RawExpires = "", "", ""
		out[c.Name] = c
	}
	return out
}

// shownIdentity is what the identity cookie of a browser says.
func shownIdentity(t *testing.T, b *browser) map[string]any {
	t.Helper()
	c, ok := b.cookies[identityCookie]
	if !ok {
		return nil
	}
	text, err := rawURL.DecodeString(c.Value)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestASignInEndsOnThePageWhereItBegan(t *testing.T) {
	p := newIDP(t)
	b := newBrowser(t, newSite(t, p, nil))

	w := b.get("/vgi/describe?x=1")
	if diff := cmp.Diff(map[string]http.Cookie{
		sessionCookie: {Name: sessionCookie, Path: "/vgi/_oauth/", MaxAge: 600, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode},
		bindCookie:    {Name: bindCookie, Path: "/", MaxAge: 600, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode},
	}, attributes(w)); diff != "" {
		t.Error(diff)
	}
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	q := to.Query()
	for _, secret := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(secret)) < 43 {
			t.Errorf("%s is %q: it can be guessed", secret, q.Get(secret))
		}
		q.Del(secret)
	}
	if diff := cmp.Diff(url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {"https://service.test/vgi/_oauth/callback"},
		"scope": {"openid email"}, "code_challenge_method": {"S256"},
	}, q); diff != "" {
		t.Error(diff)
	}

	w = b.come(b.authorize(to))
	if w.Code != http.StatusFound || w.Header().Get("Location") != "/vgi/describe?x=1" {
		t.Errorf("status %d to %q\n%s", w.Code, w.Header().Get("Location"), w.Body)
	}
	if got := w.Header().Get("Cache-Control") + " " + w.Header().Get("Referrer-Policy"); got != "no-cache, no-store, must-revalidate no-referrer" {
		t.Errorf("the way is kept or told on: %s", got)
	}
	if diff := cmp.Diff(map[string]http.Cookie{
		sessionCookie:  {Name: sessionCookie, Path: "/vgi/_oauth/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode},
		bindCookie:     {Name: bindCookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode},
		authCookie:     {Name: authCookie, Path: "/vgi", MaxAge: 600, Secure: true, SameSite: http.SameSiteLaxMode},
		identityCookie: {Name: identityCookie, Path: "/vgi", MaxAge: 600, Secure: true, SameSite: http.SameSiteLaxMode},
	}, attributes(w)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"sub": "ann", "email": "ann@example.test"}, shownIdentity(t, b)); diff != "" {
		t.Error(diff)
	}
	if w = b.get("/vgi"); w.Code != http.StatusOK || w.Body.String() != "ann" {
		t.Errorf("the page: status %d, %q", w.Code, w.Body)
	}
}

func TestASignInAsItsOptionsSay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Options)
		// What the authorization server is sent, beyond what changes.
		params url.Values
		secret string // in the form
		basic  string
		cookie http.Cookie
		value  string // of the cookie; "" for an id_token
	}{
		{
			"the secret goes in the form", func(*Options) {},
			nil, clientSecret, ":",
			http.Cookie{Name: authCookie, Path: "/vgi", MaxAge: 600, Secure: true, SameSite: http.SameSiteLaxMode},
			"access-of-ann",
		},
		{
			"or in a header", func(o *Options) { o.ClientSecretBasic = true },
			nil, "", clientID + ":" + clientSecret,
			http.Cookie{Name: authCookie, Path: "/vgi", MaxAge: 600, Secure: true, SameSite: http.SameSiteLaxMode},
			"access-of-ann",
		},
		{
			"at the root of a loopback address without TLS, where no cookie is Secure",
			func(o *Options) { o.Resource, o.Prefix = "http://[::1]:8080", "" },
			nil, clientSecret, ":",
			http.Cookie{Name: authCookie, Path: "/", MaxAge: 600, SameSite: http.SameSiteLaxMode},
			"access-of-ann",
		},
		{
			"the token can be hidden from scripts", func(o *Options) { o.HideToken = true },
			nil, clientSecret, ":",
			http.Cookie{Name: authCookie, Path: "/vgi", MaxAge: 600, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode},
			"access-of-ann",
		},
		{
			"the id_token can be the bearer, for as long as it is good", func(o *Options) { o.UseIDToken = true },
			nil, clientSecret, ":",
			http.Cookie{Name: authCookie, Path: "/vgi", MaxAge: 3600, Secure: true, SameSite: http.SameSiteLaxMode},
			"",
		},
		{
			"scopes and further parameters are sent along",
			func(o *Options) {
				o.Scopes, o.AuthorizeParams = []string{"openid", "api:read"}, map[string]string{"audience": "https://service.test"}
			},
			url.Values{"scope": {"openid api:read"}, "audience": {"https://service.test"}},
			clientSecret, ":",
			http.Cookie{Name: authCookie, Path: "/vgi", MaxAge: 600, Secure: true, SameSite: http.SameSiteLaxMode},
			"access-of-ann",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			s := newSite(t, p, tt.change)
			s.now = s.now.Truncate(time.Second)
			var idToken string
			p.set(func() {
				p.claims = func(c jwt.MapClaims) { c["exp"] = s.now.Add(time.Hour).Unix() }
				p.answer = func(a map[string]any) { idToken, _ = a["id_token"].(string) }
			})
			s.accept = auth.Func(func(*http.Request) (vgirpc.Identity, error) { return vgirpc.Identity{}, nil })
			b := newBrowser(t, s)
			w := httptest.NewRecorder()
			r := b.request(s.opts.Prefix + "/describe")
			if !s.Begin(w, r, auth.MissingCredential) {
				t.Fatal("no sign-in")
			}
			for _, c := range w.Result().Cookies() {
				b.cookies[c.Name] = c
			}
			to, err := url.Parse(w.Header().Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range tt.params {
				if diff := cmp.Diff(want, to.Query()[name]); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
			w = b.come(b.authorize(to))
			if w.Code != http.StatusFound {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if diff := cmp.Diff(tt.cookie, attributes(w)[authCookie]); diff != "" {
				t.Error(diff)
			}
			want := tt.value
			if want == "" {
				want = idToken
			}
			if got := b.cookies[authCookie].Value; got != want {
				t.Errorf("the cookie holds %q", got)
			}
			if diff := cmp.Diff([2]string{tt.secret, tt.basic}, [2]string{p.lastForm(t).Get("client_secret"), p.basic}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheCookieIsACredentialOfPagesAlone(t *testing.T) {
	s := newSite(t, newIDP(t), nil)
	for _, tt := range []struct {
		name, method string
		header       http.Header
		want         int
	}{
		{"a page", http.MethodGet, http.Header{"Cookie": {authCookie + "=access-of-ann"}}, http.StatusOK},
		{"its head", http.MethodHead, http.Header{"Cookie": {authCookie + "=access-of-ann"}}, http.StatusOK},
		{"a call", http.MethodPost, http.Header{"Cookie": {authCookie + "=access-of-ann"}}, http.StatusUnauthorized},
		{"the end of a session", http.MethodDelete, http.Header{"Cookie": {authCookie + "=access-of-ann"}}, http.StatusUnauthorized},
		{"a call with the token in a header", http.MethodPost, http.Header{"Authorization": {"Bearer access-of-ann"}}, http.StatusOK},
		{
			"a header goes before the cookie", http.MethodGet,
			http.Header{"Authorization": {"Bearer other"}, "Cookie": {authCookie + "=access-of-ann"}},
			http.StatusUnauthorized,
		},
		{
			"two cookies, of which one was set by somebody else", http.MethodGet,
			http.Header{"Cookie": {authCookie + "=access-of-ann; " + authCookie + "=access-of-eve"}},
			http.StatusUnauthorized,
		},
		{"a cookie that is no token", http.MethodGet, http.Header{"Cookie": {authCookie + "=a,b"}}, http.StatusUnauthorized},
		{"an empty cookie", http.MethodGet, http.Header{"Cookie": {authCookie + "="}}, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/vgi/describe", nil)
			r.Header = tt.header
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
			if _, left := r.Header["Authorization"]; left != (tt.header["Authorization"] != nil) {
				t.Error("the caller's request was changed")
			}
		})
	}
}

func TestOnlyWhoCanSignInIsSentToSignIn(t *testing.T) {
	p := newIDP(t)
	for _, tt := range []struct {
		name, method, accept string
		reason               auth.Reason
		change               func(*Options)
		want                 bool
	}{
		{"a browser", http.MethodGet, "text/html", auth.MissingCredential, nil, true},
		{"one whose token is over", http.MethodGet, "application/xml, Text/HTML;q=0.9", auth.ExpiredCredential, nil, true},
		{"one whose token is not good any more", http.MethodGet, "text/html", auth.InvalidCredential, nil, true},
		{"a client", http.MethodGet, "*/*", auth.MissingCredential, nil, false},
		{"one that says nothing", http.MethodGet, "", auth.MissingCredential, nil, false},
		{"a call", http.MethodPost, "text/html", auth.MissingCredential, nil, false},
		{"who came around the proxy", http.MethodGet, "text/html", auth.ProxyRequired, nil, false},
		{"nobody, without a client id", http.MethodGet, "text/html", auth.MissingCredential, func(o *Options) { o.ClientID, o.ClientSecret = "", "" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, p, tt.change)
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/vgi", nil)
			r.Header.Set("Accept", tt.accept)
			w := httptest.NewRecorder()
			if got := s.Begin(w, r, tt.reason); got != tt.want || (w.Code == http.StatusFound) != tt.want {
				t.Errorf("sent: %v, status %d", got, w.Code)
			}
		})
	}
	t.Run("who is signed in and may not does not sign in again", func(t *testing.T) {
		s := newSite(t, p, nil)
		b := newBrowser(t, s)
		b.cookies[authCookie] = &http.Cookie{Name: authCookie, Value: "access-of-ann"}
		if s.Begin(httptest.NewRecorder(), b.request("/vgi"), auth.InsufficientScope) {
			t.Error("sent to sign in")
		}
	})
}

func TestSigningOut(t *testing.T) {
	p := newIDP(t)
	p.set(func() { p.extra = map[string]any{"end_session_endpoint": p.URL + "/end?x=1"} })
	b := newBrowser(t, newSite(t, p, nil))
	b.come(b.authorize(b.begin("/vgi")))

	w := b.get("/vgi/_oauth/logout")
	if w.Code != http.StatusFound || w.Header().Get("Location") != "/vgi" {
		t.Errorf("status %d to %q", w.Code, w.Header().Get("Location"))
	}
	for _, name := range []string{authCookie, identityCookie, sessionCookie} {
		if _, left := b.cookies[name]; left {
			t.Errorf("%s is left", name)
		}
	}
	// Who signs in next is asked, although the authorization server knows him.
	to := b.begin("/vgi")
	if got := to.Query().Get("prompt"); got != "login" {
		t.Errorf("prompt is %q", got)
	}
	b.come(b.authorize(to))
	b.get("/vgi/_oauth/logout") // and so every time
	b.come(b.authorize(b.begin("/vgi")))
	delete(b.cookies, authCookie)
	if got := b.begin("/vgi").Query().Get("prompt"); got != "" {
		t.Errorf("prompt is %q for one who has signed in since", got)
	}

	t.Run("a page of another site has to ask", func(t *testing.T) {
		for _, from := range []string{"cross-site", "same-site"} {
			b := newBrowser(t, newSite(t, p, nil))
			r := b.request("/vgi/_oauth/logout")
			r.Header.Set("Sec-Fetch-Site", from)
			w := b.do(r)
			if w.Code != http.StatusForbidden || len(w.Result().Cookies()) != 0 || !strings.Contains(w.Body.String(), `href="/vgi/_oauth/logout"`) {
				t.Errorf("%s: status %d, %d cookies: %s", from, w.Code, len(w.Result().Cookies()), w.Body)
			}
		}
	})
	t.Run("also at the authorization server", func(t *testing.T) {
		s := newSite(t, p, func(o *Options) { o.EndSession, o.UseIDToken = true, true })
		b := newBrowser(t, s)
		b.cookies[authCookie] = &http.Cookie{Name: authCookie, Value: "header.payload.signature"}
		to, err := url.Parse(b.get("/vgi/_oauth/logout").Header().Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		want := url.Values{
			"x": {"1"}, "client_id": {clientID}, "post_logout_redirect_uri": {"https://service.test/vgi"},
			"id_token_hint": {"header.payload.signature"},
		}
		if diff := cmp.Diff(want, to.Query()); diff != "" || !strings.HasPrefix(to.String(), p.URL+"/end?") {
			t.Errorf("to %s\n%s", to, diff)
		}
	})
}

func TestATokenGoesToAllowedFrontendsAlone(t *testing.T) {
	const app = "https://app.test"
	p := newIDP(t)
	begin := func(t *testing.T, change func(*Options), returnTo string) (*browser, *url.URL) {
		t.Helper()
		b := newBrowser(t, newSite(t, p, change))
		return b, b.begin("/vgi?" + url.Values{returnParam: {returnTo}}.Encode())
	}
	allow := func(o *Options) { o.FrontendOrigins = []string{app} }
	for _, tt := range []struct {
		name, to string
		change   func(*Options)
		want     string
	}{
		{
			"with the proxy as token endpoint, and no secret", app + "/page?service=x", allow,
			app + "/page?service=x#token=access-of-ann&refresh_token=refresh-of-ann" +
				"&token_endpoint=https%3A%2F%2Fservice.test%2Fvgi%2F_oauth%2Ftoken&client_id=my-client-id",
		},
		{
			"behind a fragment of its own", app + "/#at", allow,
			app + "/#at&token=access-of-ann&refresh_token=refresh-of-ann" +
				"&token_endpoint=https%3A%2F%2Fservice.test%2Fvgi%2F_oauth%2Ftoken&client_id=my-client-id",
		},
		{
			"the secret only where everybody gets it", app,
			func(o *Options) { allow(o); o.PublishSecrets = true },
			app + "#token=access-of-ann&refresh_token=refresh-of-ann&token_endpoint=" + url.QueryEscape(p.URL+"/token") +
				"&client_id=my-client-id&client_secret=my-client-secret",
		},
		{"nobody is allowed by default", app, nil, "/vgi?_vgi_return_to=https%3A%2F%2Fapp.test"},
		{"nor is a page of this machine", "http://localhost:4321/", nil, "/vgi?_vgi_return_to=http%3A%2F%2Flocalhost%3A4321%2F"},
		{"nor another port", app + ":444/", allow, "/vgi?_vgi_return_to=https%3A%2F%2Fapp.test%3A444%2F"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, to := begin(t, tt.change, tt.to)
			w := b.come(b.authorize(to))
			if got := w.Header().Get("Location"); w.Code != http.StatusFound || got != tt.want {
				t.Errorf("status %d to\n%s, want\n%s", w.Code, got, tt.want)
			}
			elsewhere := !strings.HasPrefix(tt.want, "/")
			if _, kept := b.cookies[authCookie]; kept == elsewhere {
				t.Errorf("the token is kept in a cookie: %v", kept)
			}
			if offline := to.Query().Get("access_type") == "offline" && to.Query().Get("prompt") == "consent"; offline != elsewhere {
				t.Errorf("a refresh token is asked for: %v", offline)
			}
		})
	}
	t.Run("who is signed in is sent back at once", func(t *testing.T) {
		for _, tt := range []struct {
			name, to string
			header   http.Header
			want     string
		}{
			{"to an allowed page", app + "/x", nil, app + "/x#token=access-of-ann"},
			{"and to no other", "https://evil.test/x", nil, ""},
			{"not with a token of another kind", app + "/x", http.Header{"Authorization": {"Bearer access-of-ann"}}, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				b := newBrowser(t, newSite(t, p, allow))
				b.cookies[authCookie] = &http.Cookie{Name: authCookie, Value: "access-of-ann"}
				r := b.request("/vgi?" + url.Values{returnParam: {tt.to}}.Encode())
				if tt.header != nil {
					r.Header.Set("Authorization", tt.header.Get("Authorization"))
				}
				if got := b.do(r).Header().Get("Location"); got != tt.want {
					t.Errorf("sent to %q, want %q", got, tt.want)
				}
			})
		}
		t.Run("who is not signs in first", func(t *testing.T) {
			b := newBrowser(t, newSite(t, p, allow))
			b.cookies[authCookie] = &http.Cookie{Name: authCookie, Value: "made-up"}
			if to := b.get("/vgi?" + returnParam + "=" + url.QueryEscape(app)).Header().Get("Location"); !strings.HasPrefix(to, p.URL+"/authorize?") {
				t.Errorf("sent to %q", to)
			}
		})
	})
}

func TestAnOutageIsSaidAndPasses(t *testing.T) {
	p := newIDP(t)
	p.set(func() { p.down = true })
	s := newSite(t, p, nil)
	b := newBrowser(t, s)
	w := b.get("/vgi/describe")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `href="/vgi/describe"`) {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	b.get("/vgi/describe")
	if n := p.count("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("asked %d times within a second", n)
	}
	p.set(func() { p.down = false })
	s.now = s.now.Add(retryUnknown)
	callback := b.authorize(b.begin("/vgi/describe"))

	t.Run("an outage of the token endpoint", func(t *testing.T) {
		p.set(func() { p.down = true })
		if w := b.come(callback); w.Code != http.StatusBadGateway {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		p.set(func() { p.down = false })
		if w := b.come(b.authorize(b.begin("/vgi/describe"))); w.Header().Get("Location") != "/vgi/describe" {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
	t.Run("a callback at a replica that knows nobody yet can be tried again", func(t *testing.T) {
		b := newBrowser(t, s)
		callback := b.authorize(b.begin("/vgi/describe"))
		replica := newSite(t, p, nil)
		b.site = replica
		p.set(func() { p.down = true })
		if w := b.come(callback); w.Code != http.StatusBadGateway || !strings.Contains(w.Body.String(), "code=") {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		p.set(func() { p.down = false })
		replica.now = replica.now.Add(retryUnknown)
		if w := b.come(callback); w.Header().Get("Location") != "/vgi/describe" {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
	t.Run("what is known outlives an outage", func(t *testing.T) {
		b := newBrowser(t, s)
		s.now = s.now.Add(freshFor)
		p.set(func() { p.down = true })
		before := p.count("/.well-known/openid-configuration")
		b.begin("/vgi")
		b.begin("/vgi")
		if n := p.count("/.well-known/openid-configuration") - before; n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestSignInsOutliveARotationOfKeys(t *testing.T) {
	p := newIDP(t)
	older, newer := []byte("the older key, long enough"), []byte("the newer key, long enough")
	with := func(keys ...[]byte) *site { return newSite(t, p, func(o *Options) { o.Keys = keys }) }
	for _, tt := range []struct {
		name       string
		begin, end *site
		want       int
	}{
		{"the same key at another replica", with(older), with(older), http.StatusFound},
		{"a new key in front", with(older), with(newer, older), http.StatusFound},
		{"begun with the new key, ended where it is known", with(newer, older), with(older, newer), http.StatusFound},
		{"a key that is gone", with(older), with(newer), http.StatusBadRequest},
		{"random keys of two processes", with(), with(), http.StatusBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBrowser(t, tt.begin)
			callback := b.authorize(b.begin("/vgi"))
			b.site = tt.end
			if w := b.come(callback); w.Code != tt.want {
				t.Errorf("status %d, want %d: %s", w.Code, tt.want, w.Body)
			}
		})
	}
	t.Run("keys of the authorization server rotate", func(t *testing.T) {
		b := newBrowser(t, with(older))
		for range 2 {
			if w := b.come(b.authorize(b.begin("/vgi"))); w.Code != http.StatusFound {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			delete(b.cookies, authCookie)
			p.rotate(t)
		}
	})
}

func TestWhatIsToldToEverybody(t *testing.T) {
	for _, tt := range []struct {
		name      string
		opts      Options
		doc       string
		challenge string
	}{
		{
			"the least",
			Options{Resource: "https://service.test:443/vgi", Prefix: "/vgi", AuthorizationServers: []string{"https://id.test"}},
			`{"resource":"https://service.test:443/vgi","authorization_servers":["https://id.test"]}`,
			`Bearer resource_metadata="https://service.test/.well-known/oauth-protected-resource/vgi"`,
		},
		{
			"a public client at the root",
			Options{
				Resource: "https://service.test", AuthorizationServers: []string{"https://id.test/", "https://id2.test"}, ClientID: "c.1", UseIDToken: true,
				Scopes: []string{"openid", "x"}, Name: "S", Documentation: "https://d.test", PolicyURI: "https://p.test", TermsURI: "https://t.test",
			},
			`{"resource":"https://service.test","authorization_servers":["https://id.test/","https://id2.test"],"scopes_supported":["openid","x"],` +
				`"resource_name":"S","resource_documentation":"https://d.test","resource_policy_uri":"https://p.test","resource_tos_uri":"https://t.test",` +
				`"client_id":"c.1","use_id_token_as_bearer":true}`,
			`Bearer resource_metadata="https://service.test/.well-known/oauth-protected-resource", client_id="c.1", use_id_token_as_bearer="true"`,
		},
		{
			"a secret is kept, and the proxy named",
			Options{
				Resource: "https://service.test/vgi", Prefix: "/vgi", AuthorizationServers: []string{"https://id.test"},
				ClientID: "c", ClientSecret: "s3cret", DeviceClientID: "d",
			},
			`{"resource":"https://service.test/vgi","authorization_servers":["https://id.test"],"client_id":"c","device_code_client_id":"d",` +
				`"token_endpoint":"https://service.test/vgi/_oauth/token"}`,
			`Bearer resource_metadata="https://service.test/.well-known/oauth-protected-resource/vgi", client_id="c", device_code_client_id="d"`,
		},
		{
			"unless it is to be published",
			Options{
				Resource: "https://service.test/vgi", Prefix: "/vgi", AuthorizationServers: []string{"https://id.test"}, PublishSecrets: true,
				ClientID: "c", ClientSecret: "s3cret", DeviceClientID: "d", DeviceClientSecret: "dev",
			},
			`{"resource":"https://service.test/vgi","authorization_servers":["https://id.test"],"client_id":"c","client_secret":"s3cret",` +
				`"device_code_client_id":"d","device_code_client_secret":"dev","token_endpoint":"https://service.test/vgi/_oauth/token"}`,
			`Bearer resource_metadata="https://service.test/.well-known/oauth-protected-resource/vgi", client_id="c", client_secret="s3cret", ` +
				`device_code_client_id="d", device_code_client_secret="dev"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.challenge, s.Challenge()); diff != "" {
				t.Error(diff)
			}
			for _, path := range []string{wellKnown, wellKnown + tt.opts.Prefix} {
				w := httptest.NewRecorder()
				s.Handler(nil).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
				if diff := cmp.Diff(tt.doc, w.Body.String()); diff != "" {
					t.Errorf("%s: %s", path, diff)
				}
				if got := w.Header().Get("Content-Type") + " " + w.Header().Get("Cache-Control"); got != "application/json public, max-age=60" {
					t.Errorf("%s: %s", path, got)
				}
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	s := newSite(t, newIDP(t), nil)
	public := newSite(t, newIDP(t), func(o *Options) { o.ClientSecret = "" })
	bare := newSite(t, newIDP(t), func(o *Options) { o.ClientID, o.ClientSecret = "", "" })
	for _, tt := range []struct {
		name, method, path string
		site               *site
		owned              bool
		want               int
	}{
		{"the metadata has a head", http.MethodHead, "/.well-known/oauth-protected-resource/vgi", s, true, http.StatusOK},
		{"and nothing else", http.MethodPost, "/.well-known/oauth-protected-resource/vgi", s, true, http.StatusMethodNotAllowed},
		{"a callback is opened", http.MethodPost, "/vgi/_oauth/callback", s, true, http.StatusMethodNotAllowed},
		{"signing out as well", http.MethodHead, "/vgi/_oauth/logout", s, true, http.StatusMethodNotAllowed},
		{"a part of a method is none", "OST", "/vgi/_oauth/token", s, true, http.StatusMethodNotAllowed},
		{"nor is its end", "EAD", "/.well-known/oauth-protected-resource/vgi", s, true, http.StatusMethodNotAllowed},
		{"the proxy is posted to", http.MethodGet, "/vgi/_oauth/token", s, true, http.StatusMethodNotAllowed},
		{"without a secret there is none", http.MethodPost, "/vgi/_oauth/token", public, true, http.StatusNotFound},
		{"nothing else is below", http.MethodGet, "/vgi/_oauth/other", s, true, http.StatusNotFound},
		{"nor without the prefix", http.MethodGet, "/_oauth/callback", s, false, http.StatusNotFound},
		{"an escape leads nowhere", http.MethodGet, "/vgi/_oauth/%63allback", s, true, http.StatusNotFound},
		{"what only begins alike is another's", http.MethodGet, "/vgi/_oauth-evil/callback", s, false, http.StatusNotFound},
		{"without a client nobody signs in", http.MethodGet, "/vgi/_oauth/callback", bare, false, http.StatusNotFound},
		{"but may know where", http.MethodGet, "/.well-known/oauth-protected-resource", bare, true, http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil)
			tt.site.Handler(nil).ServeHTTP(w, r)
			if w.Code != tt.want || tt.site.Owns(r.URL.EscapedPath()) != tt.owned {
				t.Errorf("status %d, owned %v", w.Code, tt.site.Owns(r.URL.EscapedPath()))
			}
		})
	}
}
