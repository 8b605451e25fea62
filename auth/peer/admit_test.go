package peer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// addressed is a connection with addresses and nothing else.
type addressed struct {
	net.Conn
	from, to net.Addr
}

func (c addressed) RemoteAddr() net.Addr { return c.from }
func (c addressed) LocalAddr() net.Addr  { return c.to }

// secured is one with TLS.
type secured struct{ addressed }

func (secured) ConnectionState() tls.ConnectionState { return tls.ConnectionState{ServerName: "a"} }

func tcpAddr(text string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

func TestSnapshotsOfConnections(t *testing.T) {
	overTCP := addressed{from: tcpAddr("[::ffff:10.0.0.8]:1"), to: tcpAddr("10.0.0.1:9400")}
	for _, tt := range []struct {
		name   string
		kind   vgirpc.TransportKind
		change func(*vgirpc.Admission)
		conn   net.Conn
		want   peer.Snapshot
	}{
		{"over TCP", vgirpc.TransportTCP, nil, overTCP, peer.Snapshot{
			Transport: "tcp", Immediate: netip.MustParseAddr("10.0.0.8"), Source: "10.0.0.8:1", Destination: "10.0.0.1:9400", Service: "svc:a",
		}},
		{"behind a proxy", vgirpc.TransportTCP, func(a *vgirpc.Admission) {
			a.Forwarded = &vgirpc.Forwarded{Source: netip.MustParseAddrPort("100.64.0.7:4"), Destination: netip.MustParseAddrPort("100.64.0.1:443")}
		}, overTCP, peer.Snapshot{
			Transport: "tcp", Immediate: netip.MustParseAddr("10.0.0.8"), Source: "10.0.0.8:1", Asserted: "100.64.0.7:4",
			Destination: "100.64.0.1:443", Service: "svc:a",
		}},
		{"with TLS", vgirpc.TransportTCP, func(a *vgirpc.Admission) { a.Conn = secured{overTCP} }, overTCP, peer.Snapshot{
			Transport: "tcp", Immediate: netip.MustParseAddr("10.0.0.8"), Source: "10.0.0.8:1", Destination: "10.0.0.1:9400", Service: "svc:a",
			TLS: &tls.ConnectionState{ServerName: "a"},
		}},
		{"over a Unix socket", vgirpc.TransportUnix, nil, addressed{from: &net.UnixAddr{}, to: &net.UnixAddr{}}, peer.Snapshot{Transport: "unix", Unix: true, Service: "svc:a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := vgirpc.NewAdmission(tt.conn, &vgirpc.Peer{Kind: tt.kind})
			if tt.change != nil {
				tt.change(a)
			}
			got := *peer.FromAdmission(a, "svc:a")
			opts := []cmp.Option{
				cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.IgnoreUnexported(tls.ConnectionState{}),
				cmpopts.IgnoreFields(peer.Snapshot{}, "Metadata"),
			}
			if diff := cmp.Diff(tt.want, got, opts...); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// ending is a provider whose subject ends.
func ending(name string, at time.Time) fake {
	return fake{name, func(context.Context, *peer.Snapshot) peer.Result {
		i := subject(name, "key")
		i.Until = at
		return peer.Result{Status: peer.Available, Identities: []peer.Identity{i}}
	}}
}

func TestConnectionsAreAdmittedByEvidence(t *testing.T) {
	alice := vgirpc.Identity{Domain: "hmac", Principal: "alice", Authenticated: true}
	soon, later := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	type outcome struct {
		Principal string
		Until     time.Time
		Code      vgirpc.Code
		Kind      string
	}
	const principal = "peer/a/issuer/key"
	for _, tt := range []struct {
		name        string
		providers   []peer.Provider
		policy      peer.Policy
		application vgirpc.Identity
		want        outcome
	}{
		{"by who the peer is", []peer.Provider{ending("a", soon)}, peer.Primary("a"), vgirpc.Identity{}, outcome{Principal: principal, Until: soon}},
		{"until the first evidence ends", []peer.Provider{ending("a", later), ending("b", soon)}, all(peer.AllOfOptions{Providers: []string{"a", "b"}}), alice, outcome{Principal: principal, Until: soon}},
		{"whatever ends that is not needed", []peer.Provider{ending("a", later), ending("b", soon)}, peer.Primary("a"), vgirpc.Identity{}, outcome{Principal: principal, Until: later}},
		{"by what was proven before, beside evidence", []peer.Provider{ending("a", soon)}, peer.Require("a"), alice, outcome{Principal: "alice", Until: soon}},
		{"anybody, whom one looks at", []peer.Provider{ending("a", soon)}, peer.Observe(), vgirpc.Identity{}, outcome{}},
		{"what was proven before stays when one looks", []peer.Provider{ending("a", soon)}, peer.Observe(), alice, outcome{Principal: "alice"}},
		{"not without what was to be proven", []peer.Provider{ending("a", soon)}, all(peer.AllOfOptions{Providers: []string{"a"}}), vgirpc.Identity{}, outcome{Code: vgirpc.Unauthenticated, Kind: "missing_credential"}},
		{"not without evidence", []peer.Provider{status("a", peer.NoMatch)}, peer.Primary("a"), alice, outcome{Code: vgirpc.Unauthenticated, Kind: "missing_credential"}},
		{"not by evidence that is rejected", []peer.Provider{status("a", peer.Invalid)}, peer.Require("a"), alice, outcome{Code: vgirpc.Unauthenticated, Kind: "invalid_credential"}},
		{"not by a proxy that is not trusted", []peer.Provider{status("a", peer.UntrustedProxy)}, peer.Require("a"), alice, outcome{Code: vgirpc.Unauthenticated, Kind: "proxy_required"}},
		{"not while the authority is out of reach", []peer.Provider{status("a", peer.Unavailable)}, peer.Require("a"), alice, outcome{Code: vgirpc.Unavailable}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			authenticator := must(peer.New(peer.Options{Providers: tt.providers, Policy: tt.policy}))
			a := vgirpc.NewAdmission(addressed{from: tcpAddr("10.0.0.8:1"), to: tcpAddr("10.0.0.1:2")}, &vgirpc.Peer{Identity: tt.application})
			err := authenticator.Admit(t.Context(), a)
			var got outcome
			if e, ok := errors.AsType[*vgirpc.Error](err); ok {
				got = outcome{Code: e.Code, Kind: e.Kind}
				if strings.Contains(e.Message, "provider") {
					t.Errorf("the peer learns %q", e.Message)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				got = outcome{Principal: a.Peer.Identity.Principal, Until: a.Until()}
				if peer.EvidenceOf(a.Peer.Identity) == nil {
					t.Error("there is no evidence")
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// claiming is an admitter that lets a connection in with claims of its peer's.
type claiming map[string]any

func (c claiming) Admit(_ context.Context, ad *vgirpc.Admission) error {
	ad.Vouch(vgirpc.Identity{Domain: "hmac", Principal: "alice", Authenticated: true, Claims: c})
	return nil
}

func TestWhatAdmittersBeforeClaimIsNoEvidence(t *testing.T) {
	forged := must(peer.NewEvidence(map[string]peer.Result{"forged": {Status: peer.Available, Identities: []peer.Identity{subject("forged", "key")}}}))
	earlier := map[string]any{"team": "a", peer.BindingClaim: "forged", peer.EvidenceClaim: forged}
	either := must(peer.AnyOf("a"))
	for name, policy := range map[string]peer.Policy{"observe": peer.Observe(), "require": peer.Require("a"), "primary": peer.Primary("a"), "any": either} {
		t.Run(name, func(t *testing.T) {
			var got vgirpc.Identity
			contract := vgirpc.NewProtocol("test.Claims", "1.0.0")
			who := vgirpc.NewUnary[vgirpc.None, string](contract, "who")
			server := must(vgirpc.NewServer(vgirpc.ServerOptions{Conns: vgirpc.ConnOptions{Admit: []vgirpc.Admitter{
				claiming(earlier), must(peer.New(peer.Options{Providers: []peer.Provider{found("a", "key")}, Policy: policy})),
			}}}, contract))
			vgirpc.HandleUnary(server, who, func(ctx context.Context, _ vgirpc.None) (string, error) {
				got = vgirpc.CallFrom(ctx).Peer().Identity
				return got.Principal, nil
			})
			l := must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- server.Serve(ctx, l) }()
			defer func() {
				cancel()
				<-served
			}()
			client := vgirpc.NewClient(must(new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())), vgirpc.ClientOptions{})
			defer func() { _ = client.Close() }()
			if _, err := who.Call(ctx, client, vgirpc.None{}); err != nil {
				t.Fatal(err)
			}
			if got.Claims["team"] != "a" {
				t.Errorf("the claims are %v", got.Claims)
			}
			if got.Claims[peer.BindingClaim] == "forged" || peer.EvidenceOf(got).Status("forged") != peer.Off {
				t.Errorf("what the connection's peer claims counts: %v", got.Claims)
			}
			if earlier[peer.BindingClaim] != "forged" {
				t.Error("the claims of another were changed")
			}
		})
	}
}
