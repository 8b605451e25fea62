package httpclient_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

// shelf is a storage service whose places are written and read under URLs of
// their own.
type shelf struct {
	url    string
	limit  int64
	status int // of uploads; 0 takes them

	mu      sync.Mutex
	places  int
	objects map[string][]byte
	headers []http.Header // of uploads
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{objects: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /in/{id}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.headers = append(s.headers, r.Header)
		if s.status != 0 {
			w.WriteHeader(s.status)
			return
		}
		s.objects[r.PathValue("id")] = body
	})
	mux.HandleFunc("GET /out/{id}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, _ = w.Write(s.objects[r.PathValue("id")])
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

var shelfLife = time.Date(2030, 1, 2, 3, 4, 5, 678000, time.UTC)

func (s *shelf) NewUploadURL(context.Context) (external.UploadURL, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places++
	id := strconv.Itoa(s.places)
	return external.UploadURL{Upload: s.url + "/in/" + id, Download: s.url + "/out/" + id, Expires: shelfLife}, nil
}

func (s *shelf) MaxUploadBytes() int64 { return s.limit }

// serveUploads serves the conformance methods for requests of up to 4 KiB, with
// uploads to s.
func serveUploads(t *testing.T, s *shelf) string {
	t.Helper()
	offload, err := external.New(external.Options{AllowedOrigins: []string{s.url}})
	noError(t, err)
	server, err := conformance.NewServer(
		vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler), Offload: offload}, conformance.HostStandard)
	noError(t, err)
	h, err := httpserver.New(server, httpserver.Options{MaxRequestBytes: 4096, Uploads: s})
	noError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestUploadURLs(t *testing.T) {
	s := newShelf(t)
	tr := newTransport(t, serveUploads(t, s), httpclient.Options{}, vgirpc.ClientOptions{})
	t.Run("as many places as were asked for", func(t *testing.T) {
		got, err := tr.UploadURLs(t.Context(), 2)
		noError(t, err)
		equal(t, got, []httpclient.UploadURL{
			{Upload: s.url + "/in/1", Download: s.url + "/out/1", Expires: shelfLife},
			{Upload: s.url + "/in/2", Download: s.url + "/out/2", Expires: shelfLife},
		})
	})
	for _, count := range []int{-1, 0, httpclient.MaxUploadURLs + 1} {
		t.Run(strconv.Itoa(count)+" places are not asked for", func(t *testing.T) {
			_, err := tr.UploadURLs(t.Context(), count)
			equal(t, vgirpc.CodeOf(err), vgirpc.InvalidArgument)
		})
	}
	t.Run("a server without uploads says so", func(t *testing.T) {
		server, err := conformance.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, conformance.HostStandard)
		noError(t, err)
		h, err := httpserver.New(server, httpserver.Options{})
		noError(t, err)
		srv := httptest.NewServer(h)
		defer srv.Close()
		_, err = newTransport(t, srv.URL, httpclient.Options{}, vgirpc.ClientOptions{}).UploadURLs(t.Context(), 1)
		if err == nil {
			t.Error("places are found")
		}
	})
}

func TestUploadURLsThatAreNone(t *testing.T) {
	field := func(name string, typ arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: typ} }
	text, at := arrow.BinaryTypes.String, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	for name, tt := range map[string]struct {
		fields []arrow.Field
		cols   []wire.Column
		rows   int
	}{
		"no rows": {
			[]arrow.Field{field("upload_url", text), field("download_url", text), field("expires_at", at)},
			make([]wire.Column, 3), 0,
		},
		"no columns": {nil, nil, 1},
		"a column of another type": {
			[]arrow.Field{field("upload_url", text), field("download_url", text), field("expires_at", arrow.PrimitiveTypes.Int64)},
			[]wire.Column{word("u"), word("d"), {Rows: 1, Data: make([]byte, 8)}},
			1,
		},
		"a column of another name": {
			[]arrow.Field{field("upload_url", text), field("download", text), field("expires_at", at)},
			[]wire.Column{word("u"), word("d"), {Rows: 1, Data: make([]byte, 8)}},
			1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			schema, err := wire.NewSchema(arrow.NewSchema(tt.fields, nil))
			noError(t, err)
			var body bytes.Buffer
			w := wire.NewWriter(&body)
			noError(t, w.Open(schema))
			noError(t, w.Batch(&wire.Batch{Schema: schema, Rows: tt.rows, Cols: tt.cols}))
			noError(t, w.Close())
			noError(t, w.Flush())
			f := &fake{call: answer(200, arrowType, body.String())}
			_, err = serve(t, f, httpclient.Options{}, vgirpc.ClientOptions{}).UploadURLs(t.Context(), 1)
			equal(t, vgirpc.CodeOf(err), vgirpc.Internal)
		})
	}
}

// word is a column of one string.
func word(s string) wire.Column {
	return wire.Column{Rows: 1, Offsets: wire.Bytes([]int32{0, int32(len(s))}), Data: []byte(s)}
}

func TestUploads(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	call := func(t *testing.T, s *shelf, opts httpclient.Options) error {
		t.Helper()
		tr := newTransport(t, serveUploads(t, s), opts, vgirpc.ClientOptions{})
		got, err := conformance.EchoString.Call(t.Context(), tr.Client(), conformance.Value[string]{Value: long})
		if err == nil {
			equal(t, got, long)
		}
		return err
	}
	t.Run("a request that is too large goes by way of storage, without credentials", func(t *testing.T) {
		for name, opts := range map[string]httpclient.Options{
			"as it is":                 {},
			"compressed":               {CompressAbove: 1},
			"without a response limit": {MaxResponseBytes: -1},
		} {
			t.Run(name, func(t *testing.T) {
				s := newShelf(t)
				opts.Header = http.Header{"Authorization": {"Bearer x"}}
				opts.Uploads = &httpclient.Uploads{Origins: []string{"http://127.0.0.1"}}
				noError(t, call(t, s, opts))
				equal(t, len(s.headers), 1)
				equal(t, s.headers[0].Get("Authorization"), "")
			})
		}
	})
	t.Run("so does the input of an exchange", func(t *testing.T) {
		s := newShelf(t)
		opts := httpclient.Options{Uploads: &httpclient.Uploads{Origins: []string{s.url}, Transport: http.DefaultTransport}}
		c := newTransport(t, serveUploads(t, s), opts, vgirpc.ClientOptions{}).Client()
		ex, err := conformance.ExchangeScale.Open(t.Context(), c, conformance.FactorParams{Factor: 2})
		noError(t, err)
		for range 2 {
			got, err := ex.Exchange(t.Context(), make([]conformance.FloatRow, 4096)...)
			noError(t, err)
			equal(t, len(got), 4096)
		}
		noError(t, ex.Close())
		equal(t, s.places, 2)
	})
	t.Run("without Uploads it is refused", func(t *testing.T) {
		equal(t, vgirpc.CodeOf(call(t, newShelf(t), httpclient.Options{})), vgirpc.ResourceExhausted)
	})
	for name, tt := range map[string]struct {
		origin string
		status int
		limit  int64
		want   vgirpc.Code
	}{
		"storage of another origin is not written to": {origin: "https://*", want: vgirpc.PermissionDenied},
		"storage of another port is not written to":   {origin: "http://127.0.0.1:1", want: vgirpc.PermissionDenied},
		"storage refuses":                              {origin: "http://127.0.0.1", status: 403, want: vgirpc.FailedPrecondition},
		"storage is down":                              {origin: "http://127.0.0.1", status: 503, want: vgirpc.Unavailable},
		"storage takes less than the server says":      {origin: "http://127.0.0.1", status: 413, want: vgirpc.ResourceExhausted},
		"storage sends elsewhere":                      {origin: "http://127.0.0.1", status: 307, want: vgirpc.FailedPrecondition},
		"the request is too large for storage as well": {origin: "http://127.0.0.1", limit: 5000, want: vgirpc.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			s.status, s.limit = tt.status, tt.limit
			err := call(t, s, httpclient.Options{Uploads: &httpclient.Uploads{Origins: []string{tt.origin}}})
			equal(t, vgirpc.CodeOf(err), tt.want)
			equal(t, len(s.objects), 0)
		})
	}
	for _, origin := range []string{"", "storage", "ftp://host", "http://*", "https://*.example.com", "https://host/path", "https://user@host"} {
		t.Run("an origin is not "+strconv.Quote(origin), func(t *testing.T) {
			_, err := httpclient.New("http://x", httpclient.Options{Uploads: &httpclient.Uploads{Origins: []string{origin}}}, vgirpc.ClientOptions{})
			if err == nil {
				t.Error("it is taken for one")
			}
		})
	}
	t.Run("uploads need an origin", func(t *testing.T) {
		if _, err := httpclient.New("http://x", httpclient.Options{Uploads: &httpclient.Uploads{}}, vgirpc.ClientOptions{}); err == nil {
			t.Error("they do without")
		}
	})
}
