package prom_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/vgirpc/vgirpc-go/observability/prom"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

var (
	contract = vgirpc.NewProtocol("test.Counted", "1.0.0")
	work     = vgirpc.NewUnary[workParams, string](contract, "work")
	count    = vgirpc.NewProducer[workParams, row](contract, "count")
)

type workParams struct {
	How string `vgi:"how"`
}

type row struct {
	N int64 `vgi:"n"`
}

type counter struct{ left int }

// Produce sends a row as long as there are some left.
func (c *counter) Produce(_ context.Context, out *vgirpc.Emitter[row]) error {
	if c.left--; c.left < 0 {
		return io.EOF
	}
	return out.Emit(row{1})
}

func newMetrics(tb testing.TB, opts prom.Options) *prom.Metrics {
	tb.Helper()
	m, err := prom.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func dial(tb testing.TB, handle func(context.Context, workParams) (string, error), observers ...vgirpc.Observer) *vgirpc.Client {
	tb.Helper()
	opts := vgirpc.ServerOptions{Observers: observers, Logger: slog.New(slog.DiscardHandler)}
	for _, o := range observers {
		if r, ok := o.(vgirpc.RefusalObserver); ok {
			opts.RefusalObservers = append(opts.RefusalObservers, r)
		}
	}
	server, err := vgirpc.NewServer(opts, contract)
	if err != nil {
		tb.Fatal(err)
	}
	vgirpc.HandleUnary(server, work, handle)
	vgirpc.HandleProducer(server, count, func(context.Context, workParams) (*counter, error) { return &counter{left: 2}, nil })
	client, err := vgirpc.DialServer(tb.Context(), server, vgirpc.ClientOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

func handle(_ context.Context, p workParams) (string, error) {
	switch p.How {
	case "not found":
		return "", vgirpc.Errorf(vgirpc.NotFound, "no such thing")
	case "plain":
		return "", errors.New("it broke")
	case "made up":
		return "", &vgirpc.Error{Code: "MADE_UP", Message: "a code of nobody's"}
	case "panic":
		panic("now")
	}
	return "fine", nil
}

// series are the values of a family, by the values of their labels.
func series(tb testing.TB, m *prom.Metrics, name string) map[string]float64 {
	tb.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		tb.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out[strings.Join(labels, " ")] = value(s)
		}
	}
	return out
}

func value(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetHistogram() != nil:
		return float64(m.GetHistogram().GetSampleCount())
	}
	return m.GetGauge().GetValue()
}

func TestCallsAreCounted(t *testing.T) {
	m := newMetrics(t, prom.Options{})
	client := dial(t, handle, m)
	for _, how := range []string{"fine", "fine", "not found", "plain", "made up", "panic"} {
		_, _ = work.Call(t.Context(), client, workParams{How: how})
	}
	s, err := count.Open(t.Context(), client, workParams{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range s.All() {
		if err != nil {
			t.Fatal(err)
		}
	}
	// The end of a call is told after its reply: the next one's is later.
	if _, err := work.Call(t.Context(), client, workParams{}); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	const unary, stream = "method=work protocol=test.Counted type=unary", "method=count protocol=test.Counted type=stream"
	for name, want := range map[string]map[string]float64{
		"vgi_rpc_calls_total": {
			"code=OK " + unary: 3, "code=NOT_FOUND " + unary: 1, "code=UNKNOWN " + unary: 3, "code=OK " + stream: 1,
		},
		"vgi_rpc_call_duration_seconds":         {unary: 7, stream: 1},
		"vgi_rpc_calls_in_flight":               {unary: 0, stream: 0},
		"vgi_rpc_call_externalized_bytes_total": {unary: 0, stream: 0},
	} {
		if diff := cmp.Diff(want, series(t, m, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"vgi_rpc_call_received_bytes_total", "vgi_rpc_call_sent_bytes_total"} {
		for labels, n := range series(t, m, name) {
			if n == 0 || n != math.Trunc(n) {
				t.Errorf("%s{%s} is %v", name, labels, n)
			}
		}
	}
	if got := series(t, m, "vgi_rpc_build_info"); len(got) != 1 {
		t.Errorf("build info: %v", got)
	}
}

func TestACallInProgressIsInFlight(t *testing.T) {
	m := newMetrics(t, prom.Options{})
	entered, leave := make(chan struct{}), make(chan struct{})
	client := dial(t, func(context.Context, workParams) (string, error) {
		close(entered)
		<-leave
		return "", nil
	}, m)
	done := make(chan error, 1)
	go func() {
		_, err := work.Call(t.Context(), client, workParams{})
		done <- err
	}()
	<-entered
	want := map[string]float64{"method=work protocol=test.Counted type=unary": 1}
	if diff := cmp.Diff(want, series(t, m, "vgi_rpc_calls_in_flight")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestNobodyCanMakeUpLabels(t *testing.T) {
	m := newMetrics(t, prom.Options{})
	told := make(refusalHook, 1)
	client := dial(t, handle, m, told) // which is told after m
	stranger := vgirpc.NewUnary[workParams, string](vgirpc.NewProtocol("test.Counted", "1.0.0"), "made_up_by_a_caller")
	if _, err := stranger.Call(t.Context(), client, workParams{How: "x"}); vgirpc.CodeOf(err) != vgirpc.Unimplemented {
		t.Fatalf("error %v", err)
	}
	<-told
	m.RequestRefused(t.Context(), &vgirpc.Refused{Transport: vgirpc.TransportHTTP, Reason: vgirpc.RefusedNotFound, Code: "MADE_UP", Principal: "mallory"})
	var text strings.Builder
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if _, err := io.Copy(&text, rec.Body); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"made_up", "MADE_UP", "mallory"} {
		if strings.Contains(text.String(), word) {
			t.Errorf("%q is there:\n%s", word, text.String())
		}
	}
	want := map[string]float64{
		"code=UNIMPLEMENTED reason=not_found transport=pipe": 1,
		"code=UNKNOWN reason=not_found transport=http":       1,
	}
	if diff := cmp.Diff(want, series(t, m, "vgi_rpc_refused_total")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// refusalHook is an observer that sends when a request is refused.
type refusalHook chan struct{}

func (refusalHook) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

func (refusalHook) CallEnded(context.Context, *vgirpc.Call, *vgirpc.CallEnd) {}

func (h refusalHook) RequestRefused(context.Context, *vgirpc.Refused) { h <- struct{}{} }

// hook is an observer that runs a function when a call ends.
type hook func(context.Context, *vgirpc.Call, *vgirpc.CallEnd)

func (hook) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

func (h hook) CallEnded(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	h(ctx, call, end)
}

// within runs f at the end of a call.
func within(tb testing.TB, f hook) {
	tb.Helper()
	var once bool
	client := dial(tb, handle, hook(func(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
		if !once {
			once = true
			f(ctx, call, end)
		}
	}))
	if _, err := work.Call(tb.Context(), client, workParams{}); err != nil {
		tb.Error(err)
	}
	_ = client.Close()
}

func TestASuccessfulCallAllocatesNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts prom.Options
	}{
		{"as it is", prom.Options{}},
		{"with native histograms", prom.Options{NativeHistograms: true}},
		{"with spans that are not sampled", prom.Options{
			TraceOf: func(context.Context) (string, string) { return "", "" }, ExemplarInterval: -1,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMetrics(t, tt.opts)
			within(t, func(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
				end.Delivery = vgirpc.Delivery{WireIn: 100, WireOut: 200, Externalized: 300}
				allocs := testing.AllocsPerRun(1000, func() { m.CallEnded(m.CallStarted(ctx, call), call, end) })
				if allocs > 0 {
					t.Errorf("%v allocations", allocs)
				}
			})
		})
	}
}

// exemplars are those of the only histogram, by the upper bounds of their classes.
func exemplars(t *testing.T, m *prom.Metrics) map[float64]string {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[float64]string{}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			for _, b := range s.GetHistogram().GetBucket() {
				var ids []string
				for _, l := range b.GetExemplar().GetLabel() {
					ids = append(ids, l.GetName()+"="+l.GetValue())
				}
				if slices.Sort(ids); len(ids) > 0 {
					out[b.GetUpperBound()] = strings.Join(ids, " ")
				}
			}
		}
	}
	return out
}

func TestExemplars(t *testing.T) {
	const a, b = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
	synctest.Test(t, func(t *testing.T) {
		trace, span := "", ""
		m := newMetrics(t, prom.Options{
			NoRuntime: true, Buckets: []float64{0.01, 0.1},
			TraceOf: func(context.Context) (string, string) { return trace, span },
		})
		within(t, func(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
			m.CallStarted(ctx, call)
			observe := func(took time.Duration, id string) {
				trace, span = id, ""
				if id != "" {
					span = id[:16]
				}
				end.Duration = took
				m.CallEnded(ctx, call, end)
			}
			observe(time.Millisecond, "")
			if got := exemplars(t, m); len(got) != 0 {
				t.Errorf("without a sampled span: %v", got)
			}
			time.Sleep(time.Second)
			observe(time.Millisecond, a)
			observe(time.Millisecond, b)    // too soon
			observe(50*time.Millisecond, b) // another class
			want := map[float64]string{0.01: "span_id=" + a[:16] + " trace_id=" + a, 0.1: "span_id=" + b[:16] + " trace_id=" + b}
			if diff := cmp.Diff(want, exemplars(t, m)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			time.Sleep(time.Second)
			observe(time.Millisecond, b)
			if got := exemplars(t, m)[0.01]; got != want[0.1] {
				t.Errorf("a second later: %v", got)
			}
			time.Sleep(time.Second)
			observe(time.Millisecond, strings.Repeat("f", 1000)) // which the format has no room for
			if got := exemplars(t, m)[0.01]; got != want[0.1] {
				t.Errorf("after one that is no identifier: %v", got)
			}
		})
	})
}

func TestFigures(t *testing.T) {
	m := newMetrics(t, prom.Options{NoRuntime: true})
	for _, f := range []prom.Figure{
		{Name: "things", Help: "How many there are.", Read: func(report func(string, float64)) { report("", 3) }},
		{
			Name: "events_total", Help: "What happened.", Counter: true, Label: "what",
			Read: func(report func(string, float64)) {
				report("this", 1)
				report("not \xff UTF-8", 2)
			},
		},
	} {
		if err := m.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]map[string]float64{
		"vgi_rpc_things":       {"": 3},
		"vgi_rpc_events_total": {"what=this": 1, "what=not ? UTF-8": 2},
	} {
		if diff := cmp.Diff(want, series(t, m, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	nothing := func(func(string, float64)) {}
	for _, f := range []prom.Figure{
		{Name: "things", Help: "Twice.", Read: nothing},
		{Name: "", Help: "Without a name.", Read: nothing},
		{Name: "x", Help: "A label that is none.", Label: "\xff", Read: nothing},
	} {
		if err := m.Add(f); err == nil {
			t.Errorf("%+v is taken", f.Name)
		}
	}
}

func TestImpossibleOptions(t *testing.T) {
	for _, buckets := range [][]float64{{1, 1}, {2, 1}, {0, 1}, {math.NaN()}, make([]float64, 101)} {
		if _, err := prom.New(prom.Options{Buckets: buckets}); err == nil || !strings.Contains(err.Error(), "Buckets") {
			t.Errorf("%v: error %v", buckets, err)
		}
	}
}

func BenchmarkObserver(b *testing.B) {
	for _, bench := range []struct {
		name string
		opts prom.Options
	}{
		{"as it is", prom.Options{}},
		{"with exemplars", prom.Options{TraceOf: func(context.Context) (string, string) {
			return "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
		}}},
		{"with native histograms", prom.Options{NativeHistograms: true}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			m := newMetrics(b, bench.opts)
			within(b, func(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
				end.Delivery.WireIn, end.Delivery.WireOut = 500, 500
				b.ReportAllocs()
				for b.Loop() {
					m.CallEnded(m.CallStarted(ctx, call), call, end)
				}
			})
		})
	}
}
