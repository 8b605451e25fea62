package clientdriver_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// places hands out URLs that nobody reads or writes.
type places struct{}

func (places) NewUploadURL(context.Context) (external.UploadURL, error) {
	return external.UploadURL{Upload: "https://a.example/put", Download: "https://a.example/get", Expires: time.Unix(1767225600, 999)}, nil
}

func (places) MaxUploadBytes() int64 { return 1 << 20 }

// site is a server in this process that notes the headers of its requests.
type site struct {
	http.Handler

	mu      sync.Mutex
	methods []string
	headers []http.Header
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.methods, s.headers = append(s.methods, r.Method), append(s.headers, r.Header.Clone())
	s.mu.Unlock()
	s.Handler.ServeHTTP(w, r)
}

// last is a header of the latest request of a method.
func (s *site) last(method, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range slices.Backward(s.methods) {
		if m == method {
			return s.headers[i].Get(name)
		}
	}
	return "none of " + method
}

func serve(t *testing.T, opts httpserver.Options) (*site, string) {
	t.Helper()
	server, err := conformance.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, conformance.HostStandard)
	if err != nil {
		t.Fatal(err)
	}
	h, err := httpserver.New(server, opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Handler: h}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return s, srv.URL
}

func TestSessionsAreAStack(t *testing.T) {
	s, url := serve(t, httpserver.Options{Sticky: &httpserver.Sticky{EchoHeaders: map[string]string{"Backend": "b7"}}})
	r := drive(t)
	r.connect("http", url+"/", "headers", object{"X-Mine": "1"})
	for _, op := range []string{"session_token", "session_echo_headers", "session_detach"} {
		equal(t, op, keys(r.ask(op), "ok", "error"), object{"ok": false, "error": "no session is open"})
	}
	equal(t, "an end without a session", r.good("session_end")["ok"], true)

	counter := func(method, name string, value int64) int64 {
		t.Helper()
		return number(t, r.good("unary", "request_b64", request(t, method, column{name, value}))["result_b64"])
	}
	r.good("session_begin", "token", "")
	equal(t, "no token", r.good("session_token")["token"], nil)
	equal(t, "no headers", r.good("session_echo_headers")["headers"], object{})
	counter("open_counter", "initial", 10)
	outer, _ := r.good("session_token")["token"].(string)
	equal(t, "headers", r.good("session_echo_headers")["headers"], object{"backend": "b7"})
	equal(t, "a caller's header", s.last("POST", "X-Mine"), "1")

	r.good("session_begin", "token", nil)
	counter("open_counter", "initial", 20)
	inner, _ := r.good("session_token")["token"].(string)
	if outer == "" || inner == "" || outer == inner {
		t.Errorf("tokens %q and %q", outer, inner)
	}
	equal(t, "the inner session", counter("increment_counter", "by", 1), int64(21))
	r.good("session_end")
	equal(t, "the one that ended", s.last("DELETE", "Vgi-Session"), inner)
	equal(t, "the outer session", counter("increment_counter", "by", 1), int64(11))
	equal(t, "its headers", s.last("POST", "Backend"), "b7")

	equal(t, "the token", r.good("session_detach")["token"], any(outer))
	r.good("session_end")
	equal(t, "a session that was detached is not ended", s.last("DELETE", "Vgi-Session"), inner)
	r.good("session_begin", "token", outer)
	equal(t, "resumed", counter("increment_counter", "by", 1), int64(12))
	r.good("unary", "request_b64", request(t, "close_counter"))
	equal(t, "closed by the method", r.good("session_token")["token"], nil)
	equal(t, "a bad token", r.ask("session_begin", "token", "two words")["ok"], false)

	counter("open_counter", "initial", 1)
	last, _ := r.good("session_token")["token"].(string)
	equal(t, "shutdown", r.ask("shutdown"), object{"ok": true})
	equal(t, "a shutdown ends sessions", s.last("DELETE", "Vgi-Session"), last)
}

func TestCapabilities(t *testing.T) {
	for name, tt := range map[string]struct {
		opts httpserver.Options
		want object
	}{
		"of a server with everything": {
			httpserver.Options{
				Sticky:          &httpserver.Sticky{EchoHeaders: map[string]string{"Backend": "b7"}, TTL: 60 * time.Second},
				MaxRequestBytes: 1 << 20, MaxResponseBytes: 8 << 20, Uploads: places{},
			},
			object{
				"sticky_enabled": true, "sticky_default_ttl": 60.0, "sticky_echo_headers": []any{"Backend"}, "upload_url_support": true,
				"max_request_bytes": float64(1 << 20), "max_response_bytes": float64(8 << 20), "max_externalized_response_bytes": nil,
				"externalization_enabled": false, "max_upload_bytes": float64(1 << 20), "supported_encodings": []any{"zstd", "gzip"},
			},
		},
		"of a server with nothing": {
			httpserver.Options{},
			object{
				"sticky_enabled": false, "sticky_default_ttl": nil, "sticky_echo_headers": []any{}, "upload_url_support": false,
				"max_request_bytes": nil, "max_response_bytes": nil, "max_externalized_response_bytes": nil,
				"externalization_enabled": false, "max_upload_bytes": nil, "supported_encodings": []any{"zstd", "gzip"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, tt.opts)
			r := drive(t)
			r.connect("http", url)
			equal(t, "capabilities", r.good("capabilities")["caps"], any(tt.want))
		})
	}
}

func TestUploadURLs(t *testing.T) {
	_, url := serve(t, httpserver.Options{Uploads: places{}})
	r := drive(t)
	r.connect("http", url)
	one := object{"upload_url": "https://a.example/put", "download_url": "https://a.example/get", "expires_at": 1767225600.0}
	equal(t, "one by default", r.good("request_upload_urls")["urls"], any([]any{one}))
	equal(t, "two", r.good("request_upload_urls", "count", 2)["urls"], any([]any{one, one}))
	a := r.ask("request_upload_urls", "count", 0)
	equal(t, "none is a failed call", []any{a["ok"], a["error"] != nil, a["urls"]}, []any{true, true, nil})
}

func TestCompressionLevelHasThreeStates(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, tt := range map[string]struct {
		fields []any
		want   string
	}{
		"absent is the client's default": {nil, "zstd"},
		"null is none":                   {[]any{"compression_level", nil}, ""},
		"a number is a level of zstd":    {[]any{"compression_level", 3}, "zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			s, url := serve(t, httpserver.Options{})
			r := drive(t)
			r.connect("http", url, tt.fields...)
			a := r.good("unary", "request_b64", request(t, "echo_string", column{"value", long}))
			equal(t, "echo", text(t, a["result_b64"]), long)
			equal(t, "coding", s.last("POST", "Content-Encoding"), tt.want)
		})
	}
}

// TestErrorsOfTheClientItself are those that no server put into a batch.
func TestErrorsOfTheClientItself(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/health") {
			w.Header().Set("Vgi-Accept-Max-Response-Bytes-Support", "true")
			return
		}
		w.Header().Set("Retry-After", strconv.Itoa(7))
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, "later")
	}))
	defer srv.Close()
	r := drive(t)
	r.connect("http", srv.URL)
	a := r.ask("unary", "request_b64", request(t, "void_noop"))
	equal(t, "answer", a["ok"], any(true))
	equal(t, "error", a["error"], any(object{
		"error_type": "HTTPError", "error_message": "HTTP 429 Too Many Requests: later", "traceback": "",
		"error_code": "RESOURCE_EXHAUSTED", "error_kind": "",
		"error_details": []any{object{"@type": "vgi_rpc.RetryInfo", "retry_delay_seconds": 7.0}},
	}))
}
