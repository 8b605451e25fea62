package balance_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/freeport"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/balance"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// replica is a real server behind a gateway that can be broken.
type replica struct {
	*httptest.Server
	refusing atomic.Bool  // the gateway has nobody behind it
	refused  atomic.Int64 // calls, by the gateway
	holding  atomic.Bool  // calls are not answered until the end
	held     chan struct{}
	end      chan struct{}
}

func startReplica(t *testing.T, h http.Handler) *replica {
	t.Helper()
	r := &replica{held: make(chan struct{}, 64), end: make(chan struct{})}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case r.refusing.Load():
			if req.Method == http.MethodPost {
				r.refused.Add(1)
			}
			http.Error(w, "no backend", http.StatusServiceUnavailable)
		case r.holding.Load():
			r.held <- struct{}{}
			<-r.end
		default:
			h.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// kill closes the listener and every connection.
func (r *replica) kill(t *testing.T) {
	t.Helper()
	if err := r.Listener.Close(); err != nil {
		t.Error(err)
	}
	r.CloseClientConnections()
	close(r.end)
}

// watched counts the errors of a transport that were no failed dials.
type watched struct {
	http.RoundTripper
	lost, dials atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (w *watched) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(req)
	if err != nil && req.Method == http.MethodPost {
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			w.dials.Add(1)
		} else {
			w.lost.Add(1)
		}
	}
	return resp, err
}

// round makes a call of each kind, and returns what went wrong with each.
func round(t *testing.T, c *vgitest.Contract, cl *vgirpc.Client) (failed []error) {
	t.Helper()
	check := func(got any, want any, err error) {
		if err != nil {
			failed = append(failed, err)
		} else {
			equal(t, got, want)
		}
	}
	ctx := t.Context()
	sum, err := c.Add.Call(ctx, cl, vgitest.AddParams{A: 1, B: 2})
	check(sum, 3.0, err)

	rows, err := collect(c.Count.Open(ctx, cl, vgitest.CountParams{N: 3}))
	check(rows, []vgitest.Number{{Value: 1}, {Value: 2}, {Value: 3}}, err)

	stream, err := c.Sum.Open(ctx, cl, vgirpc.None{})
	for i := int64(1); i <= 3 && err == nil; i++ {
		var out []vgitest.Number
		out, err = stream.Exchange(ctx, vgitest.Number{Value: i})
		check(out, []vgitest.Number{{Value: i * (i + 1) / 2}}, err)
	}
	if stream == nil {
		return append(failed, err)
	}
	if closeErr := stream.Close(); err == nil && closeErr != nil {
		failed = append(failed, closeErr)
	}
	return failed
}

// collect reads a producer to its end.
func collect(stream *vgirpc.ProducerStream[vgitest.Number], err error) ([]vgitest.Number, error) {
	if err != nil {
		return nil, err
	}
	var out []vgitest.Number
	for rows, err := range stream.All() {
		if err != nil {
			return out, err
		}
		out = append(out, rows...)
	}
	return out, nil
}

// TestReplicas runs calls of every kind at three servers that share their keys,
// of which one is killed and one is cut off. Nothing is lost but the calls that
// those two had been given.
func TestReplicas(t *testing.T) {
	const callers = 32
	ring, err := httpserver.NewKeyRing(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	c := vgitest.NewContract()
	var three []*replica
	var endpoints []string
	for range 3 {
		s := vgitest.NewServer(t, c, vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)})
		h, err := httpserver.New(s, httpserver.Options{Keys: ring, Replicas: 3, Prefix: "/vgi"})
		if err != nil {
			t.Fatal(err)
		}
		r := startReplica(t, h)
		three, endpoints = append(three, r), append(endpoints, r.URL+"/vgi")
	}
	pool := &http.Transport{MaxIdleConnsPerHost: callers}
	defer pool.CloseIdleConnections()
	below := &watched{RoundTripper: pool}
	lb := newTransport(t, endpoints, balance.Options{Base: "http://vgi.invalid/logical", Transport: below})
	cl, err := httpclient.Dial(t.Context(), lb.URL(), httpclient.Options{Transport: lb}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()

	// rounds has all callers make calls until over is closed and n times more.
	rounds := func(n int, over <-chan struct{}) func() []error {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var failed []error
		for range callers {
			wg.Go(func() {
				for left := n; left > 0; {
					select {
					case <-over:
						left--
					default:
					}
					errs := round(t, c, cl)
					mu.Lock()
					failed = append(failed, errs...)
					mu.Unlock()
				}
			})
		}
		return func() []error {
			wg.Wait()
			return failed
		}
	}
	now := make(chan struct{})
	close(now)

	equal(t, rounds(3, now)(), []error(nil))
	for _, s := range lb.Stats() {
		if s.Requests < 100 || s.InFlight != 0 {
			t.Errorf("%s had %d requests, has %d", s.URL, s.Requests, s.InFlight)
		}
	}
	open := openStreams(t, c, cl)

	// The first one takes calls that it will never answer, and is killed. The
	// second one is cut off meanwhile.
	killed := make(chan struct{})
	three[0].holding.Store(true)
	wait := rounds(5, killed)
	<-three[0].held
	<-three[0].held
	three[1].refusing.Store(true)
	three[0].kill(t)
	close(killed)
	lost, refused := count(t, wait())
	equal(t, []int64{lost, refused}, []int64{below.lost.Load(), three[1].refused.Load()})
	t.Logf("%d calls were lost on the one that was killed, %d refused by the other's gateway; %d dials failed, and no call for it", lost, refused, below.dials.Load())
	if lost < 2 || lost > callers || refused < 3 || refused > 4*callers {
		t.Errorf("%d lost, %d refused", lost, refused)
	}

	// From here on nothing is lost, of streams that had been open neither.
	stats := lb.Stats()
	equal(t, []bool{stats[0].Ejected, stats[1].Ejected, stats[2].Ejected}, []bool{true, true, false})
	equal(t, rounds(3, now)(), []error(nil))
	open.finish(t)
}

// count tells the calls that were lost from those that a gateway refused. All
// errors are of one of these kinds.
func count(t *testing.T, failed []error) (lost, refused int64) {
	t.Helper()
	for _, err := range failed {
		e, ok := errors.AsType[*vgirpc.Error](err)
		switch {
		case !ok || e.Code != vgirpc.Unavailable || vgirpc.IsRemote(err):
			t.Errorf("got %v", err)
		case e.Type == "ConnectionLost":
			lost++
		case e.Type == "HTTPError":
			refused++
		default:
			t.Errorf("got %s: %v", e.Type, err)
		}
	}
	return lost, refused
}

// openedStreams have had one turn each.
type openedStreams struct {
	counts []func() ([]vgitest.Number, error, bool)
	sums   []*vgirpc.ExchangeStream[vgitest.Number, vgitest.Number]
}

func openStreams(t *testing.T, c *vgitest.Contract, cl *vgirpc.Client) *openedStreams {
	t.Helper()
	s := &openedStreams{}
	for range 16 {
		count, err := c.Count.Open(t.Context(), cl, vgitest.CountParams{N: 4})
		if err != nil {
			t.Fatal(err)
		}
		next, stop := iter.Pull2(count.All())
		t.Cleanup(stop)
		rows, err, _ := next()
		if err != nil || !slices.Equal(rows, []vgitest.Number{{Value: 1}}) {
			t.Fatalf("%v, %v", rows, err)
		}
		sum, err := c.Sum.Open(t.Context(), cl, vgirpc.None{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sum.Exchange(t.Context(), vgitest.Number{Value: 5}); err != nil {
			t.Fatal(err)
		}
		s.counts, s.sums = append(s.counts, next), append(s.sums, sum)
	}
	return s
}

// finish goes on with the streams to their ends.
func (s *openedStreams) finish(t *testing.T) {
	t.Helper()
	for i := range s.counts {
		var got []vgitest.Number
		for rows, err, more := s.counts[i](); more; rows, err, more = s.counts[i]() {
			if err != nil {
				t.Error(err)
			}
			got = append(got, rows...)
		}
		equal(t, got, []vgitest.Number{{Value: 2}, {Value: 3}, {Value: 4}})
		out, err := s.sums[i].Exchange(t.Context(), vgitest.Number{Value: 6})
		if err != nil || !slices.Equal(out, []vgitest.Number{{Value: 11}}) {
			t.Errorf("%v, %v", out, err)
		}
		if err := s.sums[i].Close(); err != nil {
			t.Error(err)
		}
	}
}

// serve starts n replicas of a server and returns a client of all of them.
func serve(t *testing.T, s *vgirpc.Server, n int, opts vgirpc.ClientOptions) (*httpclient.Transport, *balance.Transport) {
	t.Helper()
	ring, err := httpserver.NewKeyRing(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	var endpoints []string
	for range n {
		h, err := httpserver.New(s, httpserver.Options{Keys: ring, Replicas: n, Sticky: &httpserver.Sticky{}})
		if err != nil {
			t.Fatal(err)
		}
		endpoints = append(endpoints, startReplica(t, connected(t, s, h)).URL)
	}
	lb := newTransport(t, endpoints, balance.Options{})
	tr, err := httpclient.New(lb.URL(), httpclient.Options{Transport: lb}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(tr.Close(), lb.Close()); err != nil { // before the servers, which wait for connections
			t.Error(err)
		}
	})
	return tr, lb
}

// connected runs OnConnect, by which the contract's tests see what a server does,
// for each request.
func connected(t *testing.T, s *vgirpc.Server, h http.Handler) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, err := s.Connect(r.Context(), &vgirpc.Peer{})
		if err != nil {
			t.Error(err)
			return
		}
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// TestContract: what a transport must do, every turn of a stream at another
// replica.
func TestContract(t *testing.T) {
	vgitest.TestTransport(t, func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
		tr, _ := serve(t, s, 3, opts)
		return tr.Client()
	})
}

// TestStickySession: a counter in the memory of one of many replicas goes on
// while other calls go everywhere.
func TestStickySession(t *testing.T) {
	p := vgirpc.NewProtocol("test.Sticky.v1", "1.0.0")
	open := vgirpc.NewUnary[vgirpc.None, vgirpc.None](p, "open")
	next := vgirpc.NewUnary[vgirpc.None, int64](p, "next")
	ping := vgirpc.NewUnary[vgirpc.None, vgirpc.None](p, "ping")
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, p)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(s, open, func(ctx context.Context, _ vgirpc.None) (vgirpc.None, error) {
		return vgirpc.None{}, httpserver.OpenSession(ctx, new(int64), 0)
	})
	vgirpc.HandleUnary(s, next, func(ctx context.Context, _ vgirpc.None) (int64, error) {
		at, ok := httpserver.Session(ctx).(*int64)
		if !ok {
			return 0, vgirpc.Errorf(vgirpc.FailedPrecondition, "no session")
		}
		*at++
		return *at, nil
	})
	vgirpc.HandleUnary(s, ping, func(context.Context, vgirpc.None) (vgirpc.None, error) { return vgirpc.None{}, nil })

	tr, lb := serve(t, s, 5, vgirpc.ClientOptions{})
	for range 5 {
		scope := tr.Session()
		cl := scope.Client()
		if _, err := open.Call(t.Context(), cl, vgirpc.None{}); err != nil {
			t.Fatal(err)
		}
		for want := range int64(10) {
			if _, err := ping.Call(t.Context(), tr.Client(), vgirpc.None{}); err != nil {
				t.Error(err)
			}
			got, err := next.Call(t.Context(), cl, vgirpc.None{})
			if err != nil || got != want+1 {
				t.Errorf("%d, %v, want %d", got, err, want+1)
			}
		}
		if err := scope.End(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, e := range lb.Stats() {
		equal(t, []any{e.InFlight, e.Failed, e.Ejected}, []any{0, uint64(0), false})
	}
}

// TestAbsentReplica: calls go past an address at which nobody listens.
func TestAbsentReplica(t *testing.T) {
	absent := "http://" + freeport.Refusing(t)
	c := vgitest.NewContract()
	h, err := httpserver.New(vgitest.NewServer(t, c, vgirpc.ServerOptions{}), httpserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lb := newTransport(t, []string{absent, startReplica(t, h).URL}, balance.Options{})
	cl, err := httpclient.Dial(t.Context(), lb.URL(), httpclient.Options{Transport: lb}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		equal(t, round(t, c, cl), []error(nil))
	}
	first := lb.Stats()[0]
	equal(t, []any{first.Requests, first.Failed, first.Ejected}, []any{uint64(3), uint64(3), true})
	if err := errors.Join(cl.Close(), lb.Close()); err != nil {
		t.Error(err)
	}
}
