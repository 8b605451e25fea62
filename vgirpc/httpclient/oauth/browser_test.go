package oauth_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
)

// comesBack is a browser that comes back with the parameters that q makes of those
// it was sent away with.
func comesBack(t *testing.T, q func(sent url.Values) url.Values) func(context.Context, string) error {
	t.Helper()
	return func(_ context.Context, to string) error {
		u, err := url.Parse(to)
		if err != nil {
			return err
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			sent := u.Query()
			visit(t, sent.Get("redirect_uri")+"?"+q(sent).Encode())
		}()
		t.Cleanup(func() { <-read })
		return nil
	}
}

func visit(t *testing.T, to string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(to)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode, resp.Header.Get("Content-Security-Policy")
}

func TestABrowserThatComesBackIsChecked(t *testing.T) {
	good := func(sent url.Values) url.Values { return url.Values{"code": {"c0de"}, "state": sent["state"]} }
	with := func(name string, values ...string) func(url.Values) url.Values {
		return func(sent url.Values) url.Values { q := good(sent); q[name] = values; return q }
	}
	for _, tt := range []struct {
		name   string
		server map[string]any
		comes  func(url.Values) url.Values
		id     func(nonce string) map[string]any // claims of the ID token, nil without one
		want   string                            // in the error; "" is none
	}{
		{"with a code", nil, good, nil, ""},
		{"with the issuer", map[string]any{"authorization_response_iss_parameter_supported": true}, with("iss", issuerURL), nil, ""},
		{"from another issuer", nil, with("iss", "https://evil.example"), nil, "another issuer"},
		{"without the issuer that was announced", map[string]any{"authorization_response_iss_parameter_supported": true}, good, nil, "another issuer"},
		{"without a code", nil, with("code"), nil, "without a code"},
		{"with two codes", nil, with("code", "a", "b"), nil, "two values of code"},
		{"with an error", nil, with("error", "access_denied"), nil, "access_denied"},
		{"with an ID token", nil, good, func(n string) map[string]any {
			return map[string]any{"iss": issuerURL, "aud": "web", "nonce": n, "exp": time.Now().Add(time.Hour).Unix()}
		}, ""},
		{"with an ID token of another login", nil, good, func(string) map[string]any {
			return map[string]any{"iss": issuerURL, "aud": "web", "nonce": "other", "exp": time.Now().Add(time.Hour).Unix()}
		}, "another nonce"},
		{"with an ID token of another issuer", nil, good, func(n string) map[string]any {
			return map[string]any{"iss": "https://evil.example", "aud": "web", "nonce": n, "exp": time.Now().Add(time.Hour).Unix()}
		}, "of another issuer"},
		{"with an ID token for another client", nil, good, func(n string) map[string]any {
			return map[string]any{"iss": issuerURL, "aud": []string{"other"}, "nonce": n, "exp": time.Now().Add(time.Hour).Unix()}
		}, "another client"},
		{"with an ID token that has expired", nil, good, func(n string) map[string]any {
			return map[string]any{"iss": issuerURL, "aud": []string{"web"}, "nonce": n, "exp": time.Now().Add(-time.Hour).Unix()}
		}, "has expired"},
		{"to an issuer without S256", map[string]any{"code_challenge_methods_supported": []string{"plain"}}, good, nil, "no PKCE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer()
			maps.Copy(i.server, tt.server)
			var sent url.Values
			i.tokens = append(i.tokens, func(form url.Values) (int, any) {
				body := map[string]any{"access_token": "tok", "token_type": "bearer"}
				if tt.id != nil {
					body["id_token"] = idToken(tt.id(sent.Get("nonce")))
				}
				if form.Get("code") != "c0de" || oauth2.S256ChallengeFromVerifier(form.Get("code_verifier")) != sent.Get("code_challenge") ||
					form.Get("redirect_uri") != sent.Get("redirect_uri") {
					return 400, map[string]any{"error": "invalid_grant"}
				}
				return 200, body
			})
			c := newClient(t, i, oauth.Options{OpenBrowser: comesBack(t, func(q url.Values) url.Values { sent = q; return tt.comes(q) })})
			err := c.Login(t.Context())
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
			if got, _ := c.Token(t.Context()); (got == "tok") != (tt.want == "") {
				t.Errorf("got the token %q", got)
			}
			noSecrets(t, errText(err), "c0de")
		})
	}
}

func TestPagesThatAreNotAskedForChangeNothing(t *testing.T) {
	i := newIssuer()
	i.tokens = append(i.tokens, gives("tok"))
	c := newClient(t, i, oauth.Options{
		Params: url.Values{"prompt": {"login"}}, Scopes: []string{"a", "b"},
		OpenBrowser: func(_ context.Context, to string) error {
			u, err := url.Parse(to)
			if err != nil {
				return err
			}
			q := u.Query()
			redirect, err := url.Parse(q.Get("redirect_uri"))
			if err != nil {
				return err
			}
			if redirect.Hostname() != "127.0.0.1" || redirect.Path != "/callback" || q.Get("prompt") != "login" || q.Get("scope") != "a b" ||
				q.Get("code_challenge_method") != "S256" || len(q.Get("state")) < 40 || len(q.Get("nonce")) < 40 || q.Get("state") == q.Get("nonce") {
				t.Errorf("sent to %s", to)
			}
			var got []int
			for _, page := range []string{
				"?code=evil", "?code=evil&state=guess", "?error=access_denied", "/other?code=evil&state=" + q.Get("state"),
				"?code=c0de&state=" + q.Get("state"), "?code=c0de&state=" + q.Get("state"),
			} {
				status, policy := visit(t, redirect.String()+page)
				if policy != "default-src 'none'" {
					t.Errorf("%s has the policy %q", page, policy)
				}
				got = append(got, status)
			}
			if diff := cmp.Diff([]int{400, 400, 400, 404, 200, 400}, got); diff != "" {
				t.Error(diff)
			}
			req, err := http.NewRequest(http.MethodGet, redirect.String()+"?code=evil&state="+q.Get("state"), http.NoBody)
			if err != nil {
				return err
			}
			req.Host = "rebound.example" // a name that was made to lead here
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			if resp.StatusCode != http.StatusNotFound {
				t.Errorf("status %d for another host", resp.StatusCode)
			}
			return resp.Body.Close()
		},
	})
	if err := c.Login(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestALoginWithoutABrowserGoesOnWithACode(t *testing.T) {
	i := newIssuer()
	i.device["interval"] = 1
	i.tokens = append(i.tokens, gives("tok"))
	var code oauth.DeviceCode
	none := func(context.Context, string) error { return errors.New("no display") }
	if err := newClient(t, i, oauth.Options{OpenBrowser: none, ShowCode: shown(&code)}).Login(t.Context()); err != nil || code.UserCode == "" {
		t.Errorf("got %v, shown %+v", err, code)
	}
	err := newClient(t, i, oauth.Options{Flow: oauth.Browser, OpenBrowser: none, ShowCode: shown(&code)}).Login(t.Context())
	if vgirpc.CodeOf(err) != vgirpc.FailedPrecondition || !strings.Contains(err.Error(), "no display") {
		t.Errorf("got %v where only a browser will do", err)
	}
}
