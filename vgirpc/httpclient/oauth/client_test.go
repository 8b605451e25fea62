package oauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
)

// signedIn is a client with the tokens that the first answer of the issuer has.
func signedIn(t *testing.T, i *issuer, opts oauth.Options) *oauth.Client {
	t.Helper()
	if opts.ShowCode == nil && opts.Flow == oauth.Auto {
		opts.ShowCode = ignored
	}
	c := newClient(t, i, opts)
	if err := c.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func token(t *testing.T, c *oauth.Client) string {
	t.Helper()
	got, err := c.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestATokenIsRefreshedAheadOfItsEnd(t *testing.T) {
	for _, tt := range []struct {
		name    string
		expires any
		after   time.Duration
		want    string
	}{
		{"46 seconds before", 3600, time.Hour - 46*time.Second, "one"},
		{"45 seconds before", 3600, time.Hour - 45*time.Second, "two"},
		{"after its end", 3600, 2 * time.Hour, "two"},
		{"no end", nil, 1000 * time.Hour, "one"},
		{"a short life is half used", 60, 29 * time.Second, "one"},
		{"and no longer", 60, 30 * time.Second, "two"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				i.tokens = append(i.tokens, gives("one", "refresh_token", "r1", "expires_in", tt.expires), gives("two"))
				c := signedIn(t, i, oauth.Options{})
				time.Sleep(tt.after)
				if got := token(t, c); got != tt.want {
					t.Errorf("got %s", got)
				}
			})
		})
	}
}

func TestARefreshTokenIsKeptUntilItIsReplacedOrDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, gives("one", "refresh_token", "r1"), gives("two"), gives("three", "refresh_token", "r2"), gives("four"), refuses(400, "invalid_grant"))
		c := signedIn(t, i, oauth.Options{})
		var got []string
		for range 5 {
			time.Sleep(time.Hour)
			got = append(got, token(t, c))
		}
		if diff := cmp.Diff([]string{"two", "three", "four", "", ""}, got); diff != "" {
			t.Error(diff)
		}
		var sent []string
		for _, form := range i.forms[2:] {
			sent = append(sent, form.Get("refresh_token"))
		}
		if diff := cmp.Diff([]string{"r1", "r1", "r2", "r2"}, sent); diff != "" {
			t.Errorf("refresh tokens: %s", diff)
		}
	})
}

func TestAnOutageOfTheIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, gives("one", "refresh_token", "r1"), fails(503))
		c := signedIn(t, i, oauth.Options{})
		time.Sleep(time.Hour - 30*time.Second)
		for range 10 {
			if got := token(t, c); got != "one" {
				t.Errorf("got %q while the token is good", got)
			}
		}
		if n := i.count("idp.example/token"); n != 2 {
			t.Errorf("%d requests: the refresh is tried again at once", n)
		}
		time.Sleep(time.Minute)
		if _, err := c.Token(t.Context()); vgirpc.CodeOf(err) != vgirpc.Unavailable {
			t.Errorf("got %v when it has ended", err)
		}
		i.tokens = append(i.tokens[:0], gives("two"))
		if got := token(t, c); got != "two" {
			t.Errorf("got %q after the outage", got)
		}
	})
}

func TestManyRequestsShareOneLoginAndOneRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, refuses(400, "authorization_pending"), gives("one", "refresh_token", "r"), gives("two"))
		c := newClient(t, i, oauth.Options{ShowCode: ignored})
		all := func(accepted string) {
			t.Helper()
			i.take(accepted)
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if status, _, err := call(t.Context(), i, c); status != 200 {
						t.Errorf("status %d: %v", status, err)
					}
				})
			}
			wg.Wait()
		}
		all("one")
		if n := i.count("idp.example/device"); n != 1 {
			t.Errorf("%d logins", n)
		}
		time.Sleep(time.Hour)
		all("two")
		if n := i.count("idp.example/token"); n != 3 {
			t.Errorf("%d requests for tokens, want two polls and one refresh", n)
		}
	})
}

func TestARequestIsRepeatedOnceWhenItsTokenIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		age    time.Duration
		tokens []func(url.Values) (int, any)
		opts   oauth.Options
		accept string
		status int
		calls  int // of the server
		issued int // requests for tokens after the first
	}{
		{"a refreshed token is taken", time.Minute, []func(url.Values) (int, any){gives("two")}, oauth.Options{}, "two", 200, 2, 1},
		{"a refreshed token is refused as well", time.Minute, []func(url.Values) (int, any){gives("two")}, oauth.Options{}, "three", 401, 2, 1},
		{"a new token that is refused is not replaced", 0, []func(url.Values) (int, any){gives("two")}, oauth.Options{}, "two", 401, 1, 0},
		{"a dead refresh token leads to a login", time.Minute, []func(url.Values) (int, any){refuses(400, "invalid_grant"), gives("new")}, oauth.Options{}, "new", 200, 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				i.tokens = append(i.tokens, gives("one", "refresh_token", "r"))
				i.tokens = append(i.tokens, tt.tokens...)
				c := signedIn(t, i, tt.opts)
				time.Sleep(tt.age)
				i.take(tt.accept)
				status, body, err := call(t.Context(), i, c)
				if status != tt.status || err != nil || (status == 200 && !strings.Contains(body, "payload")) {
					t.Errorf("status %d with %q and %v", status, body, err)
				}
				if n := i.count("api.example/vgi/call"); n != tt.calls {
					t.Errorf("%d calls, want %d", n, tt.calls)
				}
				if n := i.count("idp.example/token") - 1; n != tt.issued {
					t.Errorf("%d requests for tokens, want %d", n, tt.issued)
				}
			})
		})
	}
}

func TestSomeRefusalsStand(t *testing.T) {
	for name, answer := range map[string]http.Header{
		"the scope does not suffice": {"Vgi-Auth-Reason": {"insufficient_scope"}, "Www-Authenticate": {`Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource/vgi"`}},
		"a proxy is missing":         {"Vgi-Auth-Reason": {"proxy_required"}, "Www-Authenticate": {`Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource/vgi"`}},
		"no challenge":               {},
		"another scheme":             {"Www-Authenticate": {`Basic realm="x", Digest resource_metadata="https://api.example/m"`}},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer()
			c := newClient(t, i, oauth.Options{ShowCode: ignored})
			if got, err := c.Renew(t.Context(), "", answer); got != "" || err != nil {
				t.Errorf("got %q and %v", got, err)
			}
			if len(i.paths) > 0 {
				t.Errorf("requests: %v", i.paths)
			}
		})
	}
}

func TestMetadataOfOthersAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name             string
		resource, server map[string]any
		opts             oauth.Options
		want             string // in the error; "" is none
	}{
		{"as they are", nil, nil, oauth.Options{}, ""},
		{"the resource is the host", map[string]any{"resource": "https://api.example"}, nil, oauth.Options{}, ""},
		{"the resource is spelt otherwise", map[string]any{"resource": "https://API.example:443/vgi/"}, nil, oauth.Options{}, ""},
		{"the resource is another path", map[string]any{"resource": "https://api.example/vg"}, nil, oauth.Options{}, "are those of"},
		{"the resource is another host", map[string]any{"resource": "https://evil.example/vgi"}, nil, oauth.Options{}, "are those of"},
		{"the resource is another scheme", map[string]any{"resource": "http://api.example/vgi"}, nil, oauth.Options{}, "are those of"},
		{"the resource is missing", map[string]any{"resource": nil}, nil, oauth.Options{}, "are those of"},
		{"the options name it", map[string]any{"resource": "urn:numbers"}, nil, oauth.Options{Resource: "urn:numbers"}, ""},
		{"the options name another one", nil, nil, oauth.Options{Resource: "urn:numbers"}, "the resource that was set"},
		{"no authorization server", map[string]any{"authorization_servers": nil}, nil, oauth.Options{}, "names no authorization server"},
		{"an authorization server without https", map[string]any{"authorization_servers": []string{"http://idp.example"}}, nil, oauth.Options{}, "want https"},
		{"the pinned issuer is there", map[string]any{"authorization_servers": []string{"https://first.example", issuerURL}}, nil, oauth.Options{Issuer: issuerURL}, ""},
		{"the pinned issuer is not", nil, nil, oauth.Options{Issuer: "https://mine.example"}, "the issuer that was set"},
		{"a token endpoint of another host", map[string]any{"token_endpoint": "https://evil.example/token"}, nil, oauth.Options{}, "another host"},
		{"the metadata are another issuer's", nil, map[string]any{"issuer": "https://evil.example"}, oauth.Options{}, "another issuer"},
		{"the issuer has no token endpoint", nil, map[string]any{"token_endpoint": nil}, oauth.Options{}, "no token_endpoint"},
		{"a token endpoint without https", nil, map[string]any{"token_endpoint": "http://idp.example/token"}, oauth.Options{}, "want https"},
		{"a device endpoint without https", nil, map[string]any{"device_authorization_endpoint": "http://idp.example/device"}, oauth.Options{}, "want https"},
		{"no device flow", nil, map[string]any{"grant_types_supported": []string{"authorization_code"}}, oauth.Options{}, "logins with a browser alone"},
		{"no flow for persons", nil, map[string]any{"authorization_endpoint": nil, "device_authorization_endpoint": nil}, oauth.Options{}, "no login for persons"},
		{"no client", map[string]any{"client_id": nil}, nil, oauth.Options{}, "names no client"},
		{"more than anybody needs", map[string]any{"filler": strings.Repeat("x", 300<<10)}, nil, oauth.Options{}, "more than 262144 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				maps.Copy(i.resource, tt.resource)
				maps.Copy(i.server, tt.server)
				i.tokens = append(i.tokens, gives("tok"))
				tt.opts.ShowCode = ignored
				err := newClient(t, i, tt.opts).Login(t.Context())
				if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
				for _, at := range i.paths {
					if !strings.HasPrefix(at, "api.example/") && !strings.HasPrefix(at, "idp.example/") {
						t.Errorf("a request went to %s", at)
					}
				}
			})
		})
	}
}

func TestChallengesCannotLeadAway(t *testing.T) {
	for name, at := range map[string]string{
		"another host":         "https://evil.example/.well-known/oauth-protected-resource",
		"without https":        "http://api.example/.well-known/oauth-protected-resource/vgi",
		"another port":         "https://api.example:8443/m",
		"credentials in it":    "https://user@api.example/m",
		"a file":               "file:///etc/passwd",
		"a page that is not":   "https://api.example/missing",
		"a page that is not 2": "https://api.example/vgi/call",
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer()
			c := newClient(t, i, oauth.Options{ShowCode: ignored})
			got, err := c.Renew(t.Context(), "", http.Header{"Www-Authenticate": {fmt.Sprintf("Bearer resource_metadata=%q", at)}})
			if got != "" || vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
				t.Errorf("got %q and %v", got, err)
			}
			for _, at := range i.paths {
				if !strings.HasPrefix(at, "api.example/") {
					t.Errorf("a request went to %s", at)
				}
			}
		})
	}
}

func TestAnotherIssuerOfTheServerEndsALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, gives("one", "refresh_token", "r-of-the-first"), gives("two"))
		store := oauth.NewMemoryStore()
		c := signedIn(t, i, oauth.Options{Store: store})
		time.Sleep(time.Minute)
		i.resource["client_id"] = "renamed"
		i.take("two")
		if status, _, err := call(t.Context(), i, c); status != 200 {
			t.Fatalf("status %d: %v", status, err)
		}
		for _, form := range i.forms[2:] {
			if form.Get("refresh_token") != "" {
				t.Errorf("a refresh token of another client went out: %v", form.Get("client_id"))
			}
		}
	})
}

// oneLogin keeps one login for a server, whatever the options of who signed in.
type oneLogin struct{ oauth.Store }

func serverKey(key oauth.Key) oauth.Key { return oauth.Key{Resource: key.Resource} }

func (s oneLogin) Load(ctx context.Context, key oauth.Key) (*oauth.Record, error) {
	return s.Store.Load(ctx, serverKey(key))
}

func (s oneLogin) Save(ctx context.Context, key oauth.Key, r *oauth.Record) error {
	return s.Store.Save(ctx, serverKey(key), r)
}

func (s oneLogin) Delete(ctx context.Context, key oauth.Key) error {
	return s.Store.Delete(ctx, serverKey(key))
}

func TestWhatALoginPinnedHoldsForClientsThatPinNothing(t *testing.T) {
	const other = "https://other.example"
	for _, tt := range []struct {
		name     string
		resource map[string]any
		opts     oauth.Options
		later    map[string]any // of the resource, when the token is refused
		client   string         // that refreshes, "" when nothing does
	}{
		{
			"an issuer that is not the first",
			map[string]any{"authorization_servers": []string{other, issuerURL}},
			oauth.Options{Issuer: issuerURL},
			nil, "web",
		},
		{"a client that is not the server's", nil, oauth.Options{ClientID: "mine"}, nil, "mine"},
		{"a client where the server names another one later", nil, oauth.Options{ClientID: "mine"}, map[string]any{"client_id": "renamed"}, "mine"},
		{
			"a resource of another name",
			map[string]any{"resource": "https://inner.example/vgi"},
			oauth.Options{Resource: "https://inner.example/vgi"},
			nil, "web",
		},
		{"an issuer that the server takes no more", nil, oauth.Options{Issuer: issuerURL}, map[string]any{"authorization_servers": []string{other}}, ""},
		{
			"a resource that is another one now",
			map[string]any{"resource": "https://inner.example/vgi"},
			oauth.Options{Resource: "https://inner.example/vgi"},
			map[string]any{"resource": serverURL},
			"",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				maps.Copy(i.resource, tt.resource)
				i.tokens = append(i.tokens, gives("one", "refresh_token", "r1"), gives("two"))
				tt.opts.Store = oneLogin{oauth.NewMemoryStore()}
				signedIn(t, i, tt.opts)
				time.Sleep(time.Minute)
				maps.Copy(i.resource, tt.later)
				i.take("two")
				status, _, err := call(t.Context(), i, newClient(t, i, oauth.Options{Store: tt.opts.Store}))
				if tt.client == "" {
					if vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
						t.Errorf("status %d, %v", status, err)
					}
				} else if last := i.forms[len(i.forms)-1]; status != 200 || last.Get("refresh_token") != "r1" || last.Get("client_id") != tt.client {
					t.Errorf("status %d, %v, after %v", status, err, last)
				}
				if _, err := tt.opts.Store.Load(t.Context(), oauth.Key{Resource: serverURL}); err != nil {
					t.Errorf("the login is gone: %v", err)
				}
			})
		})
	}
}

func TestNoSecretGetsIntoErrorsAndLogs(t *testing.T) {
	secrets := []string{"dev-code-secret", "client-secret-value", "refresh-secret", "access-secret", "id-secret"}
	for _, tt := range []struct {
		name   string
		tokens []func(url.Values) (int, any)
	}{
		{"the issuer repeats the form of a refresh", []func(url.Values) (int, any){refuses(400, "invalid_request")}},
		{"with the grant dead", []func(url.Values) (int, any){refuses(400, "invalid_grant")}},
		{"without an OAuth error", []func(url.Values) (int, any){func(f url.Values) (int, any) { return 400, f.Encode() }}},
		{"with a status of success", []func(url.Values) (int, any){func(f url.Values) (int, any) { return 200, f.Encode() }}},
		{"a token of another type", []func(url.Values) (int, any){gives("access-secret-2", "token_type", "DPoP")}},
		{"a token with a line break", []func(url.Values) (int, any){gives("access-secret\r\nX: y")}},
		{"no answer", []func(url.Values) (int, any){fails(-1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				i.tokens = append(i.tokens, gives("access-secret", "refresh_token", "refresh-secret", "id_token", "id-secret"))
				i.tokens = append(i.tokens, tt.tokens...)
				var logged bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
				store := oauth.NewMemoryStore()
				c := signedIn(t, i, oauth.Options{ClientID: "web", ClientSecret: "client-secret-value", Store: store, Logger: logger})
				record, err := store.Load(t.Context(), oauth.Key{Resource: serverURL, Client: "web"})
				if err != nil {
					t.Fatal(err)
				}
				logger.Info("record", "record", record)
				noSecrets(t, fmt.Sprintf("%v %+v %#v %s %q", record, record, record, record, record), secrets...)
				time.Sleep(time.Hour)
				_, err = c.Token(t.Context())
				if err == nil && tt.name != "with the grant dead" {
					t.Error("no error")
				}
				noSecrets(t, errText(err), secrets...)
				for e := err; e != nil; e = errors.Unwrap(e) {
					noSecrets(t, errText(e), secrets...)
				}
				if logged.Len() == 0 {
					t.Error("nothing was logged")
				}
				noSecrets(t, logged.String(), secrets...)
			})
		})
	}
	noSecrets(t, fmt.Sprintf("%v %+v %#v %s", oauth.StaticToken("s3"), oauth.StaticToken("s3"), oauth.StaticToken("s3"), oauth.StaticToken("s3")), "s3")
}

func TestTheIDTokenIsTheBearerWhereTheServerSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.resource["use_id_token_as_bearer"] = true
		id := idToken(map[string]any{"sub": "alice", "email": "a@x", "exp": time.Now().Add(10 * time.Minute).Unix()})
		i.tokens = append(i.tokens, gives("access", "id_token", id, "refresh_token", "r"), gives("access2", "id_token", "e30.e30.c2ln"))
		c := signedIn(t, i, oauth.Options{})
		if got := token(t, c); got != id {
			t.Errorf("got %q", got)
		}
		if who, ok := c.Identity(); !ok || who.Subject != "alice" || who.Email != "a@x" {
			t.Errorf("got %+v", who)
		}
		time.Sleep(10 * time.Minute) // the ID token's life counts, not the hour of the other one
		if got := token(t, c); got != "e30.e30.c2ln" {
			t.Errorf("got %q after its end", got)
		}
	})
}

func TestARefreshTokenFromElsewhereNeedsNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, gives("one"), refuses(400, "invalid_grant"))
		c := newClient(t, i, oauth.Options{RefreshToken: "mine"})
		i.take("one")
		if status, _, err := call(t.Context(), i, c); status != 200 {
			t.Errorf("status %d: %v", status, err)
		}
		if n := i.count("api.example/vgi/call"); n != 1 {
			t.Errorf("%d calls: the token was there before the first", n)
		}
		time.Sleep(time.Hour)
		if got := token(t, c); got != "" {
			t.Errorf("got %q when the grant was dead", got)
		}
	})
}

func TestAProgramSignsItselfIn(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tokens []func(url.Values) (int, any)
		basic  []string
	}{
		{"with the secret in the form", []func(url.Values) (int, any){gives("one"), gives("two")}, []string{"", ""}},
		{"with the secret in a header", []func(url.Values) (int, any){refuses(401, "invalid_client"), gives("one"), gives("two")}, []string{"", "svc:s%2F1", "svc:s%2F1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				i.tokens = tt.tokens
				c := newClient(t, i, oauth.Options{Flow: oauth.ClientCredentials, ClientID: "svc", ClientSecret: "s/1", Params: url.Values{"audience": {"urn:x"}}})
				i.take("one")
				if status, _, err := call(t.Context(), i, c); status != 200 {
					t.Fatalf("status %d: %v", status, err)
				}
				time.Sleep(time.Hour)
				if got := token(t, c); got != "two" {
					t.Errorf("got %q", got)
				}
				if diff := cmp.Diff(tt.basic, i.basic); diff != "" {
					t.Error(diff)
				}
				for _, form := range i.forms {
					if form.Get("grant_type") != "client_credentials" || form.Get("audience") != "urn:x" {
						t.Errorf("form %v", form)
					}
				}
			})
		})
	}
}

func TestALogoutRevokesAndForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, gives("one", "refresh_token", "r1"))
		store := oauth.NewMemoryStore()
		c := signedIn(t, i, oauth.Options{Store: store})
		if err := c.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"r1"}, i.revoked); diff != "" {
			t.Error(diff)
		}
		if got := token(t, c); got != "" {
			t.Errorf("got %q", got)
		}
		if _, err := store.Load(t.Context(), oauth.Key{Resource: serverURL}); !errors.Is(err, oauth.ErrNoRecord) {
			t.Errorf("got %v", err)
		}
	})
}

func TestALogoutForgetsWhatNoStoreHas(t *testing.T) {
	t.Run("the refresh token of the options", func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, gives("one"))
		c := newClient(t, i, oauth.Options{RefreshToken: "mine"})
		if err := c.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := token(t, c); got != "" || i.count("idp.example/token") != 0 {
			t.Errorf("signed in again: %q", got)
		}
	})
	t.Run("tokens that could not be stored, which it revokes", func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, gives("two", "refresh_token", "r2"))
		store := oauth.NewMemoryStore()
		stored := record("one")
		stored.Expiry, stored.UseIDToken = time.Now().Add(-time.Minute), false
		if err := store.Save(t.Context(), oauth.Key{Resource: serverURL}, stored); err != nil {
			t.Fatal(err)
		}
		c := newClient(t, i, oauth.Options{Store: fullStore{store}})
		if got := token(t, c); got != "two" {
			t.Fatalf("got %q", got)
		}
		if err := c.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"r2"}, i.revoked); diff != "" {
			t.Error(diff)
		}
	})
}

// A full store takes nothing.
type fullStore struct{ oauth.Store }

func (fullStore) Save(context.Context, oauth.Key, *oauth.Record) error {
	return errors.New("disk full")
}

func TestALoginThatCannotBeStoredGoesOnInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, gives("one", "refresh_token", "r"), gives("two"))
		c := newClient(t, i, oauth.Options{ShowCode: ignored, Store: fullStore{oauth.NewMemoryStore()}})
		if err := c.Login(t.Context()); err == nil {
			t.Error("a login that was asked for says nothing")
		}
		for range 2 {
			if got := token(t, c); got != "one" {
				t.Errorf("got %q", got)
			}
		}
		time.Sleep(time.Hour)
		if got := token(t, c); got != "two" {
			t.Errorf("got %q", got)
		}
	})
}

func TestTokensGoToTheirServerAlone(t *testing.T) {
	wrap, err := oauth.Authorize(serverURL, oauth.StaticToken("tok"))
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	rt := wrap(roundTrip(func(req *http.Request) (*http.Response, error) {
		seen = append(seen, req.URL.Host+" "+req.Header.Get("Authorization"))
		h := http.Header{}
		status := 200
		if req.URL.Path == "/away" {
			h.Set("Location", "https://evil.example/")
			status = 307
		}
		return &http.Response{StatusCode: status, Header: h, Body: http.NoBody, Request: req}, nil
	}))
	for _, to := range []string{"https://api.example/vgi", "https://api.example:443/x", "http://api.example/vgi", "https://api.example:8443/vgi", "https://evil.example/vgi"} {
		get(t, &http.Client{Transport: rt}, to, nil)
	}
	get(t, &http.Client{Transport: rt}, "https://api.example/away", nil)
	get(t, &http.Client{Transport: rt}, "https://api.example/vgi", http.Header{"Authorization": {"Basic x"}})
	want := []string{
		"api.example Bearer tok", "api.example:443 Bearer tok", "api.example ", "api.example:8443 ", "evil.example ",
		"api.example Bearer tok", "evil.example ", "api.example Basic x",
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func get(t *testing.T, client *http.Client, to string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // what was sent counts
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, server string
		opts         oauth.Options
	}{
		{"no https", "http://api.example", oauth.Options{}},
		{"no URL", "api", oauth.Options{}},
		{"credentials in the URL", "https://u:p@api.example", oauth.Options{}},
		{"a query in the URL", serverURL + "?a=b", oauth.Options{}},
		{"a device flow that nobody sees", serverURL, oauth.Options{Flow: oauth.Device}},
		{"a browser flow without a browser", serverURL, oauth.Options{Flow: oauth.Browser}},
		{"client credentials without any", serverURL, oauth.Options{Flow: oauth.ClientCredentials, ClientID: "x"}},
		{"a flow that is none", serverURL, oauth.Options{Flow: 9}},
		{"a secret of nobody", serverURL, oauth.Options{ClientSecret: "x"}},
		{"a negative timeout", serverURL, oauth.Options{LoginTimeout: -1}},
		{"a parameter that the flow sets", serverURL, oauth.Options{Params: url.Values{"state": {"x"}}}},
		{"a redirect to elsewhere", serverURL, oauth.Options{RedirectURL: "http://10.0.0.1/cb"}},
		{"an issuer without https", serverURL, oauth.Options{Issuer: "http://idp.example"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := oauth.New(tt.server, tt.opts); vgirpc.CodeOf(err) != vgirpc.InvalidArgument {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestClosingEndsALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, refuses(400, "authorization_pending"))
		c := newClient(t, i, oauth.Options{ShowCode: ignored})
		ended := make(chan error)
		go func() { ended <- c.Login(t.Context()) }()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
			t.Errorf("got %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestLoginsThatAreAskedForAtOnceAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.tokens = append(i.tokens, refuses(400, "authorization_pending"), gives("one"))
		c := newClient(t, i, oauth.Options{ShowCode: ignored})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := c.Login(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := i.count("idp.example/device"); n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}
