package oidctest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/vgirpc/vgirpc-go/internal/oidctest"
)

const redirect = "http://127.0.0.1:1/cb"

func config(p *oidctest.Provider, id oidctest.ClientID) *oauth2.Config {
	return &oauth2.Config{
		ClientID: string(id), ClientSecret: id.Secret(), RedirectURL: redirect, Scopes: []string{"openid", "api"},
		Endpoint: oauth2.Endpoint{AuthURL: p.Issuer + "/auth", TokenURL: p.Issuer + "/token", DeviceAuthURL: p.Issuer + "/device/auth"},
	}
}

// claims of a token, unverified.
func claims(t *testing.T, token string) (header, payload map[string]any) {
	t.Helper()
	for i, part := range strings.SplitN(token, ".", 3)[:2] {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, []*map[string]any{&header, &payload}[i]); err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

func TestEveryGrantIsGivenToWhomeverItIsFor(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{RedirectURIs: []string{redirect}})

	for _, id := range []oidctest.ClientID{oidctest.Web, oidctest.WebPost, oidctest.WebPublic, oidctest.Native, oidctest.NativeSecret} {
		t.Run("authorization code for "+string(id), func(t *testing.T) {
			c := config(p, id)
			if strings.HasPrefix(string(id), "native") {
				c.RedirectURL = "http://127.0.0.1:54321/callback"
			}
			verifier := oauth2.GenerateVerifier()
			to := p.NewPerson(t).Authorize(t, c.AuthCodeURL("some-state", oauth2.S256ChallengeOption(verifier)))
			u, err := url.Parse(to)
			if err != nil {
				t.Fatal(err)
			}
			token, err := c.Exchange(t.Context(), u.Query().Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatalf("%s: %v", to, err)
			}
			if _, payload := claims(t, token.AccessToken); payload["sub"] != "alice" || payload["aud"] != oidctest.DefaultAudience {
				t.Errorf("got claims %v", payload)
			}
			if u.Query().Get("state") != "some-state" || u.Query().Get("iss") != p.Issuer || token.RefreshToken == "" {
				t.Errorf("sent to %s, refresh token %v", to, token.RefreshToken != "")
			}
		})
	}
	for _, id := range []oidctest.ClientID{oidctest.Device, oidctest.DeviceSecret, oidctest.Native} {
		t.Run("device code for "+string(id), func(t *testing.T) {
			c := config(p, id)
			code, err := c.DeviceAuth(t.Context(), oauth2.SetAuthURLParam("client_secret", id.Secret()))
			if err != nil {
				t.Fatal(err)
			}
			if page := p.NewPerson(t).EnterCode(t, code.VerificationURIComplete); !strings.Contains(page, "Sign-in Success") {
				t.Errorf("the last page said %s", page)
			}
			code.Interval = 1
			token, err := c.DeviceAccessToken(t.Context(), code)
			if err != nil {
				t.Fatal(err)
			}
			if token.RefreshToken == "" {
				t.Error("no refresh token")
			}
		})
	}
}

func TestTheProviderChangesOnRequest(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	p.AllowRedirect(t, redirect)
	c := config(p, oidctest.Web)
	verifier := oauth2.GenerateVerifier()
	login := c.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier))
	keyID := func() string {
		t.Helper()
		u, err := url.Parse(p.NewPerson(t).Authorize(t, login))
		if err != nil {
			t.Fatal(err)
		}
		token, err := c.Exchange(t.Context(), u.Query().Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		header, _ := claims(t, token.AccessToken)
		id, _ := header["kid"].(string)
		return id
	}

	before := keyID()
	p.RotateKeys(t, true)
	if after := keyID(); after == before {
		t.Errorf("the key is still %s", after)
	}
	p.Deny(t)
	if to := p.NewPerson(t).Authorize(t, login); !strings.Contains(to, "error=access_denied") {
		t.Errorf("sent to %s", to)
	}
	p.Outage(t, oidctest.Unavailable)
	resp, err := http.Get(p.Issuer + "/jwks")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d", resp.StatusCode)
	}
	p.Outage(t, oidctest.Reset)
	if resp, err := http.Get(p.Issuer + "/jwks"); err == nil {
		_ = resp.Body.Close()
		t.Errorf("status %d", resp.StatusCode)
	}
	p.Recover(t)
	if n := p.Requests(t, "/jwks"); n < 2 { // the transport may try a lost request again
		t.Errorf("%d requests", n)
	}
	p.SignIn(t, "bob")
	if before == keyID() {
		t.Error("the old key is back")
	}
}
