package httpserver_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

const arrowType = "application/vnd.apache.arrow.stream"

// newHandler returns a handler for the conformance service.
func newHandler(tb testing.TB, opts httpserver.Options) *httpserver.Handler {
	tb.Helper()
	return newHandlerOf(tb, opts, vgirpc.ServerOptions{})
}

func newHandlerOf(tb testing.TB, opts httpserver.Options, of vgirpc.ServerOptions) *httpserver.Handler {
	tb.Helper()
	s, err := newServerWith(of)
	if err != nil {
		tb.Fatal(err)
	}
	h, err := httpserver.New(s, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// newServer returns a server of the conformance service.
func newServer(tb testing.TB) *vgirpc.Server {
	tb.Helper()
	s, err := newServerWith(vgirpc.ServerOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func newServerWith(of vgirpc.ServerOptions) (*vgirpc.Server, error) {
	of.Logger = slog.New(slog.DiscardHandler)
	return conformance.NewServer(of, conformance.HostStandard)
}

// canned is a ResponseWriter that keeps what it is sent.
type canned struct {
	header http.Header
	status int
	body   []byte
}

// Header is the response's header.
func (c *canned) Header() http.Header { return c.header }

// WriteHeader keeps the status.
func (c *canned) WriteHeader(status int) { c.status = status }

// Write keeps the body.
func (c *canned) Write(p []byte) (int, error) {
	c.body = append(c.body, p...)
	return len(p), nil
}

// requestOf is the body of the request that call makes.
func requestOf(tb testing.TB, call func(*vgirpc.Client) error) []byte {
	tb.Helper()
	conn := new(recorded)
	if err := call(vgirpc.NewClient(conn, vgirpc.ClientOptions{})); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		tb.Fatal(err)
	}
	return conn.sent.Bytes()
}

// echoFloat is the body of a call of echo_float.
func echoFloat(tb testing.TB) []byte {
	tb.Helper()
	return requestOf(tb, func(c *vgirpc.Client) error {
		_, err := conformance.EchoFloat.Call(tb.Context(), c, conformance.Value[float64]{Value: 1.5})
		return err
	})
}

// openAccumulate is the body of a request that opens exchange_accumulate.
func openAccumulate(tb testing.TB) []byte {
	tb.Helper()
	return requestOf(tb, func(c *vgirpc.Client) error {
		_, err := conformance.ExchangeAccumulate.Open(tb.Context(), c, vgirpc.None{})
		return err
	})
}

// floats is the body of an input batch of one column of numbers.
func floats(tb testing.TB, meta wire.Metadata, values ...float64) []byte {
	tb.Helper()
	column := array.NewFloat64Builder(memory.DefaultAllocator)
	column.AppendValues(values, nil)
	schema := arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Float64}}, nil)
	declared, err := wire.NewSchema(schema)
	if err != nil {
		tb.Fatal(err)
	}
	batch, err := wire.NewBatch(declared, array.NewRecordBatch(schema, []arrow.Array{column.NewArray()}, int64(len(values))), meta)
	if err != nil {
		tb.Fatal(err)
	}
	return encode(tb, declared, *batch)
}

// encode is an IPC stream of batches.
func encode(tb testing.TB, schema *wire.Schema, batches ...wire.Batch) []byte {
	tb.Helper()
	var body bytes.Buffer
	w := wire.NewWriter(&body)
	err := w.Open(schema)
	for i := range batches {
		err = errors.Join(err, w.Batch(&batches[i]))
	}
	if err := errors.Join(err, w.Close(), w.Flush()); err != nil {
		tb.Fatal(err)
	}
	return body.Bytes()
}

// last is the last batch of the last stream in a body.
func last(tb testing.TB, body []byte) *wire.Batch {
	tb.Helper()
	var found *wire.Batch
	r := wire.NewReader(bytes.NewReader(body), wire.Limits{}, nil)
	for {
		if _, err := r.NextStream(); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			tb.Fatal(err)
		}
		for {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				tb.Fatal(err)
			}
			own := *b
			own.Meta = slices.Clone(b.Meta)
			found = &own
		}
	}
}

// recorded keeps what a client sends, and never answers.
type recorded struct{ sent bytes.Buffer }

// Read has nothing to say.
func (r *recorded) Read([]byte) (int, error) { return 0, io.EOF }

// Write keeps p.
func (r *recorded) Write(p []byte) (int, error) { return r.sent.Write(p) }

// Close does nothing.
func (r *recorded) Close() error { return nil }

// unaryRequest is a POST of body, to be served again and again.
type unaryRequest struct {
	*http.Request
	body *bytes.Reader
}

func newUnaryRequest(tb testing.TB, path string, body []byte) *unaryRequest {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Type", arrowType)
	r.Header.Set("Accept-Encoding", "identity")
	u := &unaryRequest{r, bytes.NewReader(body)}
	r.Body, r.ContentLength = io.NopCloser(u.body), int64(len(body))
	return u
}

func (u *unaryRequest) serve(h http.Handler, w *canned) {
	_, _ = u.body.Seek(0, io.SeekStart)
	clear(w.header)
	w.body, w.status = w.body[:0], 0
	h.ServeHTTP(w, u.Request)
}

// mostAllocations is what a small unary call may allocate in the handler.
const mostAllocations = 40

func TestASmallUnaryCallAllocatesLittle(t *testing.T) {
	h := newHandler(t, httpserver.Options{})
	u := newUnaryRequest(t, "/ConformanceService/echo_float", echoFloat(t))
	w := &canned{header: http.Header{}}
	n := testing.AllocsPerRun(200, func() { u.serve(h, w) })
	if w.status != http.StatusOK || w.header.Get("X-Vgi-Rpc-Error") != "" {
		t.Fatalf("status %d, %q", w.status, w.body)
	}
	if n > mostAllocations {
		t.Errorf("%v allocations: want at most %d", n, mostAllocations)
	}
	t.Logf("%v allocations", n)
}

func BenchmarkUnary(b *testing.B) {
	h := newHandler(b, httpserver.Options{})
	u := newUnaryRequest(b, "/ConformanceService/echo_float", echoFloat(b))
	w := &canned{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		u.serve(h, w)
	}
	if w.status != http.StatusOK {
		b.Fatalf("status %d", w.status)
	}
}

func BenchmarkExchangeTurn(b *testing.B) {
	h := newHandler(b, httpserver.Options{})
	w := &canned{header: http.Header{}}
	newUnaryRequest(b, "/ConformanceService/exchange_accumulate/init", openAccumulate(b)).serve(h, w)
	u := newUnaryRequest(b, "/ConformanceService/exchange_accumulate/exchange", floats(b, last(b, w.body).Meta, 1))
	b.ReportAllocs()
	for b.Loop() {
		u.serve(h, w)
	}
	if w.status != http.StatusOK {
		b.Fatalf("status %d %q", w.status, w.body)
	}
}
