package httpclient_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

// reference starts the reference worker on HTTP and returns its base URL.
func reference(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"-W", "ignore", "../../conformance/reference/reference_worker.py"}, args...)
	cmd := exec.Command(pyref.Python(t), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = cmd.Wait()                          // of the signal
		if t.Failed() {
			t.Logf("the reference worker said:\n%s", stderr.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the reference worker did not start: %v", err)
	}
	return "http://127.0.0.1:" + strings.TrimPrefix(strings.TrimSpace(line), "PORT:")
}

// logs collects the messages of methods.
type logs struct {
	mu   sync.Mutex
	seen []vgirpc.LogMessage
}

func (l *logs) add(_ context.Context, m vgirpc.LogMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, m)
}

// take returns level and text of what was collected since the last time.
func (l *logs) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, m := range l.seen {
		out = append(out, string(m.Level)+" "+m.Message)
	}
	l.seen = nil
	return out
}

// TestReference calls the Python reference worker.
func TestReference(t *testing.T) {
	testServer(t, reference(t, "--http", "0", "--no-call-state-cache")) // so that a forgotten call token shows
}

// TestServer calls the server of this module.
func TestServer(t *testing.T) {
	s, err := conformance.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, conformance.HostStandard)
	noError(t, err)
	h, err := httpserver.New(s, httpserver.Options{
		CallCache: -1,
		Sticky:    &httpserver.Sticky{EchoHeaders: map[string]string{"X-Vgi-Conformance-Echo": "conformance-fixed-marker"}},
	})
	noError(t, err)
	srv := httptest.NewUnstartedServer(h)
	ctx := conformance.WithCancelProbe(t.Context(), conformance.NewCancelProbe(""))
	srv.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	srv.Start()
	defer srv.Close()
	testServer(t, srv.URL)
}

func testServer(t *testing.T, url string) {
	t.Helper()
	for name, opts := range map[string]httpclient.Options{
		"with the defaults":                          {},
		"with every body compressed":                 {CompressAbove: 1},
		"with gzip responses":                        {AcceptEncodings: []string{"gzip"}, Compression: -1},
		"without any compression":                    {AcceptEncodings: []string{}, Compression: -1},
		"without a response limit":                   {MaxResponseBytes: -1},
		"over a round tripper that the caller gives": {Transport: http.DefaultTransport},
	} {
		t.Run(name, func(t *testing.T) {
			var l logs
			tr := newTransport(t, url, opts, vgirpc.ClientOptions{OnLog: l.add})
			testUnary(t, tr.Client(), &l)
			testProducers(t, tr, &l)
			testExchanges(t, tr.Client(), &l)
			testCancel(t, tr.Client())
			testResume(t, tr, newTransport(t, url, opts, vgirpc.ClientOptions{OnLog: l.add}), &l)
			testSessions(t, tr)
			testReflection(t, tr)
		})
	}
}

func testUnary(t *testing.T, c *vgirpc.Client, l *logs) {
	t.Run("a value comes back as it went out", func(t *testing.T) {
		for _, text := range []string{"", "héllo", strings.Repeat("long ", 1<<20)} {
			got, err := conformance.EchoString.Call(t.Context(), c, conformance.Value[string]{Value: text})
			noError(t, err)
			if got != text {
				t.Errorf("got %d bytes, want %d", len(got), len(text))
			}
		}
	})
	t.Run("a void method returns", func(t *testing.T) {
		_, err := conformance.VoidNoop.Call(t.Context(), c, vgirpc.None{})
		noError(t, err)
	})
	t.Run("logs arrive before the result, with a request id", func(t *testing.T) {
		l.take()
		_, err := conformance.EchoWithMultiLogs.Call(httpclient.WithRequestID(t.Context(), "id-1"), c, conformance.Value[string]{Value: "x"})
		noError(t, err)
		if len(l.seen) != 3 || l.seen[0].RequestID != "id-1" {
			t.Errorf("got %+v", l.seen)
		}
		l.take()
	})
	t.Run("a method's error is the server's", func(t *testing.T) {
		_, err := conformance.RaiseValueError.Call(httpclient.WithRequestID(t.Context(), "id-2"), c, conformance.MessageParams{Message: "boom"})
		var e *vgirpc.Error
		if !errors.As(err, &e) || !vgirpc.IsRemote(err) {
			t.Fatalf("got %v", err)
		}
		equal(t, []string{e.Type, e.Message, e.RequestID}, []string{"ValueError", "boom", "id-2"})
	})
	t.Run("many calls run at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range int64(16) {
			wg.Go(func() {
				got, err := conformance.EchoInt.Call(t.Context(), c, conformance.Value[int64]{Value: i})
				if err != nil || got != i {
					t.Errorf("got %d, %v, want %d", got, err, i)
				}
			})
		}
		wg.Wait()
	})
}

func testProducers(t *testing.T, tr *httpclient.Transport, l *logs) {
	ctx, c := t.Context(), tr.Client()
	want := []conformance.CounterRow{{Index: 0, Value: 0}, {Index: 1, Value: 10}, {Index: 2, Value: 20}}
	t.Run("a producer sends its batches and ends", func(t *testing.T) {
		for n := range int64(4) {
			s, err := conformance.ProduceN.Open(ctx, c, conformance.CountParams{Count: n})
			noError(t, err)
			got, err := collect(t, s)
			noError(t, err)
			equal(t, len(got), int(n))
			equal(t, append([]conformance.CounterRow{}, got...), append([]conformance.CounterRow{}, want[:n]...))
		}
	})
	t.Run("a producer's header and logs come first", func(t *testing.T) {
		l.take()
		s, h, err := conformance.ProduceWithHeaderAndLogs.OpenHeader(ctx, c, conformance.CountParams{Count: 3})
		noError(t, err)
		equal(t, h.TotalExpected, int64(3))
		equal(t, l.take(), []string{"INFO stream init log"})
		got, err := collect(t, s)
		noError(t, err)
		equal(t, got, want)
	})
	t.Run("a header of every type", func(t *testing.T) {
		s, h, err := conformance.ProduceWithRichHeader.OpenHeader(ctx, c, conformance.SeedCountParams{Seed: 4, Count: 2})
		noError(t, err)
		equal(t, h, conformance.NewRichHeader(4))
		got, err := collect(t, s)
		noError(t, err)
		equal(t, len(got), 2)
	})
	t.Run("large batches", func(t *testing.T) {
		s, err := conformance.ProduceLargeBatches.Open(ctx, c, conformance.LargeParams{RowsPerBatch: 20_000, BatchCount: 3})
		noError(t, err)
		got, err := collect(t, s)
		noError(t, err)
		equal(t, len(got), 60_000)
		equal(t, got[59_999].Value != got[0].Value, true)
	})
	t.Run("a batch stays what it was after the next turn was read", func(t *testing.T) {
		s, err := conformance.ProduceN.Open(ctx, c, conformance.CountParams{Count: 3})
		noError(t, err)
		var kept []int64
		for b, err := range s.Batches() {
			noError(t, err)
			rec, err := b.Record()
			noError(t, err)
			defer rec.Release()
			equal(t, b.Meta.Has(wire.KeyStreamState) || b.Meta.Has(wire.KeyCallState), false)
			kept = append(kept, wire.Values[int64](&b.Cols[1])...)
		}
		equal(t, kept, []int64{0, 10, 20})
	})
	t.Run("an error in the middle ends the stream", func(t *testing.T) {
		s, err := conformance.ProduceErrorMidStream.Open(ctx, c, conformance.EmitParams{EmitBeforeError: 2})
		noError(t, err)
		got, err := collect(t, s)
		equal(t, got, want[:2])
		equal(t, vgirpc.IsRemote(err), true)
		for range s.All() {
			t.Error("the stream goes on")
		}
	})
	t.Run("an error at the opening comes with the first turn", func(t *testing.T) {
		s, err := conformance.ProduceErrorOnInit.Open(ctx, c, vgirpc.None{})
		noError(t, err)
		_, err = collect(t, s)
		equal(t, vgirpc.IsRemote(err), true)
		s, err = conformance.ProduceErrorOnInit.Open(ctx, c, vgirpc.None{})
		noError(t, err)
		equal(t, vgirpc.IsRemote(s.Close()), true)
	})
	t.Run("the metadata of every tick arrives, of the first as well", func(t *testing.T) { testTicks(t, tr) })
}

// turns is a transport that hands out its streams.
type turns struct {
	vgirpc.Transport
	open func(vgirpc.TurnStream)
}

func (r turns) Open(ctx context.Context, req *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	s, err := r.Transport.Open(ctx, req)
	r.open(s)
	return s, err
}

func testTicks(t *testing.T, tr *httpclient.Transport) {
	t.Helper()
	var ts vgirpc.TurnStream
	c := vgirpc.NewClientOn(turns{tr, func(s vgirpc.TurnStream) { ts = s }}, vgirpc.ClientOptions{})
	_, err := conformance.ProduceTickMetadata.Open(t.Context(), c, conformance.CountParams{Count: 2})
	noError(t, err)
	for _, want := range []string{"first", "second"} {
		tick := wire.EmptyBatch(wire.EmptySchema(), wire.Metadata{{Key: "vgi.conformance.tick", Value: want}})
		b, err := ts.Turn(t.Context(), &tick)
		noError(t, err)
		equal(t, string(b.Cols[1].Data), want)
	}
	noError(t, ts.Close(t.Context()))
}

// testResume opens streams on one transport and goes on with them on another.
func testResume(t *testing.T, tr, other *httpclient.Transport, l *logs) {
	t.Helper()
	ctx := t.Context()
	tick := wire.EmptyBatch(wire.EmptySchema(), nil)
	var ts vgirpc.TurnStream
	c := vgirpc.NewClientOn(turns{tr, func(s vgirpc.TurnStream) { ts = s }}, vgirpc.ClientOptions{})
	turn := func(t *testing.T, s vgirpc.TurnStream, want int64) {
		t.Helper()
		b, err := s.Turn(ctx, &tick)
		noError(t, err)
		equal(t, wire.Values[int64](&b.Cols[0])[0], want)
	}
	t.Run("a producer goes on elsewhere from its tokens, any number of times", func(t *testing.T) {
		_, err := conformance.ProduceWithLogs.Open(ctx, c, conformance.CountParams{Count: 3})
		noError(t, err)
		first := ts
		_, ok := httpclient.Tokens(first)
		equal(t, ok, false)
		turn(t, first, 0)
		tokens, ok := httpclient.Tokens(first)
		equal(t, ok, true)
		noError(t, first.Close(ctx))
		l.take()
		for range 2 {
			s, err := other.ResumeStream(ctx, conformance.ProduceWithLogs.Method, tokens)
			noError(t, err)
			turn(t, s, 1)
			turn(t, s, 2)
			_, err = s.Turn(ctx, &tick)
			equal(t, errors.Is(err, io.EOF), true)
			_, ok := httpclient.Tokens(s)
			equal(t, ok, false)
			equal(t, l.take(), []string{"INFO producing batch 1", "INFO producing batch 2"})
		}
	})
	t.Run("a producer with a header has no tokens before its first batch was read", func(t *testing.T) {
		p, err := conformance.ProduceWithHeader.Open(ctx, c, conformance.CountParams{Count: 2})
		noError(t, err)
		_, ok := httpclient.Tokens(ts)
		equal(t, ok, false)
		turn(t, ts, 0)
		_, ok = httpclient.Tokens(ts)
		equal(t, ok, true)
		noError(t, p.Close())
	})
	t.Run("an exchange goes on elsewhere from its tokens", func(t *testing.T) {
		s, err := conformance.ExchangeAccumulate.Open(ctx, c, vgirpc.None{})
		noError(t, err)
		_, err = s.Exchange(ctx, conformance.FloatRow{Value: 5})
		noError(t, err)
		tokens, ok := httpclient.Tokens(ts)
		equal(t, ok, true)
		moved, err := other.ResumeStream(ctx, conformance.ExchangeAccumulate.Method, tokens)
		noError(t, err)
		schema, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Float64}}, nil))
		noError(t, err)
		in := wire.Batch{Schema: schema, Rows: 1, Cols: []wire.Column{{Rows: 1, Data: wire.Bytes([]float64{2})}}}
		out, err := moved.Turn(ctx, &in)
		noError(t, err)
		equal(t, wire.Values[float64](&out.Cols[0])[0], float64(7))
		noError(t, moved.Cancel(ctx))
	})
	t.Run("tokens that are none are refused by the server, and no tokens here", func(t *testing.T) {
		s, err := other.Session().ResumeStream(ctx, conformance.ProduceN.Method, httpclient.StreamTokens{Cursor: "forged", Call: "forged"})
		noError(t, err)
		_, err = s.Turn(ctx, &tick)
		equal(t, vgirpc.IsRemote(err), true)
		_, err = other.ResumeStream(ctx, conformance.ProduceN.Method, httpclient.StreamTokens{})
		equal(t, vgirpc.CodeOf(err), vgirpc.InvalidArgument)
	})
}

func testExchanges(t *testing.T, c *vgirpc.Client, l *logs) {
	ctx := t.Context()
	t.Run("an exchange answers each input", func(t *testing.T) {
		s, err := conformance.ExchangeAccumulate.Open(ctx, c, vgirpc.None{})
		noError(t, err)
		for i := range 3 {
			got, err := s.Exchange(ctx, conformance.FloatRow{Value: 1}, conformance.FloatRow{Value: 2})
			noError(t, err)
			equal(t, got[0].RunningSum, float64(3*(i+1)))
		}
		noError(t, s.Close())
	})
	t.Run("an exchange with a header, and without input rows", func(t *testing.T) {
		s, h, err := conformance.ExchangeWithHeader.OpenHeader(ctx, c, conformance.FactorParams{Factor: 2})
		noError(t, err)
		equal(t, h.Description, "scale by 2.0")
		got, err := s.Exchange(ctx)
		noError(t, err)
		equal(t, len(got), 0)
		got, err = s.Exchange(ctx, conformance.FloatRow{Value: 4})
		noError(t, err)
		equal(t, got, []conformance.FloatRow{{Value: 8}})
		noError(t, s.Close())
	})
	t.Run("logs belong to the turn", func(t *testing.T) {
		s, err := conformance.ExchangeWithLogs.Open(ctx, c, vgirpc.None{})
		noError(t, err)
		l.take()
		_, err = s.Exchange(ctx, conformance.FloatRow{Value: 1})
		noError(t, err)
		equal(t, len(l.take()), 2)
		noError(t, s.Close())
	})
	t.Run("errors at the opening and later", func(t *testing.T) {
		_, err := conformance.ExchangeErrorOnInit.Open(ctx, c, vgirpc.None{})
		equal(t, vgirpc.IsRemote(err), true)
		s, err := conformance.ExchangeErrorOnNth.Open(ctx, c, conformance.FailOnParams{FailOn: 2})
		noError(t, err)
		_, err = s.Exchange(ctx, conformance.FloatRow{Value: 1})
		noError(t, err)
		_, err = s.Exchange(ctx, conformance.FloatRow{Value: 1})
		equal(t, vgirpc.IsRemote(err), true)
	})
}

func testCancel(t *testing.T, c *vgirpc.Client) {
	ctx := t.Context()
	cancelled := func(t *testing.T, want int64) {
		t.Helper()
		got, err := conformance.CancelProbeCounters.Call(ctx, c, vgirpc.None{})
		noError(t, err)
		equal(t, got[2], want)
	}
	t.Run("a cancelled stream tells the method once", func(t *testing.T) {
		_, err := conformance.ResetCancelProbe.Call(ctx, c, vgirpc.None{})
		noError(t, err)
		p, err := conformance.CancellableProducer.Open(ctx, c, vgirpc.None{})
		noError(t, err)
		for _, err := range p.All() {
			noError(t, err)
			break
		}
		noError(t, p.Cancel())
		cancelled(t, 1)
		e, err := conformance.CancellableExchange.Open(ctx, c, vgirpc.None{})
		noError(t, err)
		noError(t, e.Cancel())
		noError(t, e.Close())
		cancelled(t, 2)
		e, err = conformance.CancellableExchange.Open(ctx, c, vgirpc.None{})
		noError(t, err)
		_, err = e.Exchange(ctx, conformance.FloatRow{Value: 1})
		noError(t, err)
		noError(t, e.Close())
		noError(t, e.Cancel())
		cancelled(t, 2)
		p, err = conformance.CancellableProducer.Open(ctx, c, vgirpc.None{})
		noError(t, err)
		noError(t, p.Cancel())
		cancelled(t, 3)
	})
}

func testSessions(t *testing.T, tr *httpclient.Transport) {
	ctx := t.Context()
	increment := func(t *testing.T, s *httpclient.Session, want int64) {
		t.Helper()
		got, err := conformance.IncrementCounter.Call(ctx, s.Client(), conformance.ByParams{By: 1})
		noError(t, err)
		equal(t, got, want)
	}
	t.Run("a session keeps its state, apart from others, through streams and until it is ended", func(t *testing.T) {
		a, b := tr.Session(), tr.Session()
		for s, initial := range map[*httpclient.Session]int64{a: 10, b: 20} {
			_, err := conformance.OpenCounter.Call(ctx, s.Client(), conformance.InitialParams{Initial: initial})
			noError(t, err)
		}
		increment(t, a, 11)
		increment(t, b, 21)
		equal(t, a.EchoHeaders(), map[string]string{"X-Vgi-Conformance-Echo": "conformance-fixed-marker"})
		p, err := conformance.StreamSessionCounter.Open(ctx, a.Client(), conformance.CountParams{Count: 3})
		noError(t, err)
		got, err := collect(t, p)
		noError(t, err)
		equal(t, got, []conformance.IntRow{{Value: 12}, {Value: 13}, {Value: 14}})

		token, echo := a.Detach()
		noError(t, a.End(ctx))
		resumed, err := tr.Resume(token, echo)
		noError(t, err)
		increment(t, resumed, 15)
		noError(t, resumed.End(ctx))
		lost, err := tr.Resume(token, echo)
		noError(t, err)
		_, err = conformance.IncrementCounter.Call(ctx, lost.Client(), conformance.ByParams{By: 1})
		equal(t, errors.Is(err, &vgirpc.Error{Kind: vgirpc.KindSessionLost}), true)

		_, err = conformance.CloseCounter.Call(ctx, b.Client(), vgirpc.None{})
		noError(t, err)
		equal(t, b.Token(), "")
		equal(t, len(b.EchoHeaders()), 0)
		noError(t, b.Client().Close())
		_, err = conformance.IncrementCounter.Call(ctx, b.Client(), conformance.ByParams{By: 1})
		equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
	})
	t.Run("outside of a session none is opened", func(t *testing.T) {
		_, err := conformance.OpenCounter.Call(ctx, tr.Client(), conformance.InitialParams{Initial: 1})
		if err == nil || !strings.Contains(err.Error(), "VGI-Session-Accept") {
			t.Errorf("got %v", err)
		}
	})
}

func testReflection(t *testing.T, tr *httpclient.Transport) {
	t.Run("the server says what it hosts and what it can do", func(t *testing.T) {
		list, err := tr.Client().Describe(t.Context())
		noError(t, err)
		equal(t, len(list.Protocols) >= 2, true)
		caps, err := tr.Capabilities(t.Context())
		noError(t, err)
		equal(t, []any{caps.Sticky, caps.ResponseLimit, caps.Encodings, caps.StickyTTL.Seconds()}, []any{true, true, []string{"zstd", "gzip"}, 300.0})
	})
	t.Run("a method that is not there is the server's error", func(t *testing.T) {
		p := vgirpc.NewProtocol("ConformanceService", "2.0.0")
		missing := vgirpc.NewUnary[vgirpc.None, vgirpc.None](p, "no_such_method")
		_, err := missing.Call(t.Context(), tr.Client(), vgirpc.None{})
		equal(t, vgirpc.IsRemote(err), true)
		equal(t, errors.Is(err, &vgirpc.Error{Kind: vgirpc.KindMethodNotImplemented}), true)
	})
}

// TestReferenceLimits calls reference workers that refuse.
func TestReferenceLimits(t *testing.T) {
	t.Run("a response over the client's limit is refused by the server, by name", func(t *testing.T) {
		tr := newTransport(t, reference(t, "--http", "0", "--no-compression"), httpclient.Options{MaxResponseBytes: 64 << 10, CompressAbove: 1}, vgirpc.ClientOptions{})
		_, err := conformance.EchoString.Call(t.Context(), tr.Client(), conformance.Value[string]{Value: strings.Repeat("x", 1<<20)})
		var e *vgirpc.Error
		if !errors.As(err, &e) || e.Type != "ResponseTooLargeError" || !vgirpc.IsRemote(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a 401 has its reason", func(t *testing.T) {
		tr := newTransport(t, reference(t, "--http-auth", "0"), httpclient.Options{
			Header: http.Header{"X-Conformance-Auth-Reason": {"expired_credential"}},
		}, vgirpc.ClientOptions{})
		_, err := conformance.VoidNoop.Call(t.Context(), tr.Client(), vgirpc.None{})
		var u *httpclient.UnauthorizedError
		if !errors.As(err, &u) || u.Reason != "expired_credential" || vgirpc.CodeOf(err) != vgirpc.Unauthenticated {
			t.Errorf("got %v", err)
		}
	})
}
