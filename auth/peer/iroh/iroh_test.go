package iroh_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/peer/iroh"
)

const endpoint = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func provider(t *testing.T) *iroh.Provider {
	t.Helper()
	p, err := iroh.New(iroh.Options{Issuer: "production-mesh", Bridges: []string{"::ffff:127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func forwarded(addr string, header http.Header) *peer.Snapshot {
	return &peer.Snapshot{Transport: "http", Immediate: netip.MustParseAddr(addr), Header: header}
}

// ahead is a request with an endpoint in its header, over a connection that the
// bridge has named another for, or the same.
func ahead(connection string) *peer.Snapshot {
	s := forwarded("127.0.0.1", http.Header{iroh.Header: {endpoint}})
	s.IrohEndpoint = connection
	return s
}

func TestWhatTheBridgeSays(t *testing.T) {
	named := http.Header{iroh.Header: {endpoint}}
	for _, tt := range []struct {
		name     string
		snapshot *peer.Snapshot
		want     peer.Status
	}{
		{"an endpoint", forwarded("127.0.0.1", named), peer.Available},
		{"an endpoint ahead of a connection", &peer.Snapshot{Transport: "tcp", Immediate: netip.MustParseAddr("127.0.0.1"), IrohEndpoint: endpoint}, peer.Available},
		{"from anybody", forwarded("192.0.2.1", named), peer.UntrustedProxy},
		{"ahead of anybody's connection", &peer.Snapshot{Transport: "tcp", Immediate: netip.MustParseAddr("192.0.2.1"), IrohEndpoint: endpoint}, peer.UntrustedProxy},
		{"over a Unix socket", &peer.Snapshot{Transport: "http", Unix: true, Header: named}, peer.UntrustedProxy},
		{"nothing", forwarded("127.0.0.1", nil), peer.NoMatch},
		{"nothing ahead of a connection", &peer.Snapshot{Transport: "tcp", Immediate: netip.MustParseAddr("127.0.0.1")}, peer.NoMatch},
		{"nothing but the connection, over HTTP", &peer.Snapshot{Transport: "http", Immediate: netip.MustParseAddr("127.0.0.1"), IrohEndpoint: endpoint}, peer.NoMatch},
		{"what the connection says as well", ahead(endpoint), peer.Available},
		{"another than the connection's", ahead(strings.Repeat("f", 64)), peer.Invalid},
		{"an endpoint twice", forwarded("127.0.0.1", http.Header{iroh.Header: {endpoint, endpoint}}), peer.Invalid},
		{"an endpoint in capitals", forwarded("127.0.0.1", http.Header{iroh.Header: {strings.ToUpper(endpoint)}}), peer.Invalid},
		{"half an endpoint", forwarded("127.0.0.1", http.Header{iroh.Header: {"00"}}), peer.Invalid},
		{"an empty header", forwarded("127.0.0.1", http.Header{iroh.Header: {""}}), peer.Invalid},
		{"an endpoint and a tab", forwarded("127.0.0.1", http.Header{iroh.Header: {endpoint + "\t"}}), peer.Invalid},
		{"two endpoints in one", forwarded("127.0.0.1", http.Header{iroh.Header: {endpoint + "," + endpoint}}), peer.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := provider(t).Resolve(t.Context(), tt.snapshot)
			if got.Status != tt.want {
				t.Fatalf("got %s, want %s", got.Status, tt.want)
			}
			if got.Status != peer.Available {
				return
			}
			attributes, err := peer.NewObject(map[string]any{"original_assurance": "cryptographic_peer"})
			if err != nil {
				t.Fatal(err)
			}
			want := []peer.Identity{{
				Provider: "iroh", Source: map[string]string{"http": "http_proxy", "tcp": "proxy_v2"}[tt.snapshot.Transport],
				Assurance: peer.ConfiguredProxy, Issuer: "production-mesh", Transport: tt.snapshot.Transport,
				Kind: peer.Endpoint, Subject: endpoint, Stability: peer.Stable, Verified: true, Attributes: attributes,
				SourceAddr: endpoint, ProxyAddr: "127.0.0.1",
			}}
			if diff := cmp.Diff(want, got.Identities, cmp.AllowUnexported(peer.Object{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for name, opts := range map[string]iroh.Options{
		"no issuer":            {Bridges: []string{"127.0.0.1"}},
		"an issuer with a tab": {Issuer: "a\tb", Bridges: []string{"127.0.0.1"}},
		"no bridge":            {Issuer: "a"},
		"a name":               {Issuer: "a", Bridges: []string{"localhost"}},
		"a bridge twice":       {Issuer: "a", Bridges: []string{"127.0.0.1", "::ffff:127.0.0.1"}},
	} {
		if _, err := iroh.New(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
