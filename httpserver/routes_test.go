package httpserver_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestRequestsThatNeverBecomeACallAreToldWhy(t *testing.T) {
	h := newHandler(t, httpserver.Options{MaxRequestBytes: 4096})
	body := echoFloat(t)
	const echo = "/ConformanceService/echo_float"
	for _, tt := range []struct {
		name, path string
		body       []byte
		fields     []string
		status     int
		kind       string
	}{
		{"a protocol that is not hosted", "/Nobody/echo_float", body, nil, 404, vgirpc.KindProtocolNotSupported},
		{"a method that does not exist", "/ConformanceService/nothing", body, nil, 404, vgirpc.KindMethodNotImplemented},
		{"an escaped name, which is not decoded", "/%43onformanceService/echo_float", body, nil, 404, vgirpc.KindProtocolNotSupported},
		{"an escaped slash", "/ConformanceService%2Fecho_float", body, nil, 404, vgirpc.KindMethodNotImplemented},
		{"a flat path", "/echo_float", body, nil, 404, vgirpc.KindMethodNotImplemented},
		{"a retired method", "/__describe__", describeBody(t), nil, 404, vgirpc.KindMethodNotImplemented},
		{"another content type", echo, body, []string{"Content-Type", "application/json"}, 415, ""},
		{"a missing route before another content type", "/Nobody/x", body, []string{"Content-Type", "text/plain"}, 404, vgirpc.KindProtocolNotSupported},
		{"a coding that nobody knows", echo, body, []string{"Content-Encoding", "br"}, 415, ""},
		{"a body that is not in its coding", echo, body, []string{"Content-Encoding", "gzip"}, 400, ""},
		{"a response limit out of range", echo, body, []string{"VGI-Accept-Max-Response-Bytes", "1"}, 400, ""},
		{"a unary method as a stream", echo + "/init", body, nil, 400, ""},
		{"a stream as a unary method", accumulate, openAccumulate(t), nil, 400, ""},
		{"a path that the metadata does not agree with", "/ConformanceService/echo_string", body, nil, 400, ""},
		{"no body", echo, nil, nil, 400, ""},
		{"half a body", echo, body[:len(body)/2], nil, 400, ""},
		{"a body beyond the limit", echo, make([]byte, 5000), nil, 413, ""},
		{"a continuation without a token", accumulate + "/exchange", floats(t, nil, 1), nil, 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := post(t, h, tt.path, tt.body, tt.fields...)
			s := wire.ParseStatus(last(t, w.body).Meta)
			if w.status != tt.status || s.Kind != tt.kind || s.Message == "" || s.Code == "" {
				t.Errorf("status %d, %s %s %q: want %d and kind %q", w.status, s.Code, s.Kind, s.Message, tt.status, tt.kind)
			}
			if id := w.header.Get("X-Request-ID"); id == "" || s.RequestID != id {
				t.Errorf("the header's identifier is %q, the error's %q", id, s.RequestID)
			}
			if w.header.Get("X-Vgi-Rpc-Error") != "" || w.header.Get("Vgi-Accept-Max-Response-Bytes-Support") != "true" {
				t.Errorf("header %v", w.header)
			}
			if w := post(t, h, echo, body); w.status != http.StatusOK {
				t.Errorf("a good call after it: status %d %q", w.status, w.body)
			}
		})
	}
}

// describeBody is a request for a method that was retired.
func describeBody(t *testing.T) []byte {
	t.Helper()
	batch := wire.EmptyBatch(wire.EmptySchema(), wire.Metadata{
		{Key: wire.KeyMethod, Value: wire.MethodDescribe}, {Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
	})
	return encode(t, wire.EmptySchema(), batch)
}

func TestAChunkedBodyThatIsNonsenseAndTooLargeIsTooLarge(t *testing.T) {
	h := newHandler(t, httpserver.Options{MaxRequestBytes: 256})
	for size, want := range map[int]int{256: http.StatusBadRequest, 257: http.StatusRequestEntityTooLarge} {
		r := newUnaryRequest(t, "/ConformanceService/echo_float", bytes.Repeat([]byte("x"), size))
		r.ContentLength = -1
		w := &canned{header: http.Header{}}
		r.serve(h, w)
		if w.status != want {
			t.Errorf("%d bytes: status %d, want %d", size, w.status, want)
		}
	}
}

func TestAChunkedBodyIsBoundedWhileItIsRead(t *testing.T) {
	h := newHandler(t, httpserver.Options{MaxRequestBytes: 256})
	r := newUnaryRequest(t, "/ConformanceService/echo_float", echoFloat(t))
	r.ContentLength = -1
	w := &canned{header: http.Header{}}
	r.serve(h, w)
	if w.status != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", w.status)
	}
}

func TestOtherVerbsAreAnsweredByRoute(t *testing.T) {
	plain, bare := newHandler(t, httpserver.Options{}), newHandler(t, httpserver.Options{NoPages: true, Prefix: "/vgi"})
	for _, tt := range []struct {
		name, verb, path string
		h                http.Handler
		want             int
	}{
		{"health by GET", "GET", "/health", plain, 200},
		{"health by HEAD", "HEAD", "/health", plain, 200},
		{"health by OPTIONS", "OPTIONS", "/health", plain, 200},
		{"health below a prefix", "GET", "/vgi/health", bare, 200},
		{"health beside the prefix", "GET", "/health", bare, 404},
		{"a call by GET", "GET", "/ConformanceService/echo_float", plain, 405},
		{"two segments that are no call", "GET", "/.well-known/something", plain, 404},
		{"the landing page", "GET", "/", plain, 200},
		{"the description", "GET", "/describe", plain, 200},
		{"the description where there are no pages", "GET", "/vgi/describe", bare, 404},
		{"teardown where there are no sessions", "DELETE", "/__session__", plain, 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.verb, tt.path, nil))
			if w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
			if w.Code == http.StatusMethodNotAllowed && w.Header().Get("Allow") != http.MethodPost {
				t.Errorf("Allow is %q", w.Header().Get("Allow"))
			}
		})
	}
}

func TestAMissingRoutingKeyIsAcceptedUnlessItIsRequired(t *testing.T) {
	b := last(t, echoFloat(t))
	meta := b.Meta.Without(func(k string) bool { return k == wire.KeyProtocol })
	bare := *b
	bare.Meta = meta
	body := encode(t, b.Schema, bare)
	for _, tt := range []struct {
		strict bool
		want   int
	}{{false, http.StatusOK}, {true, http.StatusBadRequest}} {
		h := newHandler(t, httpserver.Options{RequireProtocolKey: tt.strict})
		if w := post(t, h, "/ConformanceService/echo_float", body); w.status != tt.want {
			t.Errorf("strict %v: status %d, want %d", tt.strict, w.status, tt.want)
		}
	}
}

func TestTheGatewayTakesJSONOnly(t *testing.T) {
	h := newHandler(t, httpserver.Options{JSON: &httpserver.JSONGateway{}, Auth: auth.Func(byName)})
	const add = "/ConformanceService/add_floats?format=json"
	for _, tt := range []struct {
		name, path, body string
		fields           []string
		status           int
		want             string
	}{
		{"a call", add, `{"a":1.5,"b":2}`, nil, 200, `"result":3.5`},
		{"a name that the method does not have", add, `{"a":1,"b":2,"c":3}`, nil, 400, `c`},
		{"a method that fails", "/ConformanceService/raise_value_error?format=json", `{"message":"no"}`, nil, 200, `ValueError`},
		{"a method that does not exist", "/ConformanceService/nothing?format=json", `{}`, nil, 404, `method_not_implemented`},
		{"a stream", "/ConformanceService/produce_n?format=json", `{"count":1}`, nil, 400, `stream`},
		{"another content type", add, `{"a":1,"b":2}`, []string{"Content-Type", "text/plain"}, 415, ``},
		{"a page of another site", add, `{"a":1,"b":2}`, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, ``},
		{"too much", add, strings.Repeat(" ", 2<<20), nil, 413, ``},
		{
			"an answer beyond the client's limit", "/ConformanceService/echo_string?format=json", `{"value":"` + strings.Repeat("x", 65536) + `"}`,
			[]string{"VGI-Accept-Max-Response-Bytes", "65536"},
			200, `ResponseTooLargeError`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := post(t, h, tt.path, []byte(tt.body), append([]string{"Content-Type", "application/json"}, tt.fields...)...)
			if w.status != tt.status || !strings.Contains(string(w.body), tt.want) {
				t.Errorf("status %d: %s", w.status, w.body)
			}
		})
	}
	off := newHandler(t, httpserver.Options{})
	if w := post(t, off, add, []byte(`{"a":1,"b":2}`), "Content-Type", "application/json"); w.status != http.StatusUnsupportedMediaType {
		t.Errorf("the gateway is off, yet: status %d", w.status)
	}
}

func TestTooManyCallsAtOnceAreRefusedWithARetry(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	waits := auth.Func(func(*http.Request) (vgirpc.Identity, error) { return vgirpc.Identity{}, nil })
	h := newHandlerOf(t, httpserver.Options{MaxInFlight: 1, Auth: waits}, vgirpc.ServerOptions{
		OnServeStart: func(context.Context, vgirpc.TransportKind) error {
			close(entered)
			<-leave
			return nil
		},
	})
	done := make(chan int)
	go func() { done <- post(t, h, "/ConformanceService/echo_float", echoFloat(t)).status }()
	<-entered
	w := post(t, h, "/ConformanceService/echo_float", echoFloat(t))
	if w.status != http.StatusServiceUnavailable || w.header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q", w.status, w.header.Get("Retry-After"))
	}
	close(leave)
	if got := <-done; got != http.StatusOK {
		t.Errorf("the first call: status %d", got)
	}
}
