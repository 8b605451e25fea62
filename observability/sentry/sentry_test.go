package sentry_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	sdk "github.com/getsentry/sentry-go"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/observability/sentry"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// intake is a server that speaks the protocol of Sentry's envelopes.
type intake struct {
	*httptest.Server

	mu    sync.Mutex
	items []item
	raw   bytes.Buffer // all that came
}

// item is one item of an envelope.
type item struct {
	Type string
	Body map[string]any
}

func newIntake(tb testing.TB) *intake {
	tb.Helper()
	in := &intake{}
	in.Server = httptest.NewServer(in)
	tb.Cleanup(in.Close)
	return in
}

// ServeHTTP takes an envelope: lines of JSON, a header, and for each item another
// one and its body.
func (in *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/7/envelope/" || !strings.Contains(r.Header.Get("X-Sentry-Auth"), "sentry_key=pub") {
		http.Error(w, "not for us", http.StatusUnauthorized)
		return
	}
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	lines := bufio.NewReader(io.TeeReader(body, &in.raw))
	if _, err := lines.ReadBytes('\n'); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for {
		head, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(bytes.TrimSpace(head)) == 0 {
			break
		}
		var header struct {
			Type   string `json:"type"`
			Length *int   `json:"length"`
		}
		if json.Unmarshal(head, &header) != nil || header.Length == nil {
			http.Error(w, "an item without a length", http.StatusBadRequest)
			return
		}
		payload := make([]byte, *header.Length)
		if _, err := io.ReadFull(lines, payload); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = lines.ReadByte() // the newline, which the last one may lack
		it := item{Type: header.Type}
		_ = json.Unmarshal(payload, &it.Body)
		in.items = append(in.items, it)
	}
	fmt.Fprint(w, `{"id":"0123456789abcdef0123456789abcdef"}`)
}

func (in *intake) dsn() string { return strings.Replace(in.URL, "://", "://pub@", 1) + "/7" }

// of returns the items of a type.
func (in *intake) of(kind string) (out []map[string]any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, it := range in.items {
		if it.Type == kind {
			out = append(out, it.Body)
		}
	}
	return out
}

// contract is what the tests call.
var (
	contract = vgirpc.NewProtocol("test.Faults", "1.0.0")
	fail     = vgirpc.NewUnary[failParams, string](contract, "fail")
	count    = vgirpc.NewProducer[failParams, row](contract, "count")
)

type failParams struct {
	How    string `vgi:"how"`
	Secret string `vgi:"secret"`
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

var errDeep = errors.New("the disk is on fire")

func handle(ctx context.Context, p failParams) (string, error) {
	switch p.How {
	case "plain":
		return "", fmt.Errorf("reading: %w", errDeep)
	case "internal":
		return "", vgirpc.Errorf(vgirpc.Internal, "it broke").WithKind("broken").WithType("BrokenError")
	case "not found":
		return "", vgirpc.Errorf(vgirpc.NotFound, "no such thing")
	case "panic":
		panic("at the disco")
	case "captured":
		sdk.GetHubFromContext(ctx).CaptureMessage("by hand")
	case "tagged":
		sentry.TagID(ctx, "vgi.attach_id", []byte{0xab, 0xcd})
		return "", vgirpc.Errorf(vgirpc.DataLoss, "gone")
	}
	return "fine", nil
}

// rig is a server with a reporter, and a client.
type rig struct {
	*intake

	sdk    *sdk.Client
	client *vgirpc.Client
}

func newRig(tb testing.TB, opts sentry.Options, change func(*sdk.ClientOptions)) *rig {
	tb.Helper()
	in := newIntake(tb)
	o := sdk.ClientOptions{Dsn: in.dsn(), Environment: "test", Release: "worker@1", ServerName: "box"}
	if change != nil {
		change(&o)
	}
	c, err := sdk.NewClient(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	opts.Hub = sdk.NewHub(c, sdk.NewScope())
	reporter, err := sentry.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Logger:    slog.New(slog.DiscardHandler),
		Observers: []vgirpc.Observer{reporter},
		OnConnect: func(ctx context.Context, peer *vgirpc.Peer) (context.Context, error) {
			peer.Identity = vgirpc.Identity{
				Principal: "alice", Domain: "jwt", Authenticated: true,
				Claims: map[string]any{"preferred_username": "al", "email": "al@example.com", "tenant": "acme", "groups": []any{"x"}},
			}
			return ctx, nil
		},
	}, contract)
	if err != nil {
		tb.Fatal(err)
	}
	vgirpc.HandleUnary(server, fail, handle)
	vgirpc.HandleProducer(server, count, func(context.Context, failParams) (*counter, error) { return &counter{left: 2}, nil })
	client, err := vgirpc.DialServer(tb.Context(), server, vgirpc.ClientOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	return &rig{in, c, client}
}

// call makes a call and waits until everything was sent.
func (r *rig) call(ctx context.Context, tb testing.TB, how string) {
	tb.Helper()
	_, _ = fail.Call(ctx, r.client, failParams{How: how, Secret: "p4yl0ad"})
	_ = r.client.Close() // the call is over for the server, too
	r.flush(tb)
}

func (r *rig) flush(tb testing.TB) {
	tb.Helper()
	if !r.sdk.FlushWithContext(tb.Context()) {
		tb.Fatal("not everything was sent")
	}
}

// view is what the tests look at of an event.
type view struct {
	Type, Value, Transaction, Level, User string
	Stack                                 bool
	Tags                                  map[string]string
	Chain                                 int
}

func viewOf(tb testing.TB, event map[string]any) (v view) {
	tb.Helper()
	text, err := json.Marshal(event)
	if err != nil {
		tb.Fatal(err)
	}
	var e struct {
		Exception []struct {
			Type       string `json:"type"`
			Value      string `json:"value"`
			Stacktrace any    `json:"stacktrace"`
		} `json:"exception"`
		Transaction string            `json:"transaction"`
		Level       string            `json:"level"`
		Message     string            `json:"message"`
		Tags        map[string]string `json:"tags"`
		User        struct {
			ID       string `json:"id"`
			Username string `json:"username"`
			Email    string `json:"email"`
		} `json:"user"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		tb.Fatal(err)
	}
	v = view{Transaction: e.Transaction, Level: e.Level, Tags: e.Tags, Chain: len(e.Exception), Value: e.Message}
	v.User = strings.Join([]string{e.User.ID, e.User.Username, e.User.Email}, " ")
	if n := len(e.Exception); n > 0 {
		last := e.Exception[n-1]
		v.Type, v.Value, v.Stack = last.Type, last.Value, last.Stacktrace != nil
	}
	return v
}

func TestFaultsAreEvents(t *testing.T) {
	tags := func(more ...string) map[string]string {
		out := map[string]string{"rpc.method": "fail", "rpc.method_type": "unary", "auth.domain": "jwt", "auth.authenticated": "true"}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	const user = "alice al al@example.com"
	for _, tt := range []struct {
		name, how string
		opts      sentry.Options
		want      []view
	}{
		{name: "an error that nobody has classified", how: "plain", want: []view{{
			Type: "Error", Value: "reading: the disk is on fire", Transaction: "rpc fail", Level: "error", User: user,
			Tags: tags("rpc.code", "UNKNOWN"), Chain: 2,
		}}},
		{name: "an internal error, with where it was made", how: "internal", want: []view{{
			Type: "BrokenError", Value: "it broke", Transaction: "rpc fail", Level: "error", User: user, Stack: true,
			Tags: tags("rpc.code", "INTERNAL", "rpc.kind", "broken"), Chain: 1,
		}}},
		{name: "a panic", how: "panic", want: []view{{
			Type: "PanicError", Value: "handler panicked: at the disco", Transaction: "rpc fail", Level: "error", User: user, Stack: true,
			Tags: tags("rpc.code", "UNKNOWN"), Chain: 1,
		}}},
		{name: "nothing that the caller has done wrong", how: "not found"},
		{
			name: "even that when it is asked for", how: "not found", opts: sentry.Options{IgnoreCodes: []vgirpc.Code{}},
			want: []view{{
				Type: "Error", Value: "no such thing", Transaction: "rpc fail", Level: "error", User: user, Stack: true,
				Tags: tags("rpc.code", "NOT_FOUND"), Chain: 1,
			}},
		},
		{name: "no type that is left out", how: "internal", opts: sentry.Options{IgnoreTypes: []string{"BrokenError"}}},
		{name: "nothing of a call that succeeds", how: "fine"},
		{name: "what a handler captures, with the tags of its call", how: "captured", want: []view{{
			Value: "by hand", Transaction: "rpc fail", Level: "info", User: user, Tags: tags(),
		}}},
		{name: "an identifier by its hash", how: "tagged", want: []view{{
			Type: "Error", Value: "gone", Transaction: "rpc fail", Level: "error", User: user, Stack: true,
			Tags: tags("rpc.code", "DATA_LOSS", "vgi.attach_id", "88d4266fd4e6"), Chain: 1,
		}}},
		{
			name: "tags of the program and of claims", how: "internal",
			opts: sentry.Options{
				Tags: map[string]string{"team": "data"}, NoTransactionName: true, UserClaims: map[string]string{},
				ClaimTags: map[string]string{"tenant": "auth.tenant", "groups": "auth.groups"},
			},
			want: []view{{
				Type: "BrokenError", Value: "it broke", Level: "error", User: "alice  ", Stack: true,
				Tags: tags("rpc.code", "INTERNAL", "rpc.kind", "broken", "team", "data", "auth.tenant", "acme"), Chain: 1,
			}},
		},
		{
			name: "nobody's name", how: "internal",
			opts: sentry.Options{Anonymous: true, ClaimTags: map[string]string{"tenant": "auth.tenant"}},
			want: []view{{
				Type: "BrokenError", Value: "it broke", Transaction: "rpc fail", Level: "error", User: "  ", Stack: true,
				Tags: tags("rpc.code", "INTERNAL", "rpc.kind", "broken"), Chain: 1,
			}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.opts, nil)
			r.call(t.Context(), t, tt.how)
			var got []view
			for _, event := range r.of("event") {
				got = append(got, viewOf(t, event))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if strings.Contains(r.raw.String(), "p4yl0ad") {
				t.Error("a parameter was sent")
			}
		})
	}
}

func TestAnEventTellsOfItsCall(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	r := newRig(t, sentry.Options{ServerID: "srv", TraceOf: func(context.Context) (string, string) { return trace, span }}, nil)
	r.call(vgirpc.WithMetadata(t.Context(), wire.Pair{Key: wire.KeyRequestID, Value: "req-1"}), t, "internal")
	events := r.of("event")
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	contexts := events[0]["contexts"].(map[string]any)
	want := map[string]any{"method": "fail", "method_type": "unary", "service": "test.Faults", "server_id": "srv", "request_id": "req-1"}
	if diff := cmp.Diff(want, contexts["rpc"]); diff != "" {
		t.Errorf("context rpc (-want +got):\n%s", diff)
	}
	got := contexts["trace"].(map[string]any)
	if got["trace_id"] != trace || got["span_id"] != span {
		t.Errorf("trace %v", got)
	}
	for key, want := range map[string]any{"environment": "test", "release": "worker@1", "server_name": "box", "platform": "go"} {
		if events[0][key] != want {
			t.Errorf("%s is %v", key, events[0][key])
		}
	}
}

func TestEventsWithoutAStackAreGroupedByWhatTheyAre(t *testing.T) {
	r := newRig(t, sentry.Options{}, nil)
	r.call(t.Context(), t, "plain")
	events := r.of("event")
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	if diff := cmp.Diff([]any{fail.String(), "Error", "UNKNOWN"}, events[0]["fingerprint"]); diff != "" {
		t.Errorf("fingerprint (-want +got):\n%s", diff)
	}
}

func TestPerformance(t *testing.T) {
	tracing := func(o *sdk.ClientOptions) { o.EnableTracing, o.TracesSampleRate = true, 1 }
	t.Run("a call is a transaction that goes on with its caller's trace", func(t *testing.T) {
		r := newRig(t, sentry.Options{Performance: true}, tracing)
		ctx := vgirpc.WithMetadata(t.Context(), wire.Pair{
			Key: wire.KeyTraceParent, Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		})
		r.call(ctx, t, "internal")
		all := r.of("transaction")
		if len(all) != 1 {
			t.Fatalf("%d transactions", len(all))
		}
		trace := all[0]["contexts"].(map[string]any)["trace"].(map[string]any)
		got := []any{all[0]["transaction"], trace["op"], trace["status"], trace["trace_id"], trace["parent_span_id"]}
		want := []any{"vgi_rpc/fail", "rpc.server", "internal_error", "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("transaction (-want +got):\n%s", diff)
		}
		events := r.of("event")
		if len(events) != 1 {
			t.Fatalf("%d events", len(events))
		}
		if id := events[0]["contexts"].(map[string]any)["trace"].(map[string]any)["trace_id"]; id != trace["trace_id"] {
			t.Errorf("the event is of trace %v", id)
		}
	})
	t.Run("a stream has its identifier", func(t *testing.T) {
		r := newRig(t, sentry.Options{Performance: true, Op: "rpc"}, tracing)
		s, err := count.Open(t.Context(), r.client, failParams{})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range s.All() {
			if err != nil {
				t.Fatal(err)
			}
		}
		_ = r.client.Close()
		r.flush(t)
		all := r.of("transaction")
		if len(all) != 1 {
			t.Fatalf("%d transactions", len(all))
		}
		trace := all[0]["contexts"].(map[string]any)["trace"].(map[string]any)
		data := trace["data"].(map[string]any)
		id, _ := data["rpc.stream_id"].(string)
		delete(data, "rpc.stream_id")
		want := map[string]any{"rpc.system": "vgi_rpc", "rpc.service": "test.Faults", "rpc.method": "count", "rpc.method_type": "stream"}
		for key := range data {
			if !strings.HasPrefix(key, "rpc.") {
				delete(data, key)
			}
		}
		if diff := cmp.Diff(want, data); diff != "" || len(id) != 32 || trace["op"] != "rpc" || trace["status"] != "ok" {
			t.Errorf("trace %v (-want +got):\n%s", trace, diff)
		}
	})
	for _, tt := range []struct {
		name   string
		rate   float64
		parent string
		want   int
	}{
		{"nothing is measured of what is not sampled", 0, "", 0},
		{"a caller cannot have itself measured", 0, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 0},
		{"a caller cannot hide from being measured", 1, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, sentry.Options{Performance: true}, func(o *sdk.ClientOptions) { o.EnableTracing, o.TracesSampleRate = true, tt.rate })
			r.call(vgirpc.WithMetadata(t.Context(), wire.Pair{Key: wire.KeyTraceParent, Value: tt.parent}), t, "fine")
			if all := r.of("transaction"); len(all) != tt.want {
				t.Errorf("%d transactions, want %d", len(all), tt.want)
			}
		})
	}
}

func TestImpossibleOptions(t *testing.T) {
	client, err := sdk.NewClient(sdk.ClientOptions{Dsn: "http://pub@127.0.0.1:1/7"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	hub := sdk.NewHub(client, sdk.NewScope())
	for _, tt := range []struct {
		name, want string
		opts       sentry.Options
	}{
		{"nobody has initialised the SDK", "not initialised", sentry.Options{}},
		{"performance without tracing", "EnableTracing", sentry.Options{Hub: hub, Performance: true}},
		{"a code that is none", "MADE_UP", sentry.Options{Hub: hub, IgnoreCodes: []vgirpc.Code{"MADE_UP"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := sentry.New(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestShutdownIsBounded(t *testing.T) {
	stuck := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	defer server.Close()
	defer close(stuck)
	client, err := sdk.NewClient(sdk.ClientOptions{Dsn: strings.Replace(server.URL, "://", "://pub@", 1) + "/7"})
	if err != nil {
		t.Fatal(err)
	}
	reporter, err := sentry.New(sentry.Options{Hub: sdk.NewHub(client, sdk.NewScope())})
	if err != nil {
		t.Fatal(err)
	}
	client.CaptureMessage("waits", nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := reporter.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// hook is an observer that runs a function when a call ends.
type hook func(context.Context, *vgirpc.Call, *vgirpc.CallEnd)

func (hook) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

func (h hook) CallEnded(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	h(ctx, call, end)
}

// within runs f with a reporter at the end of a call.
func within(tb testing.TB, f func(context.Context, *sentry.Reporter, *vgirpc.Call, *vgirpc.CallEnd)) {
	tb.Helper()
	in := newIntake(tb)
	client, err := sdk.NewClient(sdk.ClientOptions{Dsn: in.dsn()})
	if err != nil {
		tb.Fatal(err)
	}
	defer client.Close()
	reporter, err := sentry.New(sentry.Options{Hub: sdk.NewHub(client, sdk.NewScope())})
	if err != nil {
		tb.Fatal(err)
	}
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{Observers: []vgirpc.Observer{
		hook(func(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) { f(ctx, reporter, call, end) }),
	}}, contract)
	if err != nil {
		tb.Fatal(err)
	}
	vgirpc.HandleUnary(server, fail, handle)
	vgirpc.HandleProducer(server, count, func(context.Context, failParams) (*counter, error) { return &counter{}, nil })
	c, err := vgirpc.DialServer(tb.Context(), server, vgirpc.ClientOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := fail.Call(tb.Context(), c, failParams{}); err != nil {
		tb.Error(err)
	}
	_ = c.Close()
}

func TestACallThatSucceedsCostsOneAllocation(t *testing.T) {
	within(t, func(ctx context.Context, r *sentry.Reporter, call *vgirpc.Call, end *vgirpc.CallEnd) {
		if allocs := testing.AllocsPerRun(1000, func() { r.CallEnded(r.CallStarted(ctx, call), call, end) }); allocs > 1 {
			t.Errorf("%v allocations", allocs)
		}
	})
}

func BenchmarkReporter(b *testing.B) {
	within(b, func(ctx context.Context, r *sentry.Reporter, call *vgirpc.Call, end *vgirpc.CallEnd) {
		b.ReportAllocs()
		for b.Loop() {
			r.CallEnded(r.CallStarted(ctx, call), call, end)
		}
	})
}
