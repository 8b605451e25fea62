package peer_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth"
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

// service says who calls, and keeps state in streams and sessions.
type service struct {
	protocol *vgirpc.Protocol
	whoami   *vgirpc.Unary[vgirpc.None, string]
	sum      *vgirpc.Exchange[vgirpc.None, number, number]
	keep     *vgirpc.Unary[vgirpc.None, vgirpc.None]
	kept     *vgirpc.Unary[vgirpc.None, string]
}

func newService() *service {
	p := vgirpc.NewProtocol("PeerTest", "1.0.0")
	return &service{
		p, vgirpc.NewUnary[vgirpc.None, string](p, "whoami"), vgirpc.NewExchange[vgirpc.None, number, number](p, "sum"),
		vgirpc.NewUnary[vgirpc.None, vgirpc.None](p, "keep"), vgirpc.NewUnary[vgirpc.None, string](p, "kept"),
	}
}

// site is the service behind Envoy, as which its client plays.
type site struct {
	*service

	server    *httptest.Server
	transport *httpclient.Transport
	caller    atomic.Value // the headers of who calls, "" for none of them
	bearer    atomic.Value
}

func newSite(t *testing.T, policy peer.Policy, inner auth.Authenticator) *site {
	t.Helper()
	s := &site{service: newService()}
	rpc := must(vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, s.protocol))
	vgirpc.HandleUnary(rpc, s.whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		id := vgirpc.CallFrom(ctx).Peer().Identity
		return peer.EvidenceOf(id).String() + " " + id.Principal, nil
	})
	vgirpc.HandleExchange(rpc, s.sum, func(context.Context, vgirpc.None) (*adder, error) { return &adder{}, nil })
	vgirpc.HandleUnary(rpc, s.keep, func(ctx context.Context, _ vgirpc.None) (vgirpc.None, error) {
		return vgirpc.None{}, httpserver.OpenSession(ctx, "kept", 0)
	})
	vgirpc.HandleUnary(rpc, s.kept, func(ctx context.Context, _ vgirpc.None) (string, error) {
		text, _ := httpserver.Session(ctx).(string)
		return text, nil
	})
	envoy := must(spiffe.Envoy(spiffe.EnvoyOptions{ProxyOptions: spiffe.ProxyOptions{
		TrustDomains: []string{"example.org"}, Proxies: []string{"127.0.0.1"},
	}}))
	authenticator := must(peer.New(peer.Options{Providers: []peer.Provider{envoy}, Policy: policy, Inner: inner}))
	handler := must(httpserver.New(rpc, httpserver.Options{
		Auth: authenticator, Sticky: &httpserver.Sticky{},
		Keys: must(httpserver.NewKeyRing([]byte(strings.Repeat("k", 32)))),
	}))
	s.server = httptest.NewServer(handler)
	t.Cleanup(s.server.Close)
	s.caller.Store("")
	s.bearer.Store("")
	s.transport = must(httpclient.New(s.server.URL, httpclient.Options{
		MaxResponseBytes: -1,
		Authorize: func(_ context.Context, header http.Header) error {
			if id := s.caller.Load().(string); id != "" {
				header.Set("X-Forwarded-Client-Cert", "Hash="+strings.Repeat("0a", 32)+";URI="+id)
			}
			if token := s.bearer.Load().(string); token != "" {
				header.Set("Authorization", "Bearer "+token)
			}
			return nil
		},
	}, vgirpc.ClientOptions{}))
	t.Cleanup(func() { _ = s.transport.Close() })
	return s
}

const (
	workerOne = "spiffe://example.org/one"
	workerTwo = "spiffe://example.org/two"
)

// as plays the caller with this ID and this token from now on.
func (s *site) as(id, bearer string) {
	s.caller.Store(id)
	s.bearer.Store(bearer)
}

func TestThroughAServer(t *testing.T) {
	s := newSite(t, peer.Primary("spiffe"), nil)
	call := func() (string, error) { return s.whoami.Call(t.Context(), s.transport.Client(), vgirpc.None{}) }
	s.as(workerOne, "")
	const want = "spiffe:available peer/spiffe/spiffe%3A%2F%2Fexample.org/spiffe%3A%2F%2Fexample.org%2Fone"
	if got, err := call(); err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	for name, id := range map[string]string{"nothing": "", "another domain": "spiffe://other.org/one", "a second URI": workerOne + ";URI=" + workerTwo} {
		s.as(id, "")
		_, err := call()
		if refused, ok := errors.AsType[*httpclient.UnauthorizedError](err); !ok {
			t.Errorf("%s: got %v", name, err)
		} else if strings.Contains(refused.Error(), "example.org") {
			t.Errorf("%s: the refusal tells what was found: %v", name, err)
		}
	}
}

// TestStateIsItsPeers: a stream or a session that one peer has opened is refused
// to every other, whatever policy named the peer, and goes on for the first.
func TestStateIsItsPeers(t *testing.T) {
	bearer := auth.Func(func(r *http.Request) (vgirpc.Identity, error) {
		name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return vgirpc.Identity{}, &auth.Failure{Reason: auth.MissingCredential}
		}
		return vgirpc.Identity{Domain: "bearer", Principal: name, Authenticated: true}, nil
	})
	type caller struct{ id, bearer string }
	for _, tt := range []struct {
		name   string
		policy peer.Policy
		inner  auth.Authenticator
		owner  caller
		others []caller
	}{
		{"a peer that is the caller", peer.Primary("spiffe"), nil, caller{workerOne, ""}, []caller{{workerTwo, ""}}},
		{"a peer beside an anonymous caller", peer.Require("spiffe"), nil, caller{workerOne, ""}, []caller{{workerTwo, ""}}},
		{
			"a peer beside a caller", peer.Require("spiffe"), bearer,
			caller{workerOne, "alice"},
			[]caller{{workerTwo, "alice"}, {workerOne, "bob"}, {workerTwo, "bob"}},
		},
		{
			"a peer and a caller, linked", all(peer.AllOfOptions{Providers: []string{"spiffe"}}), bearer,
			caller{workerOne, "alice"},
			[]caller{{workerTwo, "alice"}, {workerOne, "bob"}},
		},
		{
			"a peer or a caller", must(peer.AnyOf("spiffe")), bearer,
			caller{workerOne, ""},
			[]caller{{workerTwo, ""}, {workerOne, "alice"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, tt.policy, tt.inner)
			s.as(tt.owner.id, tt.owner.bearer)
			for _, other := range tt.others {
				stream, err := s.sum.Open(t.Context(), s.transport.Client(), vgirpc.None{})
				if err != nil {
					t.Fatal(err)
				}
				if got, err := stream.Exchange(t.Context(), number{2}); err != nil || got[0].Value != 2 {
					t.Fatalf("got %v, %v", got, err)
				}
				s.as(other.id, other.bearer)
				if got, err := stream.Exchange(t.Context(), number{3}); err == nil || !strings.Contains(err.Error(), "state token") {
					t.Errorf("%v went on with the stream, and got %v, %v", other, got, err)
				}
				s.as(tt.owner.id, tt.owner.bearer)
			}
			session := s.transport.Session()
			if _, err := s.keep.Call(t.Context(), session.Client(), vgirpc.None{}); err != nil {
				t.Fatal(err)
			}
			token, echo := session.Detach()
			resume := func() (string, error) {
				resumed := must(s.transport.Resume(token, echo))
				return s.kept.Call(t.Context(), resumed.Client(), vgirpc.None{})
			}
			for _, other := range tt.others {
				s.as(other.id, other.bearer)
				if got, err := resume(); !errors.Is(err, &vgirpc.Error{Kind: vgirpc.KindSessionLost}) {
					t.Errorf("%v went on with the session, and got %q, %v", other, got, err)
				}
			}
			s.as(tt.owner.id, tt.owner.bearer)
			if got, err := resume(); err != nil || got != "kept" {
				t.Errorf("its own session: got %q, %v", got, err)
			}
		})
	}
}

// TestLinesOnTheWire: what a client writes beside the proxy's header, in
// whatever spelling, is seen as such.
func TestLinesOnTheWire(t *testing.T) {
	s := newSite(t, peer.Primary("spiffe"), nil)
	good := "Hash=" + strings.Repeat("0a", 32) + ";URI=" + workerOne
	evil := "Hash=" + strings.Repeat("0a", 32) + ";URI=" + workerTwo
	for _, tt := range []struct {
		name  string
		lines []string
		want  int
	}{
		{"the proxy's line", []string{"X-Forwarded-Client-Cert: " + good}, http.StatusOK},
		{"the proxy's line in lower case", []string{"x-forwarded-client-cert: " + good}, http.StatusOK},
		{"another behind it", []string{"X-Forwarded-Client-Cert: " + good, "X-Forwarded-Client-Cert: " + evil}, http.StatusUnauthorized},
		{"another in front, in another case", []string{"x-FORWARDED-client-CERT: " + evil, "X-Forwarded-Client-Cert: " + good}, http.StatusUnauthorized},
		{"the same again", []string{"X-Forwarded-Client-Cert: " + good, "X-Forwarded-Client-Cert: " + good}, http.StatusUnauthorized},
		{"an empty one", []string{"X-Forwarded-Client-Cert:", "X-Forwarded-Client-Cert: " + good}, http.StatusUnauthorized},
		{"another with underscores", []string{"X_Forwarded_Client_Cert: " + evil, "X-Forwarded-Client-Cert: " + good}, http.StatusOK},
		{"underscores alone", []string{"X_Forwarded_Client_Cert: " + evil}, http.StatusUnauthorized},
		{"an escape in the name", []string{"X-Forwarded-Client%2DCert: " + evil}, http.StatusUnauthorized},
		{"a comma and another element", []string{"X-Forwarded-Client-Cert: " + evil + "," + good}, http.StatusUnauthorized},
		{"another on a folded line", []string{"X-Forwarded-Client-Cert: " + good, " ," + evil}, http.StatusUnauthorized},
		{"a blank before the colon", []string{"X-Forwarded-Client-Cert : " + good}, http.StatusBadRequest},
		{"one as a trailer that is announced", []string{"Trailer: X-Forwarded-Client-Cert"}, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var dialer net.Dialer
			conn, err := dialer.DialContext(t.Context(), "tcp", s.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			head := append([]string{"GET / HTTP/1.1", "Host: worker", "Accept: text/html", "Connection: close"}, tt.lines...)
			if _, err := io.WriteString(conn, strings.Join(head, "\r\n")+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("got %s, want %d", resp.Status, tt.want)
			}
		})
	}
}
