package otel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/localstore"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/observability/otel"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

const (
	trace1, span1 = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	trace2, span2 = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	parent1       = "00-" + trace1 + "-" + span1 + "-01"
	parent2       = "00-" + trace2 + "-" + span2 + "-01"
)

func TestTheParentOfACallIsNamedByItsMetadataOrElseByItsHeaders(t *testing.T) {
	for _, tt := range []struct {
		name             string
		http             bool
		metadata, header string
		trace, span      string // "" for a trace of its own
	}{
		{"nothing names one, over a pipe", false, "", "", "", ""},
		{"nothing names one, over HTTP", true, "", "", "", ""},
		{"the metadata does, over a pipe", false, parent1, "", trace1, span1},
		{"the metadata does, over HTTP", true, parent1, "", trace1, span1},
		{"the headers do", true, "", parent2, trace2, span2},
		{"both do, and the metadata counts", true, parent1, parent2, trace1, span1},
		{"the metadata makes no sense, and the headers count", true, "00-zz-00-01", parent2, trace2, span2},
		{"neither makes sense", true, "garbage", "garbage", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := newTelemetry(t), vgitest.NewContract()
			s, ends := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{})
			var client *vgirpc.Client
			if tt.http {
				// The client repeats the metadata in the headers, unless they are taken.
				set := httpclient.Options{Authorize: func(_ context.Context, h http.Header) error {
					if h.Del("Traceparent"); tt.header != "" {
						h.Set("Traceparent", tt.header)
					}
					return nil
				}}
				client = overHTTP(t, s, vgirpc.ClientOptions{}, httpserver.Options{}, set)
			} else {
				client = overPipe(t, s, vgirpc.ClientOptions{})
			}
			ctx := t.Context()
			if tt.metadata != "" {
				ctx = vgirpc.WithMetadata(ctx, traceMeta(tt.metadata), wire.Pair{Key: "tracestate", Value: "a=b"})
			}
			if _, err := c.Add.Call(ctx, client, vgitest.AddParams{}); err != nil {
				t.Fatal(err)
			}
			ends.wait(1)
			span := r.spans.Ended()[0]
			if tt.trace == "" {
				if span.Parent().IsValid() {
					t.Errorf("the parent is %v", span.Parent())
				}
				return
			}
			if p := span.Parent(); p.TraceID().String() != tt.trace || p.SpanID().String() != tt.span || !p.IsRemote() {
				t.Errorf("the parent is %s of %s", p.SpanID(), p.TraceID())
			}
			if tt.trace == trace1 && span.Parent().TraceState().String() != "a=b" {
				t.Errorf("trace state %q", span.Parent().TraceState())
			}
		})
	}
}

func TestASpanOfTheTransportsContextIsTheParentWhereTheMetadataNamesNone(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	s, ends := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{})
	ctx, around := r.traces.Tracer("test").Start(t.Context(), "around")
	client, err := vgirpc.DialServer(ctx, s, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := c.Add.Call(t.Context(), client, vgitest.AddParams{}); err != nil {
		t.Fatal(err)
	}
	ends.wait(1)
	if got := r.spans.Ended()[0].Parent().SpanID(); got != around.SpanContext().SpanID() {
		t.Errorf("the parent is %s, want %s", got, around.SpanContext().SpanID())
	}
}

// clientOptions are those of a client that is watched.
func clientOptions(t *testing.T, r *telemetry) vgirpc.ClientOptions {
	t.Helper()
	o, err := otel.NewClientObserver(r.options())
	if err != nil {
		t.Fatal(err)
	}
	return vgirpc.ClientOptions{Observers: []vgirpc.ClientObserver{o}}
}

func TestACallIsOneTraceFromItsCallerToItsHandler(t *testing.T) {
	for name, dial := range map[string]func(*testing.T, *vgirpc.Server, vgirpc.ClientOptions) *vgirpc.Client{
		"over a pipe": func(t *testing.T, s *vgirpc.Server, o vgirpc.ClientOptions) *vgirpc.Client { return overPipe(t, s, o) },
		"over HTTP": func(t *testing.T, s *vgirpc.Server, o vgirpc.ClientOptions) *vgirpc.Client {
			return overHTTP(t, s, o, httpserver.Options{}, httpclient.Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, c := newTelemetry(t), vgitest.NewContract()
			carried := map[string]int{} // of the handlers' baggage
			s, ends := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{Interceptors: []vgirpc.Interceptor{
				func(ctx context.Context, _ *vgirpc.Call, next func(context.Context) error) error {
					carried[baggage.FromContext(ctx).Member("tenant").Value()]++
					return next(ctx)
				},
			}})
			client := dial(t, s, clientOptions(t, r))
			member, err := baggage.NewMember("tenant", "blue")
			if err != nil {
				t.Fatal(err)
			}
			bag, err := baggage.New(member)
			if err != nil {
				t.Fatal(err)
			}
			ctx, root := r.traces.Tracer("test").Start(baggage.ContextWithBaggage(t.Context(), bag), "root")
			calls(ctx, c, client)
			root.End()
			if name == "over HTTP" {
				ends.wait(8) // 3 unary calls; 1 init with a turn, and 2 or 3 turns; 1 init and 2 turns
			} else {
				ends.wait(5)
			}
			sent := map[trace.SpanID]sdktrace.ReadOnlySpan{}
			for _, span := range r.spans.Ended() {
				if span.SpanContext().TraceID() != root.SpanContext().TraceID() {
					t.Errorf("%s %v is of another trace", span.SpanKind(), span.Name())
				}
				if span.SpanKind() == trace.SpanKindClient {
					sent[span.SpanContext().SpanID()] = span
					if span.Parent().SpanID() != root.SpanContext().SpanID() {
						t.Errorf("client span %s: parent %v", span.Name(), span.Parent().SpanID())
					}
				}
			}
			if len(carried) != 1 || carried["blue"] < 8 {
				t.Errorf("the baggage of handlers: %v", carried)
			}
			if len(sent) != 5 {
				t.Errorf("%d spans of the client, want 5", len(sent))
			}
			for _, span := range r.spans.Ended() {
				if span.SpanKind() != trace.SpanKindServer {
					continue
				}
				if by := sent[span.Parent().SpanID()]; by == nil || by.Name() != span.Name() {
					t.Errorf("server span %s: its parent is no span of the client's call", span.Name())
				}
			}
		})
	}
}

func TestTheSpanOfACallersSideSaysHowTheCallEnded(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	client := overPipe(t, vgitest.NewServer(t, c, vgirpc.ServerOptions{}), clientOptions(t, r))
	ctx := t.Context()
	calls(ctx, c, client)
	refused, err := c.Count.Open(ctx, client, vgitest.CountParams{N: -1})
	if err != nil {
		t.Fatal(err)
	}
	for range refused.All() {
		continue
	}
	left, err := c.Count.Open(ctx, client, vgitest.CountParams{N: 100})
	if err != nil {
		t.Fatal(err)
	}
	for range left.All() {
		break
	}
	halves, err := c.Sum.Open(ctx, client, vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	if err := halves.Send(ctx, vgitest.Number{Value: -1}); err != nil {
		t.Fatal(err)
	}
	if _, err := halves.Recv(ctx); vgirpc.CodeOf(err) != vgirpc.OutOfRange {
		t.Fatal(err)
	}
	if err := halves.Close(); err != nil {
		t.Fatal(err)
	}
	type ended struct{ Name, Type, Status, Code string }
	var got []ended
	for _, span := range r.spans.Ended() {
		a := attributesOf(span)
		got = append(got, ended{span.Name(), a["rpc.vgi_rpc.method_type"], span.Status().Code.String(), a["rpc.vgi_rpc.error_code"]})
	}
	want := []ended{
		{"vgi_rpc/add", "unary", "Ok", ""},
		{"vgi_rpc/fail", "unary", "Error", "NOT_FOUND"},
		{"vgi_rpc/fail", "unary", "Error", "UNKNOWN"},
		{"vgi_rpc/count", "stream", "Ok", ""},
		{"vgi_rpc/sum", "stream", "Ok", ""},
		{"vgi_rpc/count", "stream", "Error", "INVALID_ARGUMENT"},
		{"vgi_rpc/count", "stream", "Ok", ""},
		{"vgi_rpc/sum", "stream", "Error", "OUT_OF_RANGE"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// storage is external storage whose transfers are watched, with every batch in it.
func storage(t *testing.T, r *telemetry) *external.Offload {
	t.Helper()
	store, err := localstore.Start("127.0.0.1:0", localstore.Options{URL: "mem://"})
	if err != nil {
		t.Fatal(err)
	}
	observer, err := otel.NewTransferObserver(r.options())
	if err != nil {
		t.Fatal(err)
	}
	o, err := external.New(external.Options{
		Store: store, Threshold: 1, Compression: external.Zstd, Observers: []external.Observer{observer},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func TestWhatGoesToStorageAndComesFromItIsPartOfTheTrace(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	offload := storage(t, r)
	s, ends := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{Offload: offload})
	opts := clientOptions(t, r)
	opts.Offload = offload
	for name, client := range map[string]*vgirpc.Client{
		"over a pipe": overPipe(t, s, opts), "over HTTP": overHTTP(t, s, opts, httpserver.Options{}, httpclient.Options{}),
	} {
		r.spans.Reset()
		if _, err := c.Add.Call(t.Context(), client, vgitest.AddParams{A: 1}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ends.wait(1)
		sent, served := r.named(trace.SpanKindClient, "vgi_rpc/add"), r.named(trace.SpanKindServer, "vgi_rpc/add")
		up, down := r.named(trace.SpanKindClient, "vgi_rpc.external/upload"), r.named(trace.SpanKindClient, "vgi_rpc.external/fetch")
		if len(sent) != 1 || len(served) != 1 || len(up) != 1 || len(down) != 1 {
			t.Fatalf("%s: %d and %d spans of the call, %d uploads, %d fetches", name, len(sent), len(served), len(up), len(down))
		}
		if up[0].Parent().SpanID() != served[0].SpanContext().SpanID() {
			t.Errorf("%s: the upload is not part of the server's span", name)
		}
		if down[0].Parent().SpanID() != sent[0].SpanContext().SpanID() {
			t.Errorf("%s: the fetch is not part of the client's span", name)
		}
		got, fetched := attributesOf(up[0]), attributesOf(down[0])
		if got["url"] == "" || got["url"] != fetched["url"] || got["compression"] != "zstd" || got["upload_bytes"] == "0" ||
			got["original_bytes"] <= "0" || fetched["fetch_duration_ms"] == "" || up[0].Status().Code != codes.Ok || down[0].Status().Code != codes.Ok {
			t.Errorf("%s: upload %v, fetch %v", name, got, fetched)
		}
	}
}

// published puts the parameters of a call into storage, and returns the pointer to
// them.
func published(t *testing.T, offload *external.Offload, meta ...wire.Pair) *wire.Batch {
	t.Helper()
	params := echoParams(t)
	ref, err := offload.Publish(t.Context(), params.Schema, params, true)
	if err != nil {
		t.Fatal(err)
	}
	pointer := ref.Pointer(params.Schema)
	pointer.Meta = append(pointer.Meta, meta...)
	return &pointer
}

func TestTheFetchOfARequestBelongsToWhatTheRequestNames(t *testing.T) {
	for _, tt := range []struct {
		name   string
		http   bool
		meta   []wire.Pair
		header string
		span   string
	}{
		{"the metadata, over a pipe", false, []wire.Pair{traceMeta(parent1)}, "", span1},
		{"the metadata, over HTTP", true, []wire.Pair{traceMeta(parent1)}, "", span1},
		{"the headers", true, nil, parent2, span2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := newTelemetry(t), vgitest.NewContract()
			offload := storage(t, r)
			s, ends := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{Offload: offload})
			client := overPipe(t, s, vgirpc.ClientOptions{})
			if tt.http {
				client = overHTTP(t, s, vgirpc.ClientOptions{}, httpserver.Options{}, httpclient.Options{
					Header: http.Header{"Traceparent": {tt.header}},
				})
			}
			_, release, err := client.CallBatch(t.Context(), c.Echo.Method, published(t, offload, tt.meta...))
			if err != nil {
				t.Fatal(err)
			}
			release()
			ends.wait(1)
			fetch, served := r.named(trace.SpanKindClient, "vgi_rpc.external/fetch"), r.named(trace.SpanKindServer, "vgi_rpc/echo")
			if len(fetch) != 1 || len(served) != 1 {
				t.Fatalf("%d fetches, %d calls", len(fetch), len(served))
			}
			if got := fetch[0].Parent().SpanID().String(); got != tt.span || served[0].Parent().SpanID().String() != tt.span {
				t.Errorf("parents: %s of the fetch, %s of the call, want %s", got, served[0].Parent().SpanID(), tt.span)
			}
		})
	}
}

func TestAFetchThatFailsIsAnErrorWithoutTheSecretsOfItsURL(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	offload := storage(t, r)
	s, ends := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{Offload: offload})
	client := overPipe(t, s, vgirpc.ClientOptions{})
	pointer := wire.EmptyBatch(echoParams(t).Schema, wire.Metadata{{Key: wire.KeyLocation, Value: "http://u:secret1@10.0.0.1/x?sig=secret2"}})
	if _, _, err := client.CallBatch(t.Context(), c.Echo.Method, &pointer); vgirpc.CodeOf(err) != vgirpc.PermissionDenied {
		t.Fatal(err)
	}
	ends.wait(1)
	fetch := r.named(trace.SpanKindClient, "vgi_rpc.external/fetch")[0]
	got := summarize(fetch)
	if got.Status != "Error" || got.Attributes["url"] != "http://10.0.0.1/x" || len(got.Events) != 1 {
		t.Errorf("the span says %+v", got)
	}
	if text := fmt.Sprint(got); strings.Contains(text, "secret") {
		t.Errorf("the span has a secret: %s", text)
	}
}

func TestRecordsOfACallSayItsTrace(t *testing.T) {
	r, c := newTelemetry(t), vgitest.NewContract()
	var out bytes.Buffer
	log := slog.New(otel.LogHandler(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s, ends := observed(t, c, newObserver(t, r.options()), vgirpc.ServerOptions{Logger: log.With("worker", 1)})
	client := overPipe(t, s, vgirpc.ClientOptions{})
	_, _ = c.Fail.Call(t.Context(), client, vgitest.TextParams{Text: "panic"})
	ends.wait(1)
	span := r.spans.Ended()[0].SpanContext()
	found := false
	for line := range bytes.Lines(out.Bytes()) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		if record["msg"] == "call failed" {
			found = true
			if record["trace_id"] != span.TraceID().String() || record["span_id"] != span.SpanID().String() || record["worker"] != 1.0 {
				t.Errorf("the record %s", line)
			}
		}
	}
	if !found {
		t.Errorf("no record of the failure in %s", out.Bytes())
	}
}

func TestIdentifiersStandOutsideOfEveryGroup(t *testing.T) {
	ctx, span := newTelemetry(t).traces.Tracer("test").Start(t.Context(), "a")
	id := span.SpanContext()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		make func(*slog.Logger) *slog.Logger
		want map[string]any
	}{
		{
			"in a span", ctx,
			func(l *slog.Logger) *slog.Logger { return l.With("a", "b") },
			map[string]any{"a": "b", "x": "y", "trace_id": id.TraceID().String(), "span_id": id.SpanID().String()},
		},
		{
			"in a span, within groups", ctx,
			func(l *slog.Logger) *slog.Logger {
				return l.With("a", "b").WithGroup("g").With("c", "d").WithGroup("").WithGroup("h")
			},
			map[string]any{
				"a": "b", "trace_id": id.TraceID().String(), "span_id": id.SpanID().String(),
				"g": map[string]any{"c": "d", "h": map[string]any{"x": "y"}},
			},
		},
		{
			"in no span", t.Context(),
			func(l *slog.Logger) *slog.Logger { return l.WithGroup("g") },
			map[string]any{"g": map[string]any{"x": "y"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			l := tt.make(slog.New(otel.LogHandler(slog.NewJSONHandler(&out, nil))))
			l.InfoContext(tt.ctx, "text", "x", "y")
			var got map[string]any
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"time", "level", "msg"} {
				delete(got, name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTraceOf(t *testing.T) {
	if id, span := otel.TraceOf(t.Context()); id != "" || span != "" {
		t.Errorf("without a span: %q, %q", id, span)
	}
	ctx, s := newTelemetry(t).traces.Tracer("test").Start(t.Context(), "a")
	if id, span := otel.TraceOf(ctx); id != s.SpanContext().TraceID().String() || span != s.SpanContext().SpanID().String() {
		t.Errorf("%q, %q", id, span)
	}
}

// echoParams are the parameters of echo.
func echoParams(t *testing.T) *wire.Batch {
	t.Helper()
	schema, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := array.FromJSON(memory.DefaultAllocator, arrow.BinaryTypes.String, strings.NewReader(`["hello"]`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := wire.NewBatch(schema, array.NewRecordBatch(schema.Arrow(), []arrow.Array{text}, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestObserversOfTwoProvidersEndTheirOwnSpans(t *testing.T) {
	first, second, c := newTelemetry(t), newTelemetry(t), vgitest.NewContract()
	ends := newEndings()
	s := vgitest.NewServer(t, c, vgirpc.ServerOptions{
		Observers: []vgirpc.Observer{newObserver(t, first.options()), newObserver(t, second.options()), ends},
	})
	client := overPipe(t, s, vgirpc.ClientOptions{
		Observers: slices.Concat(clientOptions(t, first).Observers, clientOptions(t, second).Observers),
	})
	if _, err := c.Add.Call(t.Context(), client, vgitest.AddParams{}); err != nil {
		t.Fatal(err)
	}
	ends.wait(1)
	for name, r := range map[string]*telemetry{"first": first, "second": second} {
		for _, kind := range []trace.SpanKind{trace.SpanKindServer, trace.SpanKindClient} {
			spans := r.named(kind, "vgi_rpc/add")
			if len(spans) != 1 || spans[0].Status().Code != codes.Ok {
				t.Errorf("the %s provider has %d %v spans", name, len(spans), kind)
			}
		}
	}
}
