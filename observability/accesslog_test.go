package observability_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vgirpc/vgirpc-go/observability"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// The contract under test. Its parameters are secrets: none may be logged.
const secret = "hunter2"

type loginParams struct {
	Password string `vgi:"password"`
	Attempt  int64  `vgi:"attempt"`
}

type row struct {
	N int64 `vgi:"n"`
}

var (
	contract = vgirpc.NewProtocol("test.Access.v1", "1.0.0")
	login    = vgirpc.NewUnary[loginParams, string](contract, "login")
	ping     = vgirpc.NewUnary[vgirpc.None, vgirpc.None](contract, "ping")
	count    = vgirpc.NewProducer[loginParams, row](contract, "count")
	double   = vgirpc.NewExchange[loginParams, row, row](contract, "double")
)

type counting struct{ Left int64 }

func (c *counting) Produce(_ context.Context, out *vgirpc.Emitter[row]) error {
	switch {
	case c.Left == 0:
		return io.EOF
	case c.Left < 0:
		return vgirpc.Errorf(vgirpc.DataLoss, "the source dried up")
	}
	c.Left--
	return out.Emit(row{c.Left}, row{c.Left})
}

type doubling struct{}

func (*doubling) Exchange(_ context.Context, in []row, out *vgirpc.Emitter[row]) error {
	for i := range in {
		in[i].N *= 2
	}
	return out.EmitRows(in)
}

func newServer(tb testing.TB, observers ...vgirpc.Observer) *vgirpc.Server {
	tb.Helper()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{
		ServerID: "0123456789ab", Observers: observers, Logger: slog.New(slog.DiscardHandler),
	}, contract)
	if err != nil {
		tb.Fatal(err)
	}
	vgirpc.HandleUnary(s, login, func(_ context.Context, p loginParams) (string, error) {
		switch p.Attempt {
		case 1:
			return "", vgirpc.Errorf(vgirpc.PermissionDenied, "not you").WithType("AuthError")
		case 2:
			return "", errors.New("plain")
		case 3:
			panic("oops")
		}
		return p.Password, nil
	})
	vgirpc.HandleUnary(s, ping, func(context.Context, vgirpc.None) (vgirpc.None, error) { return vgirpc.None{}, nil })
	vgirpc.HandleProducer(s, count, func(_ context.Context, p loginParams) (*counting, error) {
		if p.Attempt == 7 {
			return nil, vgirpc.Errorf(vgirpc.NotFound, "no such source")
		}
		return &counting{Left: p.Attempt}, nil
	})
	vgirpc.HandleExchange(s, double, func(context.Context, loginParams) (*doubling, error) { return &doubling{}, nil })
	return s
}

// syncBuffer is a buffer that reports how often it was written to.
type syncBuffer struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes int
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++
	return b.b.Write(p)
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("testdata/access_log.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// calls runs use with a client of a server that logs, and returns the records,
// each of which the canonical schema accepts.
func calls(t *testing.T, use func(ctx context.Context, c *vgirpc.Client)) []map[string]any {
	t.Helper()
	var out syncBuffer
	log := observability.NewAccessLog(&out, observability.AccessLogOptions{ServerID: "0123456789ab"})
	c, err := vgirpc.DialServer(t.Context(), newServer(t, log), vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	use(t.Context(), c)
	_ = c.Close() // and wait for the serving loop
	return records(t, &out)
}

func records(t *testing.T, out *syncBuffer) []map[string]any {
	t.Helper()
	text := out.b.String()
	if strings.Contains(text, secret) {
		t.Errorf("the log holds a parameter:\n%s", text)
	}
	var all []map[string]any
	valid := schema(t)
	for line := range strings.Lines(text) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if err := valid.Validate(r); err != nil {
			t.Errorf("%v\n%s", err, line)
		}
		all = append(all, r)
	}
	if out.writes != len(all) {
		t.Errorf("%d records took %d writes", len(all), out.writes)
	}
	return all
}

func TestEachCallIsOneRecord(t *testing.T) {
	hash, err := contract.Hash()
	if err != nil {
		t.Fatal(err)
	}
	type fields = map[string]any
	shape := []any{fields{"name": "password", "type": "string"}, fields{"name": "attempt", "type": "int64"}}
	good := loginParams{Password: secret}
	drainAll := func(ctx context.Context, c *vgirpc.Client, n int64) {
		stream, err := count.Open(ctx, c, loginParams{secret, n})
		if err != nil {
			return
		}
		for range stream.All() {
		}
		_ = stream.Close()
	}
	for _, tt := range []struct {
		name string
		call func(*testing.T, context.Context, *vgirpc.Client)
		want fields // nil value: absent
	}{
		{
			"a unary call",
			func(_ *testing.T, ctx context.Context, c *vgirpc.Client) { _, _ = login.Call(ctx, c, good) },
			fields{
				"message": "test.Access.v1.login ok", "protocol": "test.Access.v1", "protocol_hash": hash, "method": "login",
				"method_type": "unary", "status": "ok", "error_type": "", "request_fields": shape, "request_rows": 1.0,
				"input_batches": 1.0, "output_batches": 1.0, "input_rows": 1.0, "output_rows": 1.0,
				"stream_id": nil, "cancelled": nil, "error_message": nil, "error_code": nil, "truncated": nil, "claims": nil,
			},
		},
		{
			"a void call without parameters",
			func(_ *testing.T, ctx context.Context, c *vgirpc.Client) { _, _ = ping.Call(ctx, c, vgirpc.None{}) },
			fields{"method": "ping", "status": "ok", "request_fields": []any{}, "request_rows": 1.0},
		},
		{
			"a call that the handler refuses",
			func(_ *testing.T, ctx context.Context, c *vgirpc.Client) {
				_, _ = login.Call(ctx, c, loginParams{secret, 1})
			},
			fields{
				"message": "test.Access.v1.login error", "status": "error", "error_type": "AuthError",
				"error_message": "not you", "error_code": "PERMISSION_DENIED", "output_batches": 1.0,
			},
		},
		{
			"an error of an unknown kind",
			func(_ *testing.T, ctx context.Context, c *vgirpc.Client) {
				_, _ = login.Call(ctx, c, loginParams{secret, 2})
			},
			fields{"status": "error", "error_type": "Error", "error_message": "plain", "error_code": "UNKNOWN"},
		},
		{
			"a panic",
			func(_ *testing.T, ctx context.Context, c *vgirpc.Client) {
				_, _ = login.Call(ctx, c, loginParams{secret, 3})
			},
			fields{"status": "error", "error_type": "PanicError", "error_code": "UNKNOWN"},
		},
		{
			"a producer that ends",
			func(_ *testing.T, ctx context.Context, c *vgirpc.Client) { drainAll(ctx, c, 3) },
			fields{
				"method": "count", "method_type": "stream", "status": "ok", "request_fields": shape, "request_rows": 1.0,
				"input_batches": 1.0, "output_batches": 3.0, "output_rows": 6.0, "cancelled": nil,
			},
		},
		{
			"a stream that does not open",
			func(_ *testing.T, ctx context.Context, c *vgirpc.Client) { drainAll(ctx, c, 7) },
			fields{"method_type": "stream", "status": "error", "error_code": "NOT_FOUND", "cancelled": nil},
		},
		{
			"a stream that fails half-way",
			func(_ *testing.T, ctx context.Context, c *vgirpc.Client) { drainAll(ctx, c, -1) },
			fields{"method_type": "stream", "status": "error", "error_code": "DATA_LOSS", "error_message": "the source dried up"},
		},
		{
			"a stream that its caller cancels is a success that says so",
			func(t *testing.T, ctx context.Context, c *vgirpc.Client) {
				t.Helper()
				stream, err := count.Open(ctx, c, loginParams{secret, 100})
				if err != nil {
					t.Fatal(err)
				}
				for range stream.All() {
					break
				}
			},
			fields{"method_type": "stream", "status": "ok", "error_type": "", "cancelled": true, "error_code": nil, "output_batches": 1.0},
		},
		{
			"an exchange",
			func(t *testing.T, ctx context.Context, c *vgirpc.Client) {
				t.Helper()
				stream, err := double.Open(ctx, c, good)
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if _, err := stream.Exchange(ctx, row{1}, row{2}); err != nil {
						t.Error(err)
					}
				}
				_ = stream.Close()
			},
			fields{
				"method": "double", "method_type": "stream", "status": "ok", "request_rows": 1.0,
				"input_batches": 3.0, "input_rows": 5.0, "output_batches": 2.0, "output_rows": 4.0,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := calls(t, func(ctx context.Context, c *vgirpc.Client) { tt.call(t, ctx, c) })
			// A client asks for the options to get in step after a refused stream.
			got = slices.DeleteFunc(got, func(r map[string]any) bool { return r["method"] == wire.MethodTransport })
			if len(got) != 1 {
				t.Fatalf("%d records, want 1", len(got))
			}
			for name, want := range tt.want {
				if diff := cmp.Diff(want, got[0][name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			for _, name := range []string{"request_bytes", "response_bytes"} {
				if n, _ := got[0][name].(float64); n <= 0 {
					t.Errorf("%s is %v", name, got[0][name])
				}
			}
			if id, _ := got[0]["request_id"].(string); !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(id) {
				t.Errorf("request_id is %q", id)
			}
		})
	}
}

func TestRecordsNameTheProtocolThatOwnsTheMethod(t *testing.T) {
	reflection := vgirpc.NewReflection()
	hash, err := reflection.Protocol.Hash()
	if err != nil {
		t.Fatal(err)
	}
	got := calls(t, func(ctx context.Context, c *vgirpc.Client) {
		if _, err := reflection.ListProtocols.Call(ctx, c, vgirpc.None{}); err != nil {
			t.Error(err)
		}
	})
	if len(got) != 1 || got[0]["protocol"] != vgirpc.ReflectionName || got[0]["protocol_hash"] != hash {
		t.Errorf("records %v", got)
	}
}

// raw sends request batches and reads the replies without a client.
func raw(t *testing.T, requests ...wire.Metadata) []map[string]any {
	t.Helper()
	var out syncBuffer
	s := newServer(t, observability.NewAccessLog(&out, observability.AccessLogOptions{}))
	near, far := vgirpc.NewPair()
	done := make(chan error, 1)
	go func() { done <- s.ServePipe(t.Context(), far) }()
	w, r := wire.NewWriter(near), wire.NewReader(near, wire.Limits{}, nil)
	for _, meta := range requests {
		b := wire.EmptyBatch(wire.EmptySchema(), meta)
		b.Rows = 1
		if err := errors.Join(w.Open(b.Schema), w.Batch(&b), w.Close(), w.Flush()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.NextStream(); err != nil {
			t.Fatal(err)
		}
		if err := r.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	_ = near.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return records(t, &out)
}

func TestRequestsBesideTheProtocols(t *testing.T) {
	request := func(pairs ...string) wire.Metadata {
		meta := wire.Metadata{{Key: wire.KeyRequestVersion, Value: wire.RequestVersion}}
		for i := 0; i < len(pairs); i += 2 {
			meta = meta.With(pairs[i], pairs[i+1])
		}
		return meta
	}
	for _, tt := range []struct {
		name    string
		request wire.Metadata
		want    map[string]any // nil: no record
	}{
		{
			"the server's own method goes by the primary",
			request(wire.KeyMethod, wire.MethodTransport),
			map[string]any{"protocol": "test.Access.v1", "method": "__transport_options__", "status": "ok", "method_type": "unary"},
		},
		{
			"the caller's identifier is the record's",
			request(wire.KeyMethod, wire.MethodTransport, wire.KeyRequestID, "my-request.1"),
			map[string]any{"request_id": "my-request.1"},
		},
		{
			"a call that the version gate refuses",
			request(wire.KeyMethod, "ping", wire.KeyProtocol, "test.Access.v1", wire.KeyProtocolVersion, "0.1.0"),
			map[string]any{"method": "ping", "status": "error", "error_type": "ProtocolVersionError", "error_code": "FAILED_PRECONDITION"},
		},
		{
			"a call with the wrong parameters",
			request(wire.KeyMethod, "login", wire.KeyProtocol, "test.Access.v1", wire.KeyProtocolVersion, "1.0.0"),
			map[string]any{"method": "login", "status": "error", "error_code": "INVALID_ARGUMENT"},
		},
		{
			"a method that nobody has leaves no record: it has no owner",
			request(wire.KeyMethod, "nothing", wire.KeyProtocol, "test.Access.v1"), nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := raw(t, tt.request)
			if tt.want == nil {
				if len(got) != 0 {
					t.Errorf("records %v", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("%d records, want 1", len(got))
			}
			for name, want := range tt.want {
				if got[0][name] != want {
					t.Errorf("%s is %v, want %v", name, got[0][name], want)
				}
			}
		})
	}
}

func TestConcurrentCallsDoNotMixTheirLines(t *testing.T) {
	var out syncBuffer
	s := newServer(t, observability.NewAccessLog(&out, observability.AccessLogOptions{}))
	const clients, each = 8, 50
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			c, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			for range each {
				if _, err := login.Call(t.Context(), c, loginParams{Password: secret}); err != nil {
					t.Error(err)
				}
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	got := records(t, &out)
	if len(got) != clients*each {
		t.Errorf("%d records, want %d", len(got), clients*each)
	}
	ids := map[any]bool{}
	for _, r := range got {
		ids[r["request_id"]] = true
	}
	if len(ids) != len(got) {
		t.Errorf("%d calls have %d identifiers", len(got), len(ids))
	}
}

// faulty is a writer that fails in the ways that it is told.
type faulty struct {
	bytes.Buffer
	failures []int // of the next writes: bytes written before failing; -1: none
}

func (f *faulty) Write(p []byte) (int, error) {
	if len(f.failures) > 0 {
		n := f.failures[0]
		if f.failures = f.failures[1:]; n >= 0 {
			_, _ = f.Buffer.Write(p[:n])
			return n, errors.New("disk full")
		}
	}
	return f.Buffer.Write(p)
}

func TestRecordsThatCannotBeWrittenAreReportedAndCounted(t *testing.T) {
	var said bytes.Buffer
	w := &faulty{failures: []int{-1, 10, 0, 0, -1}}
	log := observability.NewAccessLog(w, observability.AccessLogOptions{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	c, err := vgirpc.DialServer(t.Context(), newServer(t, log), vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if _, err := ping.Call(t.Context(), c, vgirpc.None{}); err != nil {
			t.Errorf("the log failed a call: %v", err)
		}
	}
	_ = c.Close()
	lines := strings.Split(w.String(), "\n")
	var whole int
	for _, line := range lines {
		if json.Valid([]byte(line)) {
			whole++
		}
	}
	if whole != 3 || len(lines) != 5 { // three records, half of one, and what follows the last newline
		t.Errorf("%d records in %d lines:\n%s", whole, len(lines), w.String())
	}
	if strings.Count(said.String(), "\n") != 2 || !strings.Contains(said.String(), "disk full") || !strings.Contains(said.String(), "lost=3") {
		t.Errorf("the logger was told:\n%s", said.String())
	}
}

func TestOpenAccessLog(t *testing.T) {
	ended := func(t *testing.T, log *observability.AccessLog) {
		t.Helper()
		c, err := vgirpc.DialServer(t.Context(), newServer(t, log), vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ping.Call(t.Context(), c, vgirpc.None{}); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}

	t.Run("appends to a private file under a name with placeholders", func(t *testing.T) {
		dir := t.TempDir()
		for range 2 {
			log, err := observability.OpenAccessLog(filepath.Join(dir, "{server_id}-{pid}.jsonl"), observability.AccessLogOptions{ServerID: "me"})
			if err != nil {
				t.Fatal(err)
			}
			ended(t, log)
			if err := errors.Join(log.Close(), log.Close()); err != nil {
				t.Error(err)
			}
			ended(t, log) // logs nothing, and fails nothing
		}
		path := filepath.Join(dir, fmt.Sprintf("me-%d.jsonl", os.Getpid()))
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
		text, _ := os.ReadFile(path)
		if n := bytes.Count(text, []byte("\n")); n != 2 {
			t.Errorf("%d records, want 2", n)
		}
	})

	t.Run("a server identifier that is no file name does not become a path", func(t *testing.T) {
		for _, id := range []string{"../../etc/x", `a\b`, "a\x00b"} {
			_, err := observability.OpenAccessLog(filepath.Join(t.TempDir(), "{server_id}.jsonl"), observability.AccessLogOptions{ServerID: id})
			if err == nil || !strings.Contains(err.Error(), "server_id") {
				t.Errorf("%q: %v", id, err)
			}
		}
	})

	t.Run("a path that cannot be opened is an error", func(t *testing.T) {
		_, err := observability.OpenAccessLog(filepath.Join(t.TempDir(), "no", "such", "dir"), observability.AccessLogOptions{})
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	})
}

func TestSamplingKeepsErrorsAndCarriesTheRate(t *testing.T) {
	const rate, pings, failures = 0.25, 2000, 20
	var a, b syncBuffer
	opts := observability.AccessLogOptions{SampleRate: rate}
	s := newServer(t, observability.NewAccessLog(&a, opts), observability.NewAccessLog(&b, opts))
	c, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range pings {
		_, _ = ping.Call(t.Context(), c, vgirpc.None{})
	}
	for range failures {
		_, _ = login.Call(t.Context(), c, loginParams{Attempt: 1})
	}
	_ = c.Close()
	ids := func(all []map[string]any) (out []any) {
		for _, r := range all {
			out = append(out, r["request_id"])
		}
		return out
	}
	got := records(t, &a)
	if diff := cmp.Diff(ids(got), ids(records(t, &b))); diff != "" {
		t.Errorf("two logs decide differently on the same calls:\n%s", diff)
	}
	var failed, sampled int
	for _, r := range got {
		switch r["status"] {
		case "error":
			failed++
			if r["sample_rate"] != nil {
				t.Errorf("a record that stands for itself: %v", r)
			}
		case "ok":
			sampled++
			if r["sample_rate"] != rate {
				t.Errorf("sample_rate %v", r["sample_rate"])
			}
		}
	}
	if failed != failures {
		t.Errorf("%d failed calls logged, want all %d", failed, failures)
	}
	if sampled < 380 || sampled > 620 { // 500, and six standard deviations
		t.Errorf("%d of %d calls logged at a rate of %v", sampled, pings, rate)
	}
}

func TestSampleRates(t *testing.T) {
	for _, tt := range []struct {
		name string
		rate float64
		want int // records of a call that succeeds and one that fails
		err  string
	}{
		{"none given", 0, 2, ""},
		{"every call", 1, 2, ""},
		{"failed calls alone", -1, 1, ""},
		{"a percentage", 50, 0, "at most 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			log, err := observability.OpenAccessLog(path, observability.AccessLogOptions{SampleRate: tt.rate})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c, err := vgirpc.DialServer(t.Context(), newServer(t, log), vgirpc.ClientOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = ping.Call(t.Context(), c, vgirpc.None{})
			_, _ = login.Call(t.Context(), c, loginParams{Attempt: 1})
			_ = c.Close()
			_ = log.Close()
			text, err := os.ReadFile(path)
			if n := bytes.Count(text, []byte("\n")); err != nil || n != tt.want || bytes.Contains(text, []byte("sample_rate")) {
				t.Errorf("%d records, want %d without a rate; %v\n%s", n, tt.want, err, text)
			}
		})
	}
}

type spanKey struct{}

// tracer is an observer that puts each call into a span.
type tracer struct{ trace, span string }

func (o tracer) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context {
	return context.WithValue(ctx, spanKey{}, o)
}

func (tracer) CallEnded(context.Context, *vgirpc.Call, *vgirpc.CallEnd) {}

func TestRecordsNameTheSpanOfTheirCall(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, tt := range []struct {
		name       string
		span       tracer
		wantFields map[string]any
	}{
		{"a span", tracer{trace, span}, map[string]any{"trace_id": trace, "span_id": span}},
		{"none", tracer{}, map[string]any{"trace_id": nil, "span_id": nil}},
		{"half of one", tracer{trace, ""}, map[string]any{"trace_id": nil, "span_id": nil}},
		{"digits that the schema refuses", tracer{strings.ToUpper(trace), span}, map[string]any{"trace_id": nil, "span_id": nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out syncBuffer
			log := observability.NewAccessLog(&out, observability.AccessLogOptions{
				TraceOf: func(ctx context.Context) (trace, span string) {
					s, _ := ctx.Value(spanKey{}).(tracer)
					return s.trace, s.span
				},
			})
			c, err := vgirpc.DialServer(t.Context(), newServer(t, tt.span, log), vgirpc.ClientOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = ping.Call(t.Context(), c, vgirpc.None{})
			_ = c.Close()
			got := records(t, &out)
			if len(got) != 1 {
				t.Fatalf("%d records", len(got))
			}
			for name, want := range tt.wantFields {
				if got[0][name] != want {
					t.Errorf("%s is %v, want %v", name, got[0][name], want)
				}
			}
		})
	}
}

func TestTheLogAllocatesNextToNothingForACall(t *testing.T) {
	log, err := observability.OpenAccessLog(filepath.Join(t.TempDir(), "log"), observability.AccessLogOptions{
		File: observability.LogFileOptions{Async: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	measured := make(chan float64, 1)
	c, err := vgirpc.DialServer(t.Context(), newServer(t, hook(func(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
		measured <- testing.AllocsPerRun(1000, func() { log.CallEnded(log.CallStarted(ctx, call), call, end) })
	})), vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = login.Call(t.Context(), c, loginParams{Password: secret})
	_ = c.Close()
	if n := <-measured; n > 2 { // the race detector empties pools
		t.Errorf("%v allocations", n)
	}
	if err := log.Close(); err != nil || log.Dropped() != 0 {
		t.Errorf("%v, %d dropped", err, log.Dropped())
	}
}

func BenchmarkUnaryCall(b *testing.B) {
	for _, bench := range []struct {
		name      string
		observers []vgirpc.Observer
	}{
		{"without a log", nil},
		{"with a log", []vgirpc.Observer{observability.NewAccessLog(io.Discard, observability.AccessLogOptions{})}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c, err := vgirpc.DialServer(b.Context(), newServer(b, bench.observers...), vgirpc.ClientOptions{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := login.Call(b.Context(), c, loginParams{Password: "x"}); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.Close()
		})
	}
}
