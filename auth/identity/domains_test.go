package identity

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// The names of two issuers, who name callers as they like.
const ours, theirs = "https://ours.example", "https://theirs.example"

// of is a caller whom an issuer has named and seen sign in just now.
func of(domain, principal string) vgirpc.Identity {
	return vgirpc.Identity{
		Principal: principal, Domain: domain, Authenticated: true, Claims: map[string]any{"auth_time": time.Now().Unix()},
	}
}

func TestGrantsAreIssuedInTheirDomainsAlone(t *testing.T) {
	for _, tt := range []struct {
		name         string
		domains      Domains
		caller       vgirpc.Identity
		kind, domain string // of the refusal, or what the application is told
	}{
		{"any domain when none is named", Domains{}, of(theirs, "1234"), "", theirs},
		{"the one that is named", Domains{Grants: []string{ours}}, of(ours, "1234"), "", ours},
		{"one of two that are named", Domains{Grants: []string{theirs, ours}}, of(ours, "1234"), "", ours},
		{"another one", Domains{Grants: []string{ours}}, of(theirs, "1234"), KindGrantRefused, ""},
		{"one that begins like it", Domains{Grants: []string{ours}}, of(ours+"/", "1234"), KindGrantRefused, ""},
		{"nobody's", Domains{Grants: []string{ours}}, of("", "1234"), KindGrantRefused, ""},
		{
			"whoever has not signed in is told so first",
			Domains{Grants: []string{ours}},
			vgirpc.Identity{Principal: "1234", Domain: DomainGrant, Authenticated: true},
			KindStaleAuth, "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := ""
			opts := Options{Domains: tt.domains, MintGrant: func(ctx context.Context, r GrantRequest) (IssuedGrant, error) {
				told = r.Domain
				return anyGrant(ctx, r)
			}}
			_, err := NewContract().IssueGrant.Call(t.Context(), dial(t, opts, tt.caller), GrantParams{TTLSeconds: 5})
			kind := ""
			if err != nil {
				kind = answerOf(t, err).Kind
			}
			if diff := cmp.Diff([]string{tt.kind, tt.domain}, []string{kind, told}); diff != "" {
				t.Errorf("kind and domain (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

func TestTheSameNameOfAnotherIssuerGetsNoSealedGrant(t *testing.T) {
	keys := sealing(t)
	opts := Options{Grants: keys, Domains: Domains{Grants: []string{ours}}}
	issued, err := NewContract().IssueGrant.Call(t.Context(), dial(t, opts, of(ours, "1234")), GrantParams{TTLSeconds: 5})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := keys.Verify(issued.Token); err != nil || c.Principal != "1234" || !strings.HasPrefix(issued.Token, grant.Prefix) {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = NewContract().IssueGrant.Call(t.Context(), dial(t, opts, of(theirs, "1234")), GrantParams{TTLSeconds: 5})
	if e := answerOf(t, err); e.Kind != KindGrantRefused || strings.Contains(e.Message, "example") {
		t.Errorf("got %+v", e)
	}
}

func TestIntrospectorsCountInTheirDomainsAlone(t *testing.T) {
	for _, tt := range []struct {
		name    string
		domains Domains
		caller  vgirpc.Identity
		kind    string
	}{
		{"any domain when none is named", Domains{}, of(ours, "gateway"), ""},
		{"the certificate that is meant", Domains{Introspectors: []string{"mtls"}}, of("mtls", "gateway"), ""},
		{"a token with that subject", Domains{Introspectors: []string{"mtls"}}, of(ours, "gateway"), KindIntrospectionRefused},
		{"a grant for that name", Domains{Introspectors: []string{"mtls"}}, of(DomainGrant, "gateway"), KindIntrospectionRefused},
		{"another certificate", Domains{Introspectors: []string{"mtls"}}, of("mtls", "other"), KindIntrospectionRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := false
			opts := Options{Domains: tt.domains, Introspectors: []string{"gateway"}, ResolveToken: func(ctx context.Context, token string) (TokenIdentity, bool, error) {
				asked = true
				return anybody(ctx, token)
			}}
			_, err := NewContract().IntrospectToken.Call(t.Context(), dial(t, opts, tt.caller), IntrospectParams{"opaque"})
			kind := ""
			if err != nil {
				kind = answerOf(t, err).Kind
			}
			if kind != tt.kind || asked != (tt.kind == "") {
				t.Errorf("kind %q, want %q; the application was asked: %t", kind, tt.kind, asked)
			}
		})
	}
}

func TestDomainsThatBoundNothingAreRefused(t *testing.T) {
	for name, opts := range map[string]Options{
		"of grants, without grants":               {Domains: Domains{Grants: []string{ours}}},
		"of introspectors, without introspection": {MintGrant: anyGrant, Domains: Domains{Introspectors: []string{ours}}},
		"an empty one of grants":                  {MintGrant: anyGrant, Domains: Domains{Grants: []string{ours, ""}}},
		"an empty one of introspectors": {
			ResolveToken: anybody, Introspectors: []string{"proxy"}, Domains: Domains{Introspectors: []string{""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Host(newServer(t), opts); err == nil || !strings.Contains(err.Error(), "option Domains") {
				t.Errorf("got %v", err)
			}
		})
	}
}
