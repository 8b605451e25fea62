package identity

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func newIdentityOf(t *testing.T, opts Options) *Identity {
	t.Helper()
	id, err := newIdentity(opts)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func withHeader(t *testing.T, values ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if len(values) > 0 {
		r.Header["Authorization"] = values
	}
	return r
}

// ownTokens is a deployment's own authenticator.
func ownTokens(t *testing.T) auth.Authenticator {
	t.Helper()
	b, err := auth.NewBearer(auth.BearerOptions{Tokens: []auth.BearerToken{{Token: "own", Principal: "robot"}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBearersAreAcceptedInOrder(t *testing.T) {
	keys := sealing(t)
	sealed, claims, err := keys.Mint(grant.Request{Principal: "ada", Purpose: "nightly", Scopes: []string{"read"}, TTLSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := grant.New(grant.Options{Keys: [][]byte{bytes.Repeat([]byte{1}, grant.KeySize)}})
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := stranger.Mint(grant.Request{Principal: "ada", TTLSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	resolve := func(ctx context.Context, token string) (TokenIdentity, bool, error) {
		asked = append(asked, token)
		id, _, err := anybody(ctx, token)
		id.TokenName = "laptop"
		return id, token != "x-nobody-y", err
	}
	byGrant := vgirpc.Identity{
		Principal: "ada", Domain: DomainGrant, Authenticated: true,
		Claims: map[string]any{"grant_id": claims.ID, "scopes": []string{"read"}, "purpose": "nightly"},
	}
	byToken := vgirpc.Identity{Principal: "subject", Domain: DomainToken, Authenticated: true, Claims: map[string]any{"token_name": "laptop"}}
	robot := vgirpc.Identity{Principal: "robot", Domain: "bearer", Authenticated: true}
	for _, tt := range []struct {
		name   string
		own    bool
		header []string
		want   vgirpc.Identity
		refuse auth.Reason
		asked  []string
	}{
		{name: "the deployment's own first", own: true, header: []string{"Bearer own"}, want: robot},
		{name: "a grant", own: true, header: []string{"Bearer " + sealed}, want: byGrant},
		{name: "a grant where nobody else accepts anything", header: []string{"bearer  " + sealed}, want: byGrant},
		{name: "a token", own: true, header: []string{"Bearer opaque"}, want: byToken, asked: []string{"opaque"}},
		{name: "an unknown token", own: true, header: []string{"Bearer x-nobody-y"}, refuse: auth.InvalidCredential, asked: []string{"x-nobody-y"}},
		{name: "an unknown token where nobody else accepts anything", header: []string{"Bearer x-nobody-y"}, refuse: auth.InvalidCredential, asked: []string{"x-nobody-y"}},
		{name: "another key's grant is not resolved", header: []string{"Bearer " + foreign}, refuse: auth.InvalidCredential},
		{name: "nor a grant with padding", own: true, header: []string{"Bearer " + sealed + "="}, refuse: auth.InvalidCredential},
		{name: "nor the prefix alone", own: true, header: []string{"Bearer " + grant.Prefix}, refuse: auth.InvalidCredential},
		{name: "another prefix is no grant", header: []string{"Bearer vgig2." + sealed[len(grant.Prefix):]}, want: byToken, asked: []string{"vgig2." + sealed[len(grant.Prefix):]}},
		{name: "a JWS is not resolved", header: []string{"Bearer " + jws}, refuse: auth.InvalidCredential},
		{name: "nor one that is padded with what no token has", header: []string{"Bearer " + jws + "\u00a0"}, refuse: auth.InvalidCredential},
		{name: "nor half of one", header: []string{"Bearer x " + jws}, refuse: auth.InvalidCredential},
		{name: "nor what is too long", header: []string{"Bearer " + strings.Repeat("a", MaxTokenBytes+1)}, refuse: auth.InvalidCredential},
		{name: "what is just not too long is", header: []string{"Bearer " + strings.Repeat("a", MaxTokenBytes)}, want: byToken, asked: []string{strings.Repeat("a", MaxTokenBytes)}},
		{name: "nothing where nobody else accepts anything", want: vgirpc.Identity{}},
		{name: "an empty header there", header: []string{""}, want: vgirpc.Identity{}},
		{name: "nothing where a credential is needed", own: true, refuse: auth.MissingCredential},
		{name: "no token", header: []string{"Bearer"}, refuse: auth.InvalidCredential},
		{name: "a blank token", header: []string{"Bearer   "}, refuse: auth.InvalidCredential},
		{name: "another scheme", header: []string{"Basic b3BhcXVl"}, refuse: auth.InvalidCredential},
		{name: "two headers", header: []string{"Bearer opaque", "Bearer " + sealed}, refuse: auth.InvalidCredential},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := newIdentityOf(t, Options{ResolveToken: resolve, Introspectors: []string{"proxy"}, Grants: keys})
			var own auth.Authenticator
			if tt.own {
				own = ownTokens(t)
			}
			a, err := id.Authenticator(own)
			if err != nil {
				t.Fatal(err)
			}
			asked = nil
			got, err := a.Authenticate(withHeader(t, tt.header...))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
			if reason, refused := auth.ReasonOf(err); reason != tt.refuse || refused != (tt.refuse != "") || (err != nil && !refused) {
				t.Errorf("error %v, want %q", err, tt.refuse)
			}
			if diff := cmp.Diff(tt.asked, asked); diff != "" {
				t.Errorf("resolved (-want +got):\n%s", diff)
			}
			for _, value := range tt.header {
				token := strings.Trim(strings.TrimPrefix(value, "Bearer"), " ")
				if err != nil && len(token) > len(grant.Prefix) && strings.Contains(err.Error(), token) {
					t.Errorf("the error quotes the token: %v", err)
				}
			}
		})
	}
}

func TestAnExpiredGrantIsRefusedAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := sealing(t)
		id := newIdentityOf(t, Options{Grants: keys})
		a, err := id.Authenticator(nil)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := keys.Mint(grant.Request{Principal: "ada", TTLSeconds: 60})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute + grant.Skew)
		_, err = a.Authenticate(withHeader(t, "Bearer "+token))
		if reason, _ := auth.ReasonOf(err); reason != auth.ExpiredCredential {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatSaysThatItIsAGrantIsNothingElse(t *testing.T) {
	everybody := auth.Func(func(*http.Request) (vgirpc.Identity, error) {
		return vgirpc.Identity{Principal: "anybody", Authenticated: true}, nil
	})
	resolving := Options{ResolveToken: anybody, Introspectors: []string{"proxy"}}
	t.Run("to a server without grants", func(t *testing.T) {
		a, err := newIdentityOf(t, resolving).Authenticator(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.Authenticate(withHeader(t, "Bearer vgig1.AAAA")); err == nil {
			t.Errorf("accepted as %+v", got)
		}
	})
	t.Run("to whoever comes behind the one that knows grants", func(t *testing.T) {
		a, err := auth.Any(append(newIdentityOf(t, Options{Grants: sealing(t)}).Bearers(), everybody)...)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.Authenticate(withHeader(t, "Bearer vgig1.AAAA")); err == nil {
			t.Errorf("accepted as %+v", got)
		}
		if got, err := a.Authenticate(withHeader(t, "Bearer opaque")); err != nil || got.Principal != "anybody" {
			t.Errorf("another token: %+v, %v", got, err)
		}
	})
}

func TestAnOutageIsNoRefusal(t *testing.T) {
	id := newIdentityOf(t, Options{Introspectors: []string{"proxy"}, ResolveToken: func(context.Context, string) (TokenIdentity, bool, error) {
		return TokenIdentity{}, false, Unavailable(9*time.Second, "down")
	}})
	a, err := id.Authenticator(ownTokens(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Authenticate(withHeader(t, "Bearer opaque"))
	outage, ok := errors.AsType[*auth.Unavailable](err)
	if !ok || outage.RetryAfter != 9*time.Second {
		t.Errorf("got %v", err)
	}
}

func TestWithoutBearersTheDeploymentsOwnStaysAsItIs(t *testing.T) {
	for _, own := range []auth.Authenticator{nil, ownTokens(t)} {
		got, err := newIdentityOf(t, Options{MintGrant: anyGrant}).Authenticator(own)
		if err != nil || got != own {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

// behindProxy is what accepts only what a proxy has stamped.
type behindProxy struct{ auth.Func }

func (behindProxy) ProxyHeaders() []string { return []string{"X-Client-Cert"} }

// gate is a gate that is open.
type gate struct{}

func (gate) Admit(*http.Request) (map[string]string, error) { return nil, nil } //nolint:nilnil // no claims
func (gate) ClaimKey() string                               { return "gate" }

func TestNoWayIsOpenedAroundAProxy(t *testing.T) {
	gated, err := auth.All(gate{}, ownTokens(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, own := range map[string]auth.Authenticator{"headers of a proxy": behindProxy{}, "a gate": gated} {
		for _, opts := range []Options{{Grants: sealing(t)}, {ResolveToken: anybody, Introspectors: []string{"proxy"}}} {
			if a, err := newIdentityOf(t, opts).Authenticator(own); err == nil || a != nil || !strings.Contains(err.Error(), "All(gate") {
				t.Errorf("%s: got %v, %v", name, a, err)
			}
		}
	}
	t.Run("but behind the gate all is well", func(t *testing.T) {
		id := newIdentityOf(t, Options{ResolveToken: anybody, Introspectors: []string{"proxy"}})
		inner, err := auth.Any(append([]auth.Authenticator{ownTokens(t)}, id.Bearers()...)...)
		if err != nil {
			t.Fatal(err)
		}
		all, err := auth.All(gate{}, inner)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := all.Authenticate(withHeader(t, "Bearer opaque")); err != nil || got.Domain != DomainToken {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}
