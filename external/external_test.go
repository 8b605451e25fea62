package external

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// shelf is storage in this process: objects by path, under http.
type shelf struct {
	server *httptest.Server

	mu       sync.Mutex
	objects  map[string]object
	requests []string // methods and paths of all requests
	failure  error    // of the next upload
}

type object struct {
	body     []byte
	encoding string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{objects: map[string]object{}}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

// ServeHTTP answers with the object of that path. Signed URLs have a query,
// which does not matter here.
func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	o, ok := s.objects[r.URL.Path]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	if o.encoding != "" {
		w.Header().Set("Content-Encoding", o.encoding)
	}
	_, _ = w.Write(o.body)
}

// Upload implements Store.
func (s *shelf) Upload(_ context.Context, data []byte, contentEncoding string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return "", s.failure
	}
	path := fmt.Sprintf("/o/%d", len(s.objects))
	s.objects[path] = object{bytes.Clone(data), contentEncoding}
	return s.server.URL + path + "?sig=" + secret, nil
}

func (s *shelf) put(path string, body []byte, encoding string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[path] = object{body, encoding}
	return s.server.URL + path
}

func (s *shelf) only(t *testing.T) object {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.objects) != 1 {
		t.Fatalf("%d objects were stored, want 1", len(s.objects))
	}
	for _, o := range s.objects {
		return o
	}
	return object{}
}

func (s *shelf) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// secret is what no error and no log line may show.
const secret = "s3cr3t-signature"

// newOffload returns an Offload that may fetch from loopback and does not wait
// between attempts.
func newOffload(t *testing.T, opts Options) *Offload {
	t.Helper()
	if opts.AllowedOrigins == nil {
		opts.AllowedOrigins = []string{"http://127.0.0.1"}
	}
	if opts.RetryDelay == 0 {
		opts.RetryDelay = time.Nanosecond
	}
	o, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// column makes a batch of one column from JSON.
func column(tb testing.TB, typ arrow.DataType, values string, meta wire.Metadata) (*wire.Schema, wire.Batch) {
	tb.Helper()
	schema, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "v", Type: typ, Nullable: true}}, nil))
	if err != nil {
		tb.Fatal(err)
	}
	arr, _, err := array.FromJSON(memory.DefaultAllocator, typ, strings.NewReader(values))
	if err != nil {
		tb.Fatal(err)
	}
	b, err := wire.NewBatch(schema, array.NewRecordBatch(schema.Arrow(), []arrow.Array{arr}, int64(arr.Len())), meta)
	if err != nil {
		tb.Fatal(err)
	}
	return schema, *b
}

// numbers is a data batch of three int64.
func numbers(t *testing.T, meta wire.Metadata) (*wire.Schema, wire.Batch) {
	t.Helper()
	return column(t, arrow.PrimitiveTypes.Int64, `[1, 2, 3]`, meta)
}

func logBatch(schema *wire.Schema, text string) wire.Batch {
	l := wire.Log{Level: "INFO", Message: text}
	return wire.EmptyBatch(schema, l.Metadata("", ""))
}

func errorBatch(schema *wire.Schema, text string) wire.Batch {
	s := wire.Status{Type: "ValueError", Message: text, Code: "NOT_FOUND", Kind: "gone"}
	return wire.EmptyBatch(schema, s.Metadata())
}

// stream is a complete IPC stream.
func stream(tb testing.TB, schema *wire.Schema, batches ...wire.Batch) []byte {
	tb.Helper()
	var d digest
	defer d.finish()
	raw, err := new(Offload).serialize(schema, batches, &d)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func pointerTo(schema *wire.Schema, location, digest string) *wire.Batch {
	b := vgirpc.ExternalRef{Location: location, SHA256: digest}.Pointer(schema)
	return &b
}

// text is a batch's rows as JSON.
func text(tb testing.TB, b *wire.Batch) string {
	tb.Helper()
	rec, err := b.Record()
	if err != nil {
		tb.Fatal(err)
	}
	defer rec.Release()
	out, err := rec.MarshalJSON()
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}

func zstdOf(tb testing.TB, raw []byte) []byte {
	tb.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return e.EncodeAll(raw, nil)
}

func gzipOf(tb testing.TB, raw []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(raw); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// checkNoSecrets fails when an error shows one, however it is looked at.
func checkNoSecrets(t *testing.T, err error) {
	t.Helper()
	var walk func(error)
	walk = func(err error) {
		if err == nil {
			return
		}
		for _, form := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
			if strings.Contains(form, secret) || strings.Contains(form, "sig=") {
				t.Errorf("a secret of the URL shows in %T: %s", err, form)
			}
		}
		switch e := err.(type) { //nolint:errorlint // every link of the chain is looked at
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				walk(err)
			}
		}
	}
	walk(err)
}

// roundTrip is a transport of the test's own.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1}
}

// untilDone is a body that says nothing until the request ends.
type untilDone struct{ ctx context.Context }

// Read waits.
func (u untilDone) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, context.Cause(u.ctx)
}

func wantError(t *testing.T, err error, code vgirpc.Code, fragment string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s with %q", code, fragment)
	}
	if got := vgirpc.CodeOf(err); got != code || !strings.Contains(err.Error(), fragment) {
		t.Errorf("got %s: %v\nwant %s with %q", got, err, code, fragment)
	}
	checkNoSecrets(t, err)
}

func asVGI(t *testing.T, err error) *vgirpc.Error {
	t.Helper()
	e, ok := errors.AsType[*vgirpc.Error](err)
	if !ok {
		t.Fatalf("got %T (%v), want *vgirpc.Error", err, err)
	}
	return e
}
