package conformance

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/auth/identity"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

// identityWorker is the address of a worker with a policy, over HTTP.
func identityWorker(t *testing.T, policy string) string {
	t.Helper()
	f, err := readFixture([]string{"--identity", policy})
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, HostStandard)
	if err != nil {
		t.Fatal(err)
	}
	id, err := hostIdentity(server, policy)
	if err != nil {
		t.Fatal(err)
	}
	opts := f.http(id)
	if err := opts.Configure(t.Context(), &opts.Handler); err != nil {
		t.Fatal(err)
	}
	h, err := httpserver.New(server, opts.Handler)
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(opts.Wrap(h))
	t.Cleanup(listening.Close)
	return listening.URL
}

// as is a client with headers: names and values in turn.
func as(t *testing.T, url string, headers ...string) *vgirpc.Client {
	t.Helper()
	header := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	c, err := httpclient.Dial(t.Context(), url, httpclient.Options{Header: header}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func minter(t *testing.T, url string) *vgirpc.Client {
	t.Helper()
	return as(t, url, "X-Conformance-Principal", "minter", "X-Conformance-Auth-Time", strconv.FormatInt(time.Now().Unix()-60, 10))
}

func TestEachPolicyHostsWhatItSays(t *testing.T) {
	for policy, want := range map[string]map[string]string{
		identityOff:            {},
		identityBoth:           {identity.Name: "145267755ff90d5c3313d79c7ff771306f2530626380d01cb0e57a951d0f9ec3"},
		identityIntrospectOnly: {identity.Name: "4039fbf6db3e64ae234e0be605b977477150ace892f10b6c691920eaf925e7ac"},
		identityGrants: {
			identity.Name: "145267755ff90d5c3313d79c7ff771306f2530626380d01cb0e57a951d0f9ec3",
			Whoami.Name(): "a280333ba72432020e162cab388a78355969a30aa74f0665ad9d2932d7a10b8f",
		},
	} {
		t.Run(policy, func(t *testing.T) {
			list, err := as(t, identityWorker(t, policy)).Describe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, p := range list.Protocols {
				if p.Protocol == identity.Name || p.Protocol == Whoami.Name() {
					got[p.Protocol] = p.ProtocolHash
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("hashes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheFixturesTokens(t *testing.T) {
	client := as(t, identityWorker(t, identityBoth), "X-Conformance-Principal", introspector)
	subject := identity.TokenIdentity{Principal: subjectPrincipal, TokenName: subjectName, TTLSeconds: 300}
	with := func(name string, ttl int64) identity.TokenIdentity {
		return identity.TokenIdentity{Principal: subjectPrincipal, TokenName: name, TTLSeconds: ttl}
	}
	for _, tt := range []struct {
		token string
		want  identity.TokenIdentity
		kind  string
		retry float64
	}{
		{"conformance-opaque-subject-token", subject, "", 0},
		{"anything", subject, "", 0},
		{"conformance-zero-ttl-token", with(subjectName, 0), "", 0},
		{"conformance-minimal-token", with("", 300), "", 0},
		{"  conformance-padded-probe  ", with(paddedName, 300), "", 0},
		{"conformance-padded-probe", subject, "", 0},
		{"conformance-unknown-token", identity.TokenIdentity{}, identity.KindTokenUnresolved, 0},
		{"conformance-unavailable-token", identity.TokenIdentity{}, identity.KindUnavailable, 5},
		{"conformance-auth-unavailable-token", identity.TokenIdentity{}, identity.KindUnavailable, 7},
	} {
		t.Run(tt.token, func(t *testing.T) {
			got, err := identity.NewContract().IntrospectToken.Call(t.Context(), client, identity.IntrospectParams{Token: tt.token})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
			checkError(t, err, tt.kind, tt.retry)
		})
	}
}

func TestTheFixturesGrants(t *testing.T) {
	client := minter(t, identityWorker(t, identityBoth))
	for _, tt := range []struct {
		purpose string
		want    identity.IssuedGrant
		kind    string
		retry   float64
	}{
		{"anything", identity.IssuedGrant{Token: "conformance-grant-for:minter|a,b", ExpiresAt: grantExpiry, GrantID: "conformance-grant-id"}, "", 0},
		{"conformance-minimal", identity.IssuedGrant{Token: "conformance-grant-for:minter|a,b", ExpiresAt: grantExpiry}, "", 0},
		{"conformance-refused", identity.IssuedGrant{}, identity.KindGrantRefused, 0},
		{"conformance-auth-unavailable", identity.IssuedGrant{}, identity.KindUnavailable, 7},
	} {
		t.Run(tt.purpose, func(t *testing.T) {
			params := identity.GrantParams{Purpose: tt.purpose, Scopes: []string{"a", "b"}, TTLSeconds: 1}
			got, err := identity.NewContract().IssueGrant.Call(t.Context(), client, params)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("grant (-want +got):\n%s", diff)
			}
			checkError(t, err, tt.kind, tt.retry)
		})
	}
}

func checkError(t *testing.T, err error, kind string, retry float64) {
	t.Helper()
	var e *vgirpc.Error
	info, _ := vgirpc.DetailOf[vgirpc.RetryInfo](err)
	switch {
	case kind == "" && err != nil:
		t.Error(err)
	case kind != "" && (!errors.As(err, &e) || e.Kind != kind || info.RetryDelaySeconds != retry):
		t.Errorf("got %v and %v, want kind %q and a delay of %v s", err, info, kind, retry)
	}
}

func TestWhoamiTellsHowACallerIsKnown(t *testing.T) {
	url := identityWorker(t, identityGrants)
	issued, err := identity.NewContract().IssueGrant.Call(t.Context(), minter(t, url),
		identity.GrantParams{Purpose: "a<b", Scopes: []string{"read"}, TTLSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	previous, err := grant.New(grant.Options{Keys: [][]byte{countingKey(0x30)}, Audience: "conformance"})
	if err != nil {
		t.Fatal(err)
	}
	old, claims, err := previous.Mint(grant.Request{Principal: "ada", TTLSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		headers []string
		want    string
		code    vgirpc.Code
	}{
		{"nobody", nil, `{"authenticated":false,"claims":{},"domain":"","principal":""}`, ""},
		{
			"by header",
			[]string{"X-Conformance-Principal", "ada", "X-Conformance-Auth-Time", "x y"},
			`{"authenticated":true,"claims":{"auth_time":"x y"},"domain":"conformance","principal":"ada"}`, "",
		},
		{
			"by grant",
			[]string{"Authorization", "Bearer " + issued.Token},
			`{"authenticated":true,"claims":{"grant_id":"` + issued.GrantID + `","purpose":"a<b","scopes":["read"]},"domain":"grant","principal":"minter"}`, "",
		},
		{
			"by a grant of the previous key",
			[]string{"Authorization", "Bearer " + old},
			`{"authenticated":true,"claims":{"grant_id":"` + claims.ID + `","purpose":"","scopes":[]},"domain":"grant","principal":"ada"}`, "",
		},
		{
			"by token",
			[]string{"Authorization", "Bearer opaque"},
			`{"authenticated":true,"claims":{"token_name":"conformance-subject"},"domain":"token","principal":"subject@conformance.example"}`, "",
		},
		{"by a broken grant", []string{"Authorization", "Bearer " + old[:len(old)-4]}, "", vgirpc.Unauthenticated},
		{"by an unknown token", []string{"Authorization", "Bearer conformance-unknown-token"}, "", vgirpc.Unauthenticated},
		{"by a token that nobody can tell", []string{"Authorization", "Bearer conformance-auth-unavailable-token"}, "", vgirpc.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := WhoamiMethod.Call(t.Context(), as(t, url, tt.headers...), vgirpc.None{})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
			if (err == nil) != (tt.code == "") || (err != nil && vgirpc.CodeOf(err) != tt.code) {
				t.Errorf("error %v, want code %q", err, tt.code)
			}
		})
	}
	t.Run("a grant mints no grant", func(t *testing.T) {
		_, err := identity.NewContract().IssueGrant.Call(t.Context(), as(t, url, "Authorization", "Bearer "+issued.Token), identity.GrantParams{TTLSeconds: 1})
		checkError(t, err, identity.KindStaleAuth, 0)
	})
}

func TestTheFixturesKeysAreThoseThatEverybodyKnows(t *testing.T) {
	got := []string{hex.EncodeToString(countingKey(0x10)), hex.EncodeToString(countingKey(0x30))}
	want := []string{
		"101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f",
		"303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnAByteStreamNobodyIsKnown(t *testing.T) {
	server, err := NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, HostStandard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hostIdentity(server, identityBoth); err != nil {
		t.Fatal(err)
	}
	client, err := vgirpc.DialServer(t.Context(), server, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	c := identity.NewContract()
	_, err = c.IntrospectToken.Call(t.Context(), client, identity.IntrospectParams{Token: "opaque"})
	checkError(t, err, identity.KindIntrospectionRefused, 0)
	_, err = c.IssueGrant.Call(t.Context(), client, identity.GrantParams{TTLSeconds: 1})
	checkError(t, err, identity.KindStaleAuth, 0)
}
