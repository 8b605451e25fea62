package spiffe_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

type number struct {
	Value int64 `vgi:"value"`
}

// adder adds up what it is sent.
type adder struct{ Sum int64 }

func (s *adder) Exchange(_ context.Context, in []number, out *vgirpc.Emitter[number]) error {
	for _, n := range in {
		s.Sum += n.Value
	}
	return out.Emit(number{s.Sum})
}

// redialer is a transport whose connections can be left behind.
type redialer struct{ atomic.Pointer[http.Transport] }

func (r *redialer) RoundTrip(out *http.Request) (*http.Response, error) {
	return r.Load().RoundTrip(out)
}

// TestCallsOverTLS: a client of the library calls a server of it, both by their
// SVIDs. A stream goes on when the client's certificate has been replaced by one
// of the same ID, and not for another workload.
func TestCallsOverTLS(t *testing.T) {
	protocol := vgirpc.NewProtocol("SVIDTest", "1.0.0")
	whoami := vgirpc.NewUnary[vgirpc.None, string](protocol, "whoami")
	sum := vgirpc.NewExchange[vgirpc.None, number, number](protocol, "sum")
	rpc := must(vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, protocol))
	vgirpc.HandleUnary(rpc, whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		return vgirpc.CallFrom(ctx).Peer().Identity.Principal, nil
	})
	vgirpc.HandleExchange(rpc, sum, func(context.Context, vgirpc.None) (*adder, error) { return &adder{}, nil })

	ca := newAuthority("example.org")
	bundles, domains := x509bundle.NewSet(ca.bundle()), []string{"example.org"}
	direct := must(spiffe.Direct(spiffe.DirectOptions{TrustDomains: domains, Bundles: bundles}))
	handler := must(httpserver.New(rpc, httpserver.Options{
		Keys: must(httpserver.NewKeyRing([]byte(strings.Repeat("k", 32)))),
		Auth: must(peer.New(peer.Options{Providers: []peer.Provider{direct}, Policy: peer.Primary(spiffe.ProviderName)})),
	}))
	server := httptest.NewUnstartedServer(handler)
	server.TLS = must(spiffe.ServerTLS(spiffe.TLSOptions{SVID: sourceOf(ca.issue(serverID, nil)), Bundles: bundles, TrustDomains: domains}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	t.Cleanup(server.Close)

	mine := sourceOf(ca.issue(workloadID, nil))
	config := must(spiffe.ClientTLS(spiffe.TLSOptions{SVID: mine, Bundles: bundles, TrustDomains: domains, IDs: []string{serverID}}))
	var connections redialer
	redial := func() { // for the next request
		pool := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
		t.Cleanup(pool.CloseIdleConnections)
		connections.Store(pool)
	}
	redial()
	tr := must(httpclient.New(server.URL, httpclient.Options{Transport: &connections}, vgirpc.ClientOptions{}))
	t.Cleanup(func() { _ = tr.Close() })
	if got, err := whoami.Call(t.Context(), tr.Client(), vgirpc.None{}); err != nil || got != workerPrincipal {
		t.Fatalf("got %q, %v", got, err)
	}
	stream, err := sum.Open(t.Context(), tr.Client(), vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		id   string
		want int64 // 0 for a refusal
	}{
		{"the certificate that opened it", "", 2},
		{"a new certificate of the same ID", workloadID, 4},
		{"another workload's", workloadID + "2", 0},
	} {
		if tt.id != "" {
			mine.Store(ca.issue(tt.id, nil))
			redial()
		}
		got, err := stream.Exchange(t.Context(), number{2})
		switch {
		case tt.want == 0 && (err == nil || !strings.Contains(err.Error(), "state token")):
			t.Errorf("%s: got %v, %v", tt.name, got, err)
		case tt.want != 0 && (err != nil || got[0].Value != tt.want):
			t.Errorf("%s: got %v, %v", tt.name, got, err)
		}
	}
}
