package oauth_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/jwt"
	"github.com/vgirpc/vgirpc-go/internal/oidctest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
)

// A resource is a server that takes the tokens of a real provider, as auth/jwt
// judges them.
type resource struct {
	url      string
	metadata map[string]any

	mu       sync.Mutex
	verify   *jwt.Authenticator
	statuses []int
}

func newVerifier(t *testing.T, p *oidctest.Provider) *jwt.Authenticator {
	t.Helper()
	verify, err := jwt.New(t.Context(), jwt.Options{
		Issuers: []jwt.Issuer{{Name: p.Issuer}}, Audiences: []string{oidctest.DefaultAudience}, AllowHTTP: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verify.Close)
	return verify
}

func newResource(t *testing.T, p *oidctest.Provider, changes map[string]any) *resource {
	t.Helper()
	r := &resource{verify: newVerifier(t, p)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-protected-resource/vgi", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(r.metadata)
	})
	mux.HandleFunc("POST /vgi/call", func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		verify := r.verify
		r.mu.Unlock()
		caller, err := verify.Authenticate(req)
		status := http.StatusOK
		if err != nil {
			status = http.StatusUnauthorized
			w.Header().Set("WWW-Authenticate", `Basic realm="old", Bearer resource_metadata="`+r.url[:len(r.url)-len("/vgi")]+`/.well-known/oauth-protected-resource/vgi"`)
			w.Header().Set("Vgi-Auth-Reason", "invalid_credential")
		}
		r.mu.Lock()
		r.statuses = append(r.statuses, status)
		r.mu.Unlock()
		w.WriteHeader(status)
		if err == nil {
			body, _ := io.ReadAll(req.Body)
			_, _ = io.WriteString(w, caller.Principal+": "+string(body))
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	r.url = server.URL + "/vgi"
	r.metadata = map[string]any{
		"resource": r.url, "authorization_servers": []string{p.Issuer},
		"client_id": oidctest.Native, "scopes_supported": []string{"openid", "email", "offline_access", "api"},
	}
	maps.Copy(r.metadata, changes)
	return r
}

func (r *resource) client(t *testing.T, opts oauth.Options) *oauth.Client {
	t.Helper()
	c, err := oauth.New(r.url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// says is what the server answers to a call.
func (r *resource) says(t *testing.T, c *oauth.Client) (string, error) {
	t.Helper()
	wrap, err := oauth.Authorize(r.url, c)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/call", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := wrap(http.DefaultTransport).RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		return http.StatusText(resp.StatusCode), nil
	}
	return string(body), err
}

func (r *resource) wantSays(t *testing.T, c *oauth.Client, want string) {
	t.Helper()
	if got, err := r.says(t, c); err != nil || got != want {
		t.Errorf("the server says %q, want %q: %v", got, want, err)
	}
}

// enters is a person who enters each code that is shown.
func enters(t *testing.T, p *oidctest.Provider) func(context.Context, oauth.DeviceCode) error {
	t.Helper()
	return func(_ context.Context, code oauth.DeviceCode) error {
		p.NewPerson(t).EnterCode(t, code.URLComplete)
		return nil
	}
}

// browses is a person with a browser.
func browses(t *testing.T, p *oidctest.Provider) func(context.Context, string) error {
	t.Helper()
	return func(_ context.Context, to string) error {
		person := p.NewPerson(t)
		read := make(chan struct{})
		go func() { defer close(read); person.Visit(t, to) }()
		// A login that fails is over before the person has read the page.
		t.Cleanup(func() { <-read })
		return nil
	}
}

func TestARealProviderSignsIn(t *testing.T) {
	t.Parallel()
	p := oidctest.Start(t, oidctest.Options{})
	for _, tt := range []struct {
		name     string
		metadata map[string]any
		opts     func(t *testing.T) oauth.Options
		want     string
	}{
		{"with a device code", nil, func(t *testing.T) oauth.Options { return oauth.Options{ShowCode: enters(t, p)} }, "alice: hello"},
		{
			"with a device code of another client, which has a secret",
			map[string]any{"client_id": nil, "device_code_client_id": oidctest.DeviceSecret, "device_code_client_secret": oidctest.DeviceSecret.Secret()},
			func(t *testing.T) oauth.Options { return oauth.Options{ShowCode: enters(t, p)} }, "alice: hello",
		},
		{"with a browser", nil, func(t *testing.T) oauth.Options { return oauth.Options{OpenBrowser: browses(t, p)} }, "alice: hello"},
		{
			"with a browser as a client with a secret",
			map[string]any{"client_id": oidctest.NativeSecret, "client_secret": oidctest.NativeSecret.Secret()},
			func(t *testing.T) oauth.Options { return oauth.Options{OpenBrowser: browses(t, p)} }, "alice: hello",
		},
		{"as a program, with the secret in a header", nil, func(*testing.T) oauth.Options {
			return oauth.Options{Flow: oauth.ClientCredentials, ClientID: string(oidctest.Service), ClientSecret: oidctest.Service.Secret(), Scopes: []string{"api"}}
		}, "service: hello"},
		{"as a program, with the secret in the form", nil, func(*testing.T) oauth.Options {
			return oauth.Options{Flow: oauth.ClientCredentials, ClientID: string(oidctest.ServicePost), ClientSecret: oidctest.ServicePost.Secret(), Scopes: []string{"api"}}
		}, "service-post: hello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // a device code takes five seconds
			r := newResource(t, p, tt.metadata)
			c := r.client(t, tt.opts(t))
			r.wantSays(t, c, tt.want)
			r.wantSays(t, c, tt.want)
			if diff := cmp.Diff([]int{401, 200, 200}, r.statuses); diff != "" {
				t.Error(diff)
			}
			if who, ok := c.Identity(); ok && who.Email != "alice@example.test" {
				t.Errorf("got %+v", who)
			}
		})
	}
}

func TestARealProviderIsDenied(t *testing.T) {
	t.Parallel()
	p := oidctest.Start(t, oidctest.Options{})
	p.Deny(t)
	r := newResource(t, p, nil)
	for name, opts := range map[string]oauth.Options{
		"in a browser":       {OpenBrowser: browses(t, p)},
		"with a device code": {ShowCode: enters(t, p)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a device code takes five seconds
			if _, err := r.says(t, r.client(t, opts)); vgirpc.CodeOf(err) != vgirpc.PermissionDenied {
				t.Errorf("got %v", err)
			}
		})
	}
}

// old makes what is stored for a server as old as if it had expired.
func old(t *testing.T, s oauth.Store, r *resource) (refreshToken string) {
	t.Helper()
	key := oauth.Key{Resource: r.url}
	stored, err := s.Load(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	stored.Expiry, stored.Obtained = time.Now().Add(-time.Second), time.Now().Add(-time.Minute)
	if err := s.Save(t.Context(), key, stored); err != nil {
		t.Fatal(err)
	}
	return stored.RefreshToken
}

func TestALoginAtARealProviderLivesOn(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{RotateRefreshTokens: true})
	r := newResource(t, p, nil)
	store := newFileStore(t, t.TempDir()+"/logins")
	c := r.client(t, oauth.Options{Store: store, OpenBrowser: browses(t, p)})
	if err := c.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	silent := func() *oauth.Client { return r.client(t, oauth.Options{Store: store}) }

	t.Run("in another process", func(t *testing.T) { r.wantSays(t, silent(), "alice: hello") })
	t.Run("through a refresh, which replaces the refresh token", func(t *testing.T) {
		before := old(t, store, r)
		asked := p.Requests(t, "/token")
		r.wantSays(t, silent(), "alice: hello")
		if after := old(t, store, r); after == before || p.Requests(t, "/token") != asked+1 {
			t.Errorf("the refresh token is the same: %v", after == before)
		}
		r.wantSays(t, silent(), "alice: hello")
	})
	t.Run("through a change of the provider's keys", func(t *testing.T) {
		p.RotateKeys(t, false) // what was signed before is refused now
		key := oauth.Key{Resource: r.url}
		stored, err := store.Load(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		stored.Obtained = time.Now().Add(-time.Minute)
		if err := store.Save(t.Context(), key, stored); err != nil {
			t.Fatal(err)
		}
		r.forget(t, p)
		r.wantSays(t, silent(), "alice: hello")
		if diff := cmp.Diff([]int{401, 200}, r.statuses); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("through an outage, when it is over", func(t *testing.T) {
		for _, kind := range []string{oidctest.Unavailable, oidctest.Reset} {
			old(t, store, r)
			p.Outage(t, kind)
			if _, err := r.says(t, silent()); vgirpc.CodeOf(err) != vgirpc.Unavailable {
				t.Errorf("got %v during the outage", err)
			}
			p.Recover(t)
			r.wantSays(t, silent(), "alice: hello")
		}
	})
	t.Run("until the logout, which revokes it", func(t *testing.T) {
		refreshToken := old(t, store, r)
		if err := silent().Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.wantSays(t, silent(), "Unauthorized")
		r.wantSays(t, r.client(t, oauth.Options{RefreshToken: refreshToken}), "Unauthorized")
	})
}

// forget makes the server ask for the provider's keys again.
func (r *resource) forget(t *testing.T, p *oidctest.Provider) {
	t.Helper()
	verify := newVerifier(t, p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statuses, r.verify = nil, verify
}
