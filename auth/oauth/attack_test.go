package oauth

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// attempt is a sign-in that is about to come back, and what an attacker does
// with it.
type attempt struct {
	t        *testing.T
	p        *idp
	site     *site
	victim   *browser
	callback *url.URL
}

// edit changes the query of the callback.
func (a *attempt) edit(change func(q url.Values)) {
	q := a.callback.Query()
	change(q)
	a.callback.RawQuery = q.Encode()
}

func (a *attempt) setCookie(name, value string) {
	a.victim.cookies[name] = &http.Cookie{Name: name, Value: value}
}

// attacker is another browser, which has begun a sign-in of its own at the same
// service and got its answer.
func (a *attempt) attacker() (*browser, *url.URL) {
	b := newBrowser(a.t, a.site)
	return b, b.authorize(b.begin("/vgi"))
}

func TestACallbackIsRefused(t *testing.T) {
	other := newIDP(t)
	for _, tt := range []struct {
		name   string
		attack func(a *attempt)
		status int
		said   string // on the page
	}{
		{"without anything", func(a *attempt) { a.callback.RawQuery = ""; a.victim.cookies = nil }, 400, "Missing authorization code or state"},
		{"without a code", func(a *attempt) { a.edit(func(q url.Values) { q.Del("code") }) }, 400, "Missing authorization code or state"},
		{"without a state", func(a *attempt) { a.edit(func(q url.Values) { q.Del("state") }) }, 400, "Missing authorization code or state"},
		{"with an empty state", func(a *attempt) { a.edit(func(q url.Values) { q.Set("state", "") }) }, 400, "Missing authorization code or state"},
		{"with another state (CSRF)", func(a *attempt) { a.edit(func(q url.Values) { q.Set("state", random()) }) }, 400, "State mismatch"},
		{"with a beginning of the state", func(a *attempt) { a.edit(func(q url.Values) { q.Set("state", q.Get("state")[:42]) }) }, 400, "State mismatch"},
		{"with two codes", func(a *attempt) { a.edit(func(q url.Values) { q.Add("code", "x") }) }, 400, "malformed"},
		{"with two states", func(a *attempt) { a.edit(func(q url.Values) { q.Add("state", "x") }) }, 400, "malformed"},
		{"with two issuers", func(a *attempt) { a.edit(func(q url.Values) { q.Add("iss", a.p.URL) }) }, 400, "malformed"},
		{"with a query that is none", func(a *attempt) { a.callback.RawQuery += "&x=%zz" }, 400, "malformed"},
		{"with a query without an end", func(a *attempt) { a.callback.RawQuery += "&x=" + strings.Repeat("a", maxQuery) }, 400, "malformed"},

		{
			"of the attacker's sign-in, in a browser that began none (login CSRF)",
			func(a *attempt) { a.victim.cookies = nil; _, a.callback = a.attacker() },
			400, "Session cookie missing",
		},
		{
			"of the attacker's sign-in, in a browser that began one",
			func(a *attempt) { _, a.callback = a.attacker() },
			400, "State mismatch",
		},
		{
			"of the attacker's sign-in, with the attacker's session planted from another host of the domain (fixation)",
			func(a *attempt) {
				b, callback := a.attacker()
				a.setCookie(sessionCookie, b.cookies[sessionCookie].Value)
				a.callback = callback
			},
			400, "another browser",
		},
		{
			"likewise in a browser that began none",
			func(a *attempt) {
				b, callback := a.attacker()
				a.victim.cookies = map[string]*http.Cookie{}
				a.setCookie(sessionCookie, b.cookies[sessionCookie].Value)
				a.callback = callback
			},
			400, "another browser",
		},
		{"in another browser", func(a *attempt) { delete(a.victim.cookies, bindCookie) }, 400, "another browser"},
		{
			"with two sessions, of which one was planted",
			func(a *attempt) {
				b, _ := a.attacker()
				a.victim.cookies["planted"] = &http.Cookie{Name: sessionCookie, Value: b.cookies[sessionCookie].Value}
			},
			400, "Session cookie missing",
		},
		{"too late", func(a *attempt) { a.site.now = a.site.now.Add(signInTime) }, 400, "expired or invalid"},
		{"with a session that was cut", func(a *attempt) {
			v := a.victim.cookies[sessionCookie].Value
			a.setCookie(sessionCookie, v[:len(v)-4])
		}, 400, "expired or invalid"},
		{"with a session that was changed", func(a *attempt) {
			raw, err := rawURL.DecodeString(a.victim.cookies[sessionCookie].Value)
			if err != nil {
				a.t.Fatal(err)
			}
			raw[len(raw)/2] ^= 1
			a.setCookie(sessionCookie, rawURL.EncodeToString(raw))
		}, 400, "expired or invalid"},
		{"with a session that is too long", func(a *attempt) { a.setCookie(sessionCookie, strings.Repeat("A", maxSealed+1)) }, 400, "expired or invalid"},
		{"with a session that is no base64", func(a *attempt) { a.setCookie(sessionCookie, "a.b") }, 400, "expired or invalid"},
		{"with what was sealed for something else", func(a *attempt) {
			sealed, err := a.site.sealer.seal("other", flow{State: a.callback.Query().Get("state")}, time.Hour)
			if err != nil {
				a.t.Fatal(err)
			}
			a.setCookie(sessionCookie, sealed)
		}, 400, "expired or invalid"},
		{"with a session of another service of the same keys", func(a *attempt) {
			b := newBrowser(a.t, newSite(a.t, a.p, func(o *Options) { o.Prefix = "/other" }))
			b.begin("/other/describe")
			a.setCookie(sessionCookie, b.cookies[sessionCookie].Value)
		}, 400, "expired or invalid"},

		{"of another issuer (mix-up)", func(a *attempt) { a.edit(func(q url.Values) { q.Set("iss", other.URL) }) }, 400, "does not come from"},
		{"without the issuer that is always named", func(a *attempt) { a.edit(func(q url.Values) { q.Del("iss") }) }, 400, "does not come from"},
		{"for the second time", func(a *attempt) {
			kept := maps.Clone(a.victim.cookies)
			if w := a.victim.come(a.callback); w.Code != http.StatusFound {
				a.t.Fatalf("the first time: status %d", w.Code)
			}
			a.victim.cookies = kept
		}, 400, "finished already"},
		{"with a code of another sign-in (injection)", func(a *attempt) {
			_, stolen := a.attacker()
			a.edit(func(q url.Values) { q.Set("code", stolen.Query().Get("code")) })
		}, 502, "Token exchange"},
		{"with a code that nobody issued", func(a *attempt) { a.edit(func(q url.Values) { q.Set("code", "x\r\nSet-Cookie: a=b") }) }, 502, "Token exchange"},

		{"of an authorization server that refuses", func(a *attempt) {
			a.edit(func(q url.Values) {
				q.Del("code")
				q.Set("error", "access_denied")
				q.Set("error_description", "<b>no</b>")
			})
		}, 400, "access_denied: &lt;b&gt;no&lt;/b&gt;"},
		{"and of anybody who says so", func(a *attempt) {
			a.callback.RawQuery = "error=call+0800+12345&error_description=now"
			a.victim.cookies = nil
		}, 400, "The authorization server returned an error."},
		{"by the service's own authenticator", func(a *attempt) { a.site.accept = accept("another") }, 403, "does not let you in"},
		{"when that cannot be asked", func(a *attempt) {
			a.site.accept = auth.Func(func(*http.Request) (vgirpc.Identity, error) { return vgirpc.Identity{}, &auth.Unavailable{} })
		}, 503, "cannot be checked"},
		{"when that fails", func(a *attempt) {
			a.site.accept = auth.Func(func(*http.Request) (vgirpc.Identity, error) { return vgirpc.Identity{}, http.ErrAbortHandler })
		}, 500, "failed on the server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			p := newIDP(t)
			s := newSite(t, p, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			a := &attempt{t, p, s, newBrowser(t, s), nil}
			a.callback = a.victim.authorize(a.victim.begin("/vgi/describe"))
			code, state := a.callback.Query().Get("code"), a.callback.Query().Get("state")
			tt.attack(a)
			if a.victim.cookies == nil {
				a.victim.cookies = map[string]*http.Cookie{}
			}
			w := a.victim.come(a.callback)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.said) {
				t.Errorf("status %d, want %d, and %q on\n%s", w.Code, tt.status, tt.said, w.Body)
			}
			for _, c := range w.Result().Cookies() {
				if c.MaxAge > 0 {
					t.Errorf("the cookie %s was set", c.Name)
				}
			}
			if h := w.Header(); h.Get("Location") != "" || h.Get("Cache-Control") != "no-store" ||
				!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("headers %v", h)
			}
			for _, secret := range []string{code, state, "0800", clientSecret, "access-of-ann", "ann@example.test"} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("%q was logged:\n%s", secret, log.String())
				}
			}
			if strings.Contains(w.Body.String(), "0800") {
				t.Error("a page says what anybody tells it")
			}
		})
	}
}

func TestAnAnswerThatIsNotForThisServiceIsRefused(t *testing.T) {
	without := func(name string) func(map[string]any) { return func(a map[string]any) { delete(a, name) } }
	claim := func(name string, value any) func(p *idp, s *site) {
		return func(p *idp, _ *site) { p.claims = func(c jwt.MapClaims) { c[name] = value } }
	}
	answer := func(change func(map[string]any)) func(p *idp, s *site) {
		return func(p *idp, _ *site) { p.answer = change }
	}
	for _, tt := range []struct {
		name   string
		id     bool // the id_token is the bearer
		change func(p *idp, s *site)
		why    string // in the log
	}{
		{"an id_token with another nonce", false, claim("nonce", "x"), "the nonce is another"},
		{"without a nonce", false, claim("nonce", ""), "the nonce is another"},
		{"of another issuer", false, claim("iss", "https://evil.test"), "its signature, issuer or audience"},
		{"for another client", false, claim("aud", "another"), "its signature, issuer or audience"},
		{"for several clients, and none of them party", false, claim("aud", []string{clientID, "another"}), "the authorized party is another"},
		{"with another authorized party", false, claim("azp", "another"), "the authorized party is another"},
		{"with an authorized party that is no text", false, claim("azp", 7), "a claim has the wrong type"},
		{"that is over", false, claim("exp", time.Now().Add(-time.Minute).Unix()), "it is expired"},
		{"for another access token", false, claim("at_hash", rawURL.EncodeToString(make([]byte, 16))), "the access token is another"},
		{"signed with nothing", false, func(p *idp, _ *site) {
			p.signer = func(c jwt.MapClaims) (string, error) {
				return jwt.NewWithClaims(jwt.SigningMethodNone, c).SignedString(jwt.UnsafeAllowNoneSignatureType)
			}
		}, "its signature, issuer or audience"},
		{"signed with the secret (algorithm confusion)", false, func(p *idp, _ *site) {
			p.signer = func(c jwt.MapClaims) (string, error) {
				return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(clientSecret))
			}
		}, "its signature, issuer or audience"},
		{"signed with another key", false, func(p *idp, _ *site) {
			stranger := newIDP(t)
			p.signer = func(c jwt.MapClaims) (string, error) { stranger.kid = p.kid; return stranger.sign(c) }
		}, "its signature, issuer or audience"},
		{"that is no token", false, answer(func(a map[string]any) { a["id_token"] = "x" }), "its signature, issuer or audience"},
		{"from a server without keys", false, func(p *idp, _ *site) { p.extra = map[string]any{"jwks_uri": nil} }, "publishes no keys"},
		{"no id_token where it is the bearer", true, answer(without("id_token")), "there is no id_token"},
		{"no access token", false, answer(without("access_token")), "did not answer, or with something else"},
		{"a token that breaks the header", false, answer(func(a map[string]any) { a["access_token"] = "a\r\nSet-Cookie: x=y" }), "no bearer token"},
		{"a token that breaks the cookie", false, answer(func(a map[string]any) { a["access_token"] = "a; Domain=evil.test" }), "no bearer token"},
		{"a token of another kind", false, answer(func(a map[string]any) { a["token_type"] = "DPoP" }), "no bearer token"},
		{"a token that no browser keeps", false, func(p *idp, s *site) {
			long := strings.Repeat("a", maxTokenSize+1)
			s.accept = accept(long)
			p.answer = func(a map[string]any) { a["access_token"] = long }
		}, "too long for a cookie"},
		{"an answer without an end", false, func(p *idp, _ *site) {
			p.raw = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte(" "), maxBody+1)) }
		}, "did not answer, or with something else"},
		{"a redirect", false, func(p *idp, _ *site) {
			p.raw = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			}
		}, "the token endpoint refused"},
		{"an error that wants to be in the log", false, func(p *idp, _ *site) {
			p.raw = func(w http.ResponseWriter, _ *http.Request) {
				writeJSON(w, http.StatusBadRequest, map[string]any{"error": "a secret\nlevel=INFO"})
			}
		}, `"the token endpoint refused"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			p := newIDP(t)
			s := newSite(t, p, func(o *Options) { o.UseIDToken, o.Logger = tt.id, slog.New(slog.NewTextHandler(&log, nil)) })
			p.set(func() { tt.change(p, s) })
			b := newBrowser(t, s)
			w := b.come(b.authorize(b.begin("/vgi")))
			if w.Code != http.StatusBadGateway {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			if !strings.Contains(log.String(), tt.why) {
				t.Errorf("want %q in the log:\n%s", tt.why, log.String())
			}
			if _, set := b.cookies[authCookie]; set || p.count("/elsewhere") != 0 {
				t.Errorf("signed in: %v", set)
			}
		})
	}
	for _, tt := range []struct {
		name   string
		change func(p *idp)
		shown  map[string]any
	}{
		{"a sign-in without OpenID Connect is one without a name", func(p *idp) { p.answer = without("id_token") }, nil},
		{"who is party to a token for several is let in", func(p *idp) {
			p.claims = func(c jwt.MapClaims) { c["aud"], c["azp"] = []string{clientID, "another"}, clientID }
		}, map[string]any{"sub": "ann", "email": "ann@example.test"}},
		{"only what a page shows is in the cookie, and only text", func(p *idp) {
			p.claims = func(c jwt.MapClaims) { c["name"], c["picture"], c["groups"] = "Ann Ä", 7, []string{"x"} }
		}, map[string]any{"sub": "ann", "email": "ann@example.test", "name": "Ann Ä"}},
		{"what is too long to show is left out", func(p *idp) {
			p.claims = func(c jwt.MapClaims) { c["picture"] = "https://p.test/" + strings.Repeat("a", 4000) }
		}, map[string]any{"sub": "ann", "email": "ann@example.test"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			p.set(func() { tt.change(p) })
			b := newBrowser(t, newSite(t, p, nil))
			if w := b.come(b.authorize(b.begin("/vgi"))); w.Code != http.StatusFound {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			got := shownIdentity(t, b)
			if len(got) != len(tt.shown) {
				t.Errorf("shown: %v", got)
			}
			for name, want := range tt.shown {
				if got[name] != want {
					t.Errorf("%s is %v, want %v", name, got[name], want)
				}
			}
		})
	}
}

func TestNoRedirectLeavesTheService(t *testing.T) {
	for _, tt := range []struct {
		target, prefix string
		ok             bool
	}{
		{"/vgi", "/vgi", true},
		{"/vgi/", "/vgi", true},
		{"/vgi/describe", "/vgi", true},
		{"/vgi/describe?a=%2F%2Fevil.test&b=//evil.test", "/vgi", true},
		{"/vgi?x", "/vgi", true},
		{"/", "", true},
		{"/anything", "", true},

		{"", "/vgi", false},
		{"", "", false},
		{"?x", "", false},
		{"//evil.test", "", false},
		{"//", "", false},
		{"///evil.test", "", false},
		{"//evil.test/vgi", "/vgi", false},
		{"/vgi//evil.test", "/vgi", false},
		{"https://evil.test/vgi", "/vgi", false},
		{"https:/vgi", "", false},
		{"javascript:alert(1)", "", false},
		{`/\evil.test`, "", false},
		{`\\evil.test`, "", false},
		{`/vgi\..\..\evil`, "/vgi", false},
		{"/\t/evil.test", "", false},
		{"/\n/evil.test", "", false},
		{"/vgi\r\nSet-Cookie: a=b", "/vgi", false},
		{"/vgi\x00", "/vgi", false},
		{"/%2f/evil.test", "", false},
		{"/%5cevil.test", "", false},
		{"/%09/evil.test", "", false},
		{"/vgi/%2e%2e/%2e%2e/other", "/vgi", false},
		{"/vgi/../other", "/vgi", false},
		{"/vgi/..", "/vgi", false},
		{"/vgi/./describe", "/vgi", false},
		{"/vgix", "/vgi", false},
		{"/other/vgi", "/vgi", false},
		{"/vgi@evil.test", "/vgi", false},
		{"/vgi#x", "/vgi", false},
		{"/vgi/_oauth/logout", "/vgi", false},
		{"/_oauth", "", false},
		{"/vgi?" + strings.Repeat("a", maxAddress), "/vgi", false},
		{"/ümlaut", "", false},
	} {
		t.Run(tt.target, func(t *testing.T) {
			got, err := returnPath(tt.target, tt.prefix)
			if (err == nil) != tt.ok || (tt.ok && got != tt.target) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	t.Run("what a browser asks for cannot make it leave", func(t *testing.T) {
		p := newIDP(t)
		for _, target := range []string{
			"//evil.test/vgi", "/vgi//evil.test", "/vgi/%2e%2e//evil.test", "/vgi/%5c%5cevil.test", "/vgi/..;/x%0d%0aSet-Cookie:a=b",
			"/other", "/vgi/describe?" + strings.Repeat("a", maxAddress),
		} {
			s := newSite(t, p, nil)
			b := newBrowser(t, s)
			r := b.request("/vgi")
			r.URL = &url.URL{Path: target, RawPath: target}
			if path, query, found := strings.Cut(target, "?"); found {
				r.URL = &url.URL{Path: path, RawQuery: query}
			} else if decoded, err := url.PathUnescape(target); err == nil {
				r.URL.Path = decoded
			}
			w := b.do(r)
			to, err := url.Parse(w.Header().Get("Location"))
			if err != nil || w.Code != http.StatusFound {
				t.Fatalf("%s: status %d", target, w.Code)
			}
			if got := b.come(b.authorize(to)).Header().Get("Location"); got != "/vgi" {
				t.Errorf("%s: sent to %q", target, got)
			}
		}
	})
}

func TestTokensGoToAllowedOriginsAlone(t *testing.T) {
	allowed := map[string]bool{"https://app.test": true, "https://app.test:8443": true, "http://localhost:4321": true, "https://[2001:db8::1]": true}
	for _, tt := range []struct {
		url string
		ok  bool
	}{
		{"https://app.test", true},
		{"https://app.test/a/b?c=d#e", true},
		{"https://APP.test/", true},
		{"https://app.test:443/", true},
		{"https://app.test:8443/", true},
		{"http://localhost:4321/x", true},
		{"https://[2001:db8::1]/x", true},
		{"https://app.test/#", true},
		{"https://app.test/#/reports/7", true},
		{"https://app.test/#!/reports?open", true},

		{"", false},
		{"http://app.test/", false},
		{"https://app.test:444/", false},
		{"https://app.test./", false},
		{"https://app.test.evil.test/", false},
		{"https://evil.test/?https://app.test", false},
		{"https://evil.test#https://app.test", false},
		{"https://app.test@evil.test/", false},
		{"https://evil.test@app.test/", false},
		{"https://user:pass@app.test/", false},
		{`https://app.test\@evil.test/`, false},
		{`https://evil.test\.app.test/`, false},
		{`https:\\app.test`, false},
		{"https:app.test", false},
		{"https:/app.test", false},
		{"https:///app.test", false},
		{"//app.test/", false},
		{"https://app.test%2eevil.test/", false},
		{"https://app.test%00.evil.test/", false},
		{"https://app.test\t.evil.test/", false},
		{"https://app.test/\r\nSet-Cookie: a=b", false},
		{" https://app.test/", false},
		{"javascript://app.test/%0aalert(1)", false},
		{"data:text/html,x", false},
		{"http://localhost:4322/", false},
		{"http://127.0.0.1:4321/", false},
		{"https://app.test/" + strings.Repeat("a", maxAddress), false},
		{"https://äpp.test/", false},
	} {
		t.Run(tt.url, func(t *testing.T) {
			if got := returnURL(tt.url, allowed); (got != "") != tt.ok || (tt.ok && got != tt.url) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestNoParameterOfAHandOverCanBeThereBefore(t *testing.T) {
	const app = "https://app.test/"
	s := newSite(t, newIDP(t), func(o *Options) {
		o.FrontendOrigins, o.UseIDToken, o.PublishSecrets = []string{app[:len(app)-1]}, true, true
	})
	to := s.handOver(&provider{tokenURL: "https://id.test/token"}, &flow{ReturnTo: app}, &tokens{bearer: "b", refresh: "r"})
	_, fragment, _ := strings.Cut(to, "#")
	given, err := url.ParseQuery(fragment)
	if err != nil || len(given) != 6 {
		t.Fatalf("%q: %v", to, err)
	}
	for name := range given {
		if got := returnURL(app+"#"+name, s.frontends); got != app {
			t.Errorf("got %q", got)
		}
	}
}

// The frontend takes the first parameter of a name: none may be there before ours.
func TestARouteThatCouldBeParametersIsLeftOut(t *testing.T) {
	const app = "https://app.test/page?q=1"
	for _, route := range []string{
		"token=evil", "/x&token_endpoint=https://evil.test", "token", "use_id_token&", "a;token", "token%3Devil", "a%26token", "/report?id=5",
	} {
		if got := returnURL(app+"#"+route, map[string]bool{"https://app.test": true}); got != app {
			t.Errorf("%q: got %q", route, got)
		}
	}
}

func TestALongAddressDoesNotBreakASignIn(t *testing.T) {
	p := newIDP(t)
	const app = "https://app.test/"
	s := newSite(t, p, func(o *Options) { o.FrontendOrigins = []string{"https://app.test"} })
	b := newBrowser(t, s)
	to := app + strings.Repeat("a", maxAddress-len(app))
	callback := b.authorize(b.begin("/vgi?" + returnParam + "=" + to))
	if n := len(b.cookies[sessionCookie].Value); n > maxSealed {
		t.Errorf("the cookie has %d bytes", n)
	}
	if w := b.come(callback); !strings.HasPrefix(w.Header().Get("Location"), to+"#token=") {
		t.Errorf("status %d to %q", w.Code, w.Header().Get("Location"))
	}
}

func FuzzOpen(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	s, err := newSealer([][]byte{[]byte("a key of the test, long enough")}, "domain", func() time.Time { return now })
	if err != nil {
		f.Fatal(err)
	}
	// Every version opens what this one sealed.
	const good = "AZavzqEoUb0JlMF-cqAzPK-zvp_6FKOMPYjoQiQLlLUk_2CYriZCkOQRB5a9F3iZD2NhXdeRZJKLqBbhpdLkILEXAQg0FYs41KOs2y3xwvYmUTmmJ1jC"
	var known flow
	if err := s.open(flowPurpose, good, &known); err != nil || known.State != "state" || known.Path != "/vgi" {
		f.Fatalf("%+v, %v", known, err)
	}
	f.Add(good)
	f.Add(good + "=")
	f.Add(strings.ToUpper(good))
	f.Add(good[:60])
	f.Add("")
	f.Add("AQ")
	f.Add(base64.StdEncoding.EncodeToString(make([]byte, 64)))
	f.Fuzz(func(t *testing.T, sealed string) {
		var got flow
		if err := s.open(flowPurpose, sealed, &got); err == nil && sealed != good {
			t.Errorf("%q opens: %+v", sealed, got)
		}
	})
}

func FuzzCallback(f *testing.F) {
	f.Add("code=a&state=b&iss=c")
	f.Add("code=a&code=b")
	f.Add("error=x&error_description=%3Cb%3E")
	f.Add("code=%zz")
	f.Add("a;b&state")
	p := &Server{}
	f.Fuzz(func(t *testing.T, query string) {
		a, err := parseAnswer(query)
		if err != nil {
			if a != (answer{}) {
				t.Errorf("a malformed answer says %+v", a)
			}
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil || len(query) > maxQuery || len(values["code"]) > 1 || values.Get("code") != a.code || values.Get("state") != a.state {
			t.Errorf("%q is read as %+v: %v", query, a, err)
		}
		if got := shown(a); len(got) > 300 || strings.ToValidUTF8(got, "") != got {
			t.Errorf("shown: %q", got)
		}
		if path, err := returnPath(query, p.opts.Prefix); err == nil {
			// Wherever a browser takes it for, it is this origin.
			base, _ := url.Parse("https://service.test/")
			to, err := base.Parse(path)
			if err != nil || to.Host != "service.test" || to.Scheme != "https" || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
				t.Errorf("%q leads to %v: %v", path, to, err)
			}
		}
		if to := returnURL(query, map[string]bool{"https://app.test": true}); to != "" &&
			!strings.HasPrefix(strings.ToLower(to), "https://app.test") {
			t.Errorf("a token goes to %q", to)
		}
	})
}
