package nativeclient_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

func equal(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(vgirpc.Decimal{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// remote reports an error that is not the server's typed one of that name.
func remote(t *testing.T, err error, typeName string) *vgirpc.Error {
	t.Helper()
	e, ok := errors.AsType[*vgirpc.Error](err)
	if !ok || !vgirpc.IsRemote(err) || e.Type != typeName {
		t.Fatalf("got %v, want a %s of the server", err, typeName)
	}
	return e
}

// collect reads a stream to its end, with the number of its batches.
func collect(t *testing.T, s *vgirpc.ProducerStream[Item]) (rows []Item, batches int) {
	t.Helper()
	for got, err := range s.All() {
		noError(t, err)
		rows = append(rows, got...)
		batches++
	}
	return rows, batches
}

// produce opens a stream and reads it to its end.
func produce[P any](t *testing.T, c *vgirpc.Client, m *vgirpc.Producer[P, Item], params P) (rows []Item, batches int) {
	t.Helper()
	s, err := m.Open(t.Context(), c, params)
	noError(t, err)
	return collect(t, s)
}

// newTransport returns a transport whose requests are recorded, without
// compression, so that they can be read.
func newTransport(t *testing.T, url string, opts httpclient.Options, client vgirpc.ClientOptions) (*httpclient.Transport, *recorder) {
	t.Helper()
	pool := &http.Transport{TLSClientConfig: opts.TLS, DisableCompression: true}
	t.Cleanup(pool.CloseIdleConnections)
	rec := &recorder{next: pool}
	opts.Transport, opts.TLS = rec, nil
	if opts.Uploads != nil {
		opts.Uploads.Transport = rec
	}
	opts.AcceptEncodings, opts.Compression = []string{}, -1
	tr, err := httpclient.New(url, opts, client)
	noError(t, err)
	t.Cleanup(func() { noError(t, tr.Close()) })
	return tr, rec
}

// seen is one request with its response.
type seen struct {
	method, url, path string
	header            http.Header
	body              []byte
	status            int
	respHeader        http.Header
	respBody          []byte
}

// recorder is a round tripper that remembers what passes.
type recorder struct {
	next http.RoundTripper

	mu  sync.Mutex
	all []seen
}

// RoundTrip implements [http.RoundTripper].
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	s := seen{method: req.Method, url: req.URL.String(), path: req.URL.Path, header: maps.Clone(req.Header)}
	out := req.Clone(req.Context())
	if req.Body != nil {
		var err error
		if s.body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		if err := req.Body.Close(); err != nil {
			return nil, err
		}
		out.Body = io.NopCloser(bytes.NewReader(s.body))
	}
	resp, err := r.next.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	s.respBody, err = io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(s.respBody))
	s.status, s.respHeader = resp.StatusCode, resp.Header.Clone()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
	return resp, nil
}

// take returns what was seen since the last time, without discovery.
func (r *recorder) take() []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.DeleteFunc(r.all, func(s seen) bool { return s.method == http.MethodHead })
	r.all = nil
	return out
}

// lines are the methods and paths of requests.
func lines(all []seen) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.method+" "+s.path)
	}
	return out
}

// batch is what the tests look at in a batch that travelled.
type batch struct {
	kind wire.Kind
	rows int
	cols int
	meta wire.Metadata
}

// batches reads all batches of a body, of every stream in it.
func batches(t *testing.T, body []byte) []batch {
	t.Helper()
	var out []batch
	rd := wire.NewReader(bytes.NewReader(body), wire.Limits{}, nil)
	defer rd.Close()
	for {
		if _, err := rd.NextStream(); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		for {
			b, err := rd.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			noError(t, err)
			kept := batch{kind: b.Kind(), rows: b.Rows, cols: len(b.Cols)}
			for _, p := range b.Meta {
				kept.meta = append(kept.meta, wire.Pair{Key: strings.Clone(p.Key), Value: strings.Clone(p.Value)})
			}
			out = append(out, kept)
		}
	}
}

// only is the one batch of a body.
func only(t *testing.T, body []byte) batch {
	t.Helper()
	all := batches(t, body)
	if len(all) != 1 {
		t.Fatalf("got %d batches, want one", len(all))
	}
	return all[0]
}
