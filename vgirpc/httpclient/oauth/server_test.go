package oauth_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth/jwt"
	authoauth "github.com/vgirpc/vgirpc-go/auth/oauth"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/oidctest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/oauth"
)

type whoParams struct {
	Greeting string `vgi:"greeting"`
}

var (
	whoProtocol = vgirpc.NewProtocol("Who", "1.0.0")
	whoAmI      = vgirpc.NewUnary[whoParams, string](whoProtocol, "who_am_i")
)

// serveWho serves a method that says who calls, to whom the provider vouches for.
// The server has the client's secret, and lends it through its token endpoint.
func serveWho(t *testing.T, p *oidctest.Provider) (target string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target = "http://" + l.Addr().String() + "/vgi"
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, whoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(server, whoAmI, func(ctx context.Context, p whoParams) (string, error) {
		return p.Greeting + " " + vgirpc.CallFrom(ctx).Peer().Identity.Principal, nil
	})
	verify, err := jwt.New(context.WithoutCancel(t.Context()), jwt.Options{
		Issuers: []jwt.Issuer{{Name: p.Issuer}}, Audiences: []string{oidctest.DefaultAudience}, AllowHTTP: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { verify.Close() })
	signIn, err := authoauth.New(authoauth.Options{
		Resource: target, Prefix: "/vgi", AuthorizationServers: []string{p.Issuer}, Scopes: []string{"openid", "email", "offline_access"},
		ClientID: string(oidctest.NativeSecret), ClientSecret: oidctest.NativeSecret.Secret(),
		Keys: [][]byte{[]byte("a key of the test, long enough")},
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := httpserver.New(server, httpserver.Options{Prefix: "/vgi", Auth: verify, OAuth: signIn})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-served })
	return target
}

func TestOurServerAndOurClientSignIn(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	target := serveWho(t, p)
	store := oauth.NewMemoryStore()
	login, err := oauth.New(target, oauth.Options{Store: store, OpenBrowser: browses(t, p)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = login.Close() })
	wrap, err := oauth.Authorize(target, login)
	if err != nil {
		t.Fatal(err)
	}
	client, err := httpclient.Dial(t.Context(), target, httpclient.Options{Wrap: wrap}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })

	says := func(want string) {
		t.Helper()
		got, err := whoAmI.Call(t.Context(), client, whoParams{Greeting: "hello"})
		if got != want {
			t.Errorf("got %q and %v", got, err)
		}
	}
	says("hello alice")
	r, err := store.Load(t.Context(), oauth.Key{Resource: target})
	if err != nil {
		t.Fatal(err)
	}
	if r.TokenEndpoint != target+"/_oauth/token" || r.ClientSecret != "" {
		t.Errorf("tokens come from %s, with a secret: %v", r.TokenEndpoint, r.ClientSecret != "")
	}
	asked := p.Requests(t, "/token")
	first := old(t, store, &resource{url: target})
	fresh, err := oauth.New(target, oauth.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fresh.Close() })
	if got, err := fresh.Token(t.Context()); err != nil || got == "" || first == "" {
		t.Errorf("a refresh through the server brings %v, %v", got != "", err)
	}
	if n := p.Requests(t, "/token"); n != asked+1 {
		t.Errorf("%d requests reached the provider", n-asked)
	}
	says("hello alice")
}

func TestALoginThatFailsIsToldByItsCode(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	target := serveWho(t, p)
	p.Deny(t)
	login, err := oauth.New(target, oauth.Options{OpenBrowser: browses(t, p)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = login.Close() })
	wrap, err := oauth.Authorize(target, login)
	if err != nil {
		t.Fatal(err)
	}
	client, err := httpclient.Dial(t.Context(), target, httpclient.Options{Wrap: wrap}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	_, err = whoAmI.Call(t.Context(), client, whoParams{Greeting: "hello"})
	if vgirpc.CodeOf(err) != vgirpc.PermissionDenied || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("got %v", err)
	}
}
