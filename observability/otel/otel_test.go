package otel_test

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/observability/otel"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// telemetry is what a test records: spans that have ended, and metrics.
type telemetry struct {
	spans   *tracetest.SpanRecorder
	traces  *sdktrace.TracerProvider
	reader  *sdkmetric.ManualReader
	metrics *sdkmetric.MeterProvider
}

func newTelemetry(tb testing.TB) *telemetry {
	tb.Helper()
	r := &telemetry{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	r.traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	r.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	return r
}

// options are those of an observer that records here.
func (r *telemetry) options() otel.Options {
	return otel.Options{TracerProvider: r.traces, MeterProvider: r.metrics, ServerID: "server-1", Service: "test.Calc.v1"}
}

// named are the spans that have ended, of one kind and name.
func (r *telemetry) named(kind trace.SpanKind, name string) (out []sdktrace.ReadOnlySpan) {
	for _, s := range r.spans.Ended() {
		if s.SpanKind() == kind && s.Name() == name {
			out = append(out, s)
		}
	}
	return out
}

// attributesOf are a span's attributes as text.
func attributesOf(s sdktrace.ReadOnlySpan) map[string]string {
	out := map[string]string{}
	for _, kv := range s.Attributes() {
		out[string(kv.Key)] = kv.Value.String()
	}
	return out
}

func newObserver(tb testing.TB, opts otel.Options) *otel.Observer {
	tb.Helper()
	o, err := otel.NewObserver(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

// endings waits for the server to have told the observers before it of the end of
// calls, which may be after the client has its answer.
type endings struct{ ended chan struct{} }

func newEndings() *endings { return &endings{make(chan struct{}, 1000)} }

// CallStarted does nothing.
func (e *endings) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

// CallEnded notes an end.
func (e *endings) CallEnded(context.Context, *vgirpc.Call, *vgirpc.CallEnd) { e.ended <- struct{}{} }

// wait waits for n calls to have ended since the last time.
func (e *endings) wait(n int) {
	for range n {
		<-e.ended
	}
}

// observed is a server with an observer, and what tells of the ends of its calls.
func observed(tb testing.TB, c *vgitest.Contract, o *otel.Observer, opts vgirpc.ServerOptions) (*vgirpc.Server, *endings) {
	tb.Helper()
	e := newEndings()
	opts.Observers = append(opts.Observers, o, e)
	opts.RefusalObservers = append(opts.RefusalObservers, o)
	return vgitest.NewServer(tb, c, opts), e
}

// overPipe calls a server over an in-process pipe.
func overPipe(tb testing.TB, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
	tb.Helper()
	c, err := vgirpc.DialServer(tb.Context(), s, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() }) // the test is over
	return c
}

// overHTTP calls a server over HTTP.
func overHTTP(tb testing.TB, s *vgirpc.Server, opts vgirpc.ClientOptions, handler httpserver.Options, client httpclient.Options) *vgirpc.Client {
	tb.Helper()
	h, err := httpserver.New(s, handler)
	if err != nil {
		tb.Fatal(err)
	}
	web := httptest.NewServer(h)
	tb.Cleanup(web.Close)
	t, err := httpclient.New(web.URL, client, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = t.Close() }) // the test is over
	return t.Client()
}

// calls makes one call of each kind, and ignores how they end.
func calls(ctx context.Context, c *vgitest.Contract, client *vgirpc.Client) {
	_, _ = c.Add.Call(ctx, client, vgitest.AddParams{A: 1, B: 2})
	_, _ = c.Fail.Call(ctx, client, vgitest.TextParams{Text: "thing"})
	_, _ = c.Fail.Call(ctx, client, vgitest.TextParams{Text: "panic"})
	if s, err := c.Count.Open(ctx, client, vgitest.CountParams{N: 3}); err == nil {
		for range s.All() {
			continue
		}
	}
	if s, err := c.Sum.Open(ctx, client, vgirpc.None{}); err == nil {
		_, _ = s.Exchange(ctx, vgitest.Number{Value: 1})
		_, _ = s.Exchange(ctx, vgitest.Number{Value: 2})
		_ = s.Close()
	}
}

// summary is what a test compares of a span.
type summary struct {
	Name, Status, Message string
	Attributes            map[string]string
	Events                []string
}

func summarize(s sdktrace.ReadOnlySpan, without ...string) summary {
	out := summary{s.Name(), s.Status().Code.String(), s.Status().Description, attributesOf(s), nil}
	for _, name := range without {
		delete(out.Attributes, name)
	}
	for _, e := range s.Events() {
		words := []string{e.Name}
		for _, kv := range e.Attributes {
			words = append(words, string(kv.Key)+"="+kv.Value.String())
		}
		out.Events = append(out.Events, strings.Join(words, " "))
	}
	return out
}

// withStats adds the six figures.
func withStats(inBatches, outBatches, inRows, outRows string, more map[string]string) map[string]string {
	out := map[string]string{
		"rpc.system": "vgi_rpc", "rpc.service": "test.Calc.v1", "rpc.vgi_rpc.server_id": "server-1",
		"rpc.vgi_rpc.auth.authenticated": "false",
		"rpc.vgi_rpc.input_batches":      inBatches, "rpc.vgi_rpc.output_batches": outBatches,
		"rpc.vgi_rpc.input_rows": inRows, "rpc.vgi_rpc.output_rows": outRows,
	}
	maps.Copy(out, more)
	return out
}

func TestEveryCallOverAByteStreamIsOneSpan(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	s, ends := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{})
	calls(t.Context(), c, overPipe(t, s, vgirpc.ClientOptions{}))
	ends.wait(5)
	var got []summary
	for _, span := range r.spans.Ended() {
		if span.SpanKind() != trace.SpanKindServer || span.Parent().IsValid() {
			t.Errorf("%s is of kind %v and has the parent %v", span.Name(), span.SpanKind(), span.Parent())
		}
		if bytes := attributesOf(span)["rpc.vgi_rpc.input_bytes"]; bytes == "" {
			t.Errorf("%s says nothing of its bytes", span.Name())
		}
		got = append(got, summarize(span, "rpc.vgi_rpc.input_bytes", "rpc.vgi_rpc.output_bytes"))
	}
	unary := func(name string, more map[string]string) map[string]string {
		out := withStats("1", "1", "1", "1", map[string]string{"rpc.method": name, "rpc.vgi_rpc.method_type": "unary"})
		maps.Copy(out, more)
		return out
	}
	panicked := "handler panicked: on purpose"
	want := []summary{
		{"vgi_rpc/add", "Ok", "", unary("add", nil), nil},
		{
			"vgi_rpc/fail", "Unset", "",
			unary("fail", map[string]string{"rpc.vgi_rpc.error_type": "Error", "rpc.vgi_rpc.error_code": "NOT_FOUND", "rpc.vgi_rpc.output_rows": "0"}),
			[]string{"exception exception.type=Error exception.message=no thing"},
		},
		{
			"vgi_rpc/fail", "Error", panicked,
			unary("fail", map[string]string{"rpc.vgi_rpc.error_type": "PanicError", "rpc.vgi_rpc.error_code": "UNKNOWN", "rpc.vgi_rpc.output_rows": "0"}),
			[]string{"exception exception.type=PanicError exception.message=" + panicked},
		},
		{
			"vgi_rpc/count", "Ok", "",
			withStats("1", "4", "1", "3", map[string]string{"rpc.method": "count", "rpc.vgi_rpc.method_type": "stream"}), nil,
		},
		{
			"vgi_rpc/sum", "Ok", "",
			withStats("3", "2", "3", "2", map[string]string{"rpc.method": "sum", "rpc.vgi_rpc.method_type": "stream"}), nil,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

func TestOnlyCodesOfTheServersOwnFaultMakeAnErrorOfASpan(t *testing.T) {
	r := newTelemetry(t)
	p := vgirpc.NewProtocol("test.Codes", "1.0.0")
	fail := vgirpc.NewUnary[vgitest.TextParams, vgirpc.None](p, "fail")
	ends := newEndings()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Observers: []vgirpc.Observer{newObserver(t, r.options()), ends}, Logger: slog.New(slog.DiscardHandler),
	}, p)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(s, fail, func(_ context.Context, p vgitest.TextParams) (vgirpc.None, error) {
		return vgirpc.None{}, vgirpc.Errorf(vgirpc.Code(p.Text), "on purpose")
	})
	client := overPipe(t, s, vgirpc.ClientOptions{})
	faults := []vgirpc.Code{
		vgirpc.Unknown, vgirpc.DeadlineExceeded, vgirpc.Unimplemented, vgirpc.Internal, vgirpc.Unavailable, vgirpc.DataLoss,
	}
	for _, code := range []vgirpc.Code{
		vgirpc.Cancelled, vgirpc.Unknown, vgirpc.InvalidArgument, vgirpc.DeadlineExceeded, vgirpc.NotFound, vgirpc.AlreadyExists,
		vgirpc.PermissionDenied, vgirpc.ResourceExhausted, vgirpc.FailedPrecondition, vgirpc.Aborted, vgirpc.OutOfRange,
		vgirpc.Unimplemented, vgirpc.Internal, vgirpc.Unavailable, vgirpc.DataLoss, vgirpc.Unauthenticated,
	} {
		if _, err := fail.Call(t.Context(), client, vgitest.TextParams{Text: string(code)}); vgirpc.CodeOf(err) != code {
			t.Fatalf("%s: %v", code, err)
		}
		ends.wait(1)
		spans := r.spans.Ended()
		span := spans[len(spans)-1]
		want := codes.Unset
		if slices.Contains(faults, code) {
			want = codes.Error
		}
		if span.Status().Code != want || attributesOf(span)["rpc.vgi_rpc.error_code"] != string(code) {
			t.Errorf("%s: status %v, attributes %v", code, span.Status(), attributesOf(span))
		}
	}
}

func TestOverHTTPEveryRequestOfAStreamIsASpanButItsCancellation(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	s, ends := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{})
	client := overHTTP(t, s, vgirpc.ClientOptions{}, httpserver.Options{}, httpclient.Options{})
	sum, err := c.Sum.Open(t.Context(), client, vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := sum.Exchange(t.Context(), vgitest.Number{Value: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := sum.Cancel(); err != nil {
		t.Fatal(err)
	}
	ends.wait(4) // the cancellation is a request of its own
	spans := r.named(trace.SpanKindServer, "vgi_rpc/sum")
	if len(spans) != 3 || len(r.spans.Started()) != 3 {
		t.Errorf("%d spans ended and %d started, want 3: init and two exchanges", len(spans), len(r.spans.Started()))
	}
	for _, span := range spans {
		a := attributesOf(span)
		if a["client.address"] != "127.0.0.1" || a["user_agent.original"] != "vgirpc-go" {
			t.Errorf("attributes: %v", a)
		}
	}
	if got := r.count(t, "rpc.server.requests"); got != 3 {
		t.Errorf("%d requests are counted, want 3", got)
	}
}

// collect is what the metrics are now, by name.
func (r *telemetry) collect(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	out := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != "vgi_rpc" {
			t.Errorf("a scope %q", scope.Scope.Name)
		}
		for _, m := range scope.Metrics {
			out[m.Name] = m
		}
	}
	return out
}

// count is the sum of a counter.
func (r *telemetry) count(t *testing.T, name string) (n int64) {
	t.Helper()
	sum, _ := r.collect(t)[name].Data.(metricdata.Sum[int64])
	for _, point := range sum.DataPoints {
		n += point.Value
	}
	return n
}

func labelsOf(set attribute.Set) string {
	var out []string
	for _, kv := range set.ToSlice() {
		out = append(out, string(kv.Key)+"="+kv.Value.String())
	}
	return strings.Join(out, " ")
}

func TestCallsAreCountedAndTimedByMethodAndStatus(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	opts := r.options()
	opts.Attributes = map[string]string{"deployment": "blue"}
	opts.PeerIdentity = func(vgirpc.Identity) (string, string) { return "spiffe:available", "spiffe:direct:cryptographic_peer" }
	s, ends := observed(t, c, newObserver(t, opts), vgirpc.ServerOptions{})
	client := overHTTP(t, s, vgirpc.ClientOptions{}, httpserver.Options{
		Auth: auth.Func(func(*http.Request) (vgirpc.Identity, error) {
			return vgirpc.Identity{Principal: "ann", Domain: "test", Authenticated: true, Claims: map[string]any{"tenant": "t1"}}, nil
		}),
	}, httpclient.Options{})
	for range 3 {
		_, _ = c.Add.Call(t.Context(), client, vgitest.AddParams{})
	}
	_, _ = c.Fail.Call(t.Context(), client, vgitest.TextParams{Text: "thing"})
	ends.wait(4)

	tail := " rpc.service=test.Calc.v1 rpc.system=vgi_rpc rpc.vgi_rpc.auth.domain=test rpc.vgi_rpc.method_type=unary " +
		"rpc.vgi_rpc.peer_identity.sources=spiffe:direct:cryptographic_peer rpc.vgi_rpc.peer_identity.status=spiffe:available status="
	want := map[string]int64{"deployment=blue rpc.method=add" + tail + "ok": 3, "deployment=blue rpc.method=fail" + tail + "error": 1}
	all := r.collect(t)
	requests := all["rpc.server.requests"]
	got := map[string]int64{}
	for _, point := range requests.Data.(metricdata.Sum[int64]).DataPoints {
		got[labelsOf(point.Attributes)] = point.Value
	}
	if diff := cmp.Diff(want, got); diff != "" || requests.Unit != "{request}" {
		t.Errorf("rpc.server.requests in %s (-want +got):\n%s", requests.Unit, diff)
	}
	duration := all["rpc.server.duration"]
	got = map[string]int64{}
	for _, point := range duration.Data.(metricdata.Histogram[float64]).DataPoints {
		got[labelsOf(point.Attributes)] = int64(point.Count)
		if last := point.Bounds[len(point.Bounds)-1]; point.Bounds[0] > 0.001 || last < 10 || last > 600 || point.Sum <= 0 || point.Sum > 60 {
			t.Errorf("bounds %v, sum %v: want seconds", point.Bounds, point.Sum)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || duration.Unit != "s" {
		t.Errorf("rpc.server.duration in %s (-want +got):\n%s", duration.Unit, diff)
	}
}

func TestTheCallerIsOnTheSpan(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	opts := r.options()
	opts.Attributes = map[string]string{"deployment": "blue"}
	opts.ClaimAttributes = map[string]string{"tenant": "app.tenant", "level": "app.level", "admin": "app.admin", "roles": "app.roles"}
	opts.PeerIdentity = func(vgirpc.Identity) (string, string) { return "spiffe:absent", "" }
	s, ends := observed(t, c, newObserver(t, opts), vgirpc.ServerOptions{})
	client := overHTTP(t, s, vgirpc.ClientOptions{}, httpserver.Options{
		Auth: auth.Func(func(*http.Request) (vgirpc.Identity, error) {
			return vgirpc.Identity{Principal: "ann", Domain: "test", Authenticated: true, Claims: map[string]any{
				"tenant": "t1", "level": 7.0, "admin": true, "roles": []any{"a"}, "password": "hidden",
			}}, nil
		}),
	}, httpclient.Options{Header: http.Header{"User-Agent": {strings.Repeat("a", 5000)}}})
	if _, err := c.Add.Call(t.Context(), client, vgitest.AddParams{}); err != nil {
		t.Fatal(err)
	}
	ends.wait(1)
	got := attributesOf(r.spans.Ended()[0])
	for name := range got {
		if strings.HasSuffix(name, "_bytes") || strings.HasSuffix(name, "_rows") || strings.HasSuffix(name, "_batches") {
			delete(got, name)
		}
	}
	want := map[string]string{
		"rpc.system": "vgi_rpc", "rpc.service": "test.Calc.v1", "rpc.method": "add", "rpc.vgi_rpc.method_type": "unary",
		"rpc.vgi_rpc.server_id": "server-1", "rpc.vgi_rpc.auth.authenticated": "true", "rpc.vgi_rpc.auth.principal": "ann",
		"rpc.vgi_rpc.auth.domain": "test", "client.address": "127.0.0.1", "user_agent.original": strings.Repeat("a", 512),
		"app.tenant": "t1", "app.level": "7", "app.admin": "true", "deployment": "blue",
		"rpc.vgi_rpc.peer_identity.status": "spiffe:absent",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestThoseWhoAreNotLetInAreCounted(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	s, _ := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{})
	client := overHTTP(t, s, vgirpc.ClientOptions{}, httpserver.Options{
		Auth: auth.Func(func(*http.Request) (vgirpc.Identity, error) {
			return vgirpc.Identity{}, &auth.Failure{Reason: auth.ExpiredCredential}
		}),
	}, httpclient.Options{})
	for range 2 {
		if _, err := c.Add.Call(t.Context(), client, vgitest.AddParams{}); vgirpc.CodeOf(err) != vgirpc.Unauthenticated {
			t.Fatal(err)
		}
	}
	failures, ok := r.collect(t)["rpc.server.auth_failure"]
	if !ok || failures.Unit != "{failure}" {
		t.Fatalf("metrics: %v", r.collect(t))
	}
	got := map[string]int64{}
	for _, point := range failures.Data.(metricdata.Sum[int64]).DataPoints {
		got[labelsOf(point.Attributes)] = point.Value
	}
	// One request asks for the server's capabilities before each call.
	want := map[string]int64{"error.type=expired_credential rpc.service=test.Calc.v1 rpc.system=vgi_rpc": got["error.type=expired_credential rpc.service=test.Calc.v1 rpc.system=vgi_rpc"]}
	if diff := cmp.Diff(want, got); diff != "" || len(r.spans.Ended()) != 0 || r.count(t, "rpc.server.auth_failure") < 2 {
		t.Errorf("%d spans, failures (-want +got):\n%s", len(r.spans.Ended()), diff)
	}
}

func TestWhatIsTurnedOffIsNotRecorded(t *testing.T) {
	for _, tt := range []struct {
		name             string
		change           func(*otel.Options)
		spans, events, n int
	}{
		{"everything is on", func(*otel.Options) {}, 1, 1, 1},
		{"without exceptions", func(o *otel.Options) { o.NoExceptions = true }, 1, 0, 1},
		{"without spans", func(o *otel.Options) { o.NoTraces = true }, 0, 0, 1},
		{"without metrics", func(o *otel.Options) { o.NoMetrics = true }, 1, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := newTelemetry(t), vgitest.NewContract()
			opts := r.options()
			tt.change(&opts)
			s, ends := observed(t, c, newObserver(t, opts), vgirpc.ServerOptions{})
			_, _ = c.Fail.Call(t.Context(), overPipe(t, s, vgirpc.ClientOptions{}), vgitest.TextParams{Text: "thing"})
			ends.wait(1)
			events := 0
			for _, span := range r.spans.Ended() {
				events += len(span.Events())
			}
			if len(r.spans.Ended()) != tt.spans || events != tt.events || r.count(t, "rpc.server.requests") != int64(tt.n) {
				t.Errorf("%d spans with %d events, %d calls", len(r.spans.Ended()), events, r.count(t, "rpc.server.requests"))
			}
		})
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for name, opts := range map[string]otel.Options{
		"ClaimAttributes": {ClaimAttributes: map[string]string{"tenant": ""}},
		"Attributes":      {Attributes: map[string]string{"": "x"}},
	} {
		_, err1 := otel.NewObserver(opts)
		_, err2 := otel.NewClientObserver(opts)
		_, err3 := otel.NewTransferObserver(opts)
		for _, err := range []error{err1, err2, err3} {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// traceMeta is the metadata that names a span.
func traceMeta(traceparent string) wire.Pair {
	return wire.Pair{Key: "traceparent", Value: traceparent}
}
