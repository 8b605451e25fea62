package httpclient_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/wire"
)

const arrowType = "application/vnd.apache.arrow.stream"

type text struct {
	Text string `vgi:"text"`
}

// contract is the methods that the fakes are called with.
type contract struct {
	void    *vgirpc.Unary[text, vgirpc.None]
	produce *vgirpc.Producer[text, vgirpc.None]
	headed  *vgirpc.HeaderProducer[text, text, vgirpc.None]
	swap    *vgirpc.Exchange[text, vgirpc.None, vgirpc.None]
}

func newContract() contract {
	p := vgirpc.NewProtocol("test.Fake.v1", "1.0.0")
	return contract{
		void:    vgirpc.NewUnary[text, vgirpc.None](p, "void"),
		produce: vgirpc.NewProducer[text, vgirpc.None](p, "produce"),
		headed:  vgirpc.NewHeaderProducer[text, text, vgirpc.None](p, "headed"),
		swap:    vgirpc.NewExchange[text, vgirpc.None, vgirpc.None](p, "swap"),
	}
}

// direct is a round tripper that runs a handler without a connection.
type direct struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	in := req.Clone(req.Context())
	in.RequestURI = in.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	d.ServeHTTP(w, in)
	return w.Result(), in.Body.Close()
}

// fake is a server whose discovery is good and whose calls are answered by a
// function.
type fake struct {
	discover http.HandlerFunc // nil: good
	call     http.HandlerFunc
	probes   atomic.Int64
	calls    atomic.Int64
}

// ServeHTTP implements http.Handler.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Request-ID", "from-the-fake")
	if r.Method == http.MethodHead {
		f.probes.Add(1)
		if f.discover != nil {
			f.discover(w, r)
			return
		}
		good(w, r)
		return
	}
	f.calls.Add(1)
	f.call(w, r)
}

func good(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Vgi-Accept-Max-Response-Bytes-Support", "true")
	w.Header().Set("Vgi-Supported-Encodings", "zstd, gzip")
}

// stream is an Arrow stream of batches without columns.
func stream(batches ...wire.Batch) []byte {
	var buf bytes.Buffer
	w := wire.NewWriter(&buf)
	err := w.Open(wire.EmptySchema())
	for i := range batches {
		err = errors.Join(err, w.Batch(&batches[i]))
	}
	if err := errors.Join(err, w.Close(), w.Flush()); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// row is one row without columns, carrying keys and values.
func row(pairs ...string) wire.Batch {
	b := zero(pairs...)
	b.Rows = 1
	return b
}

func zero(pairs ...string) wire.Batch {
	var meta wire.Metadata
	for i := 0; i < len(pairs); i += 2 {
		meta = append(meta, wire.Pair{Key: pairs[i], Value: pairs[i+1]})
	}
	return wire.EmptyBatch(wire.EmptySchema(), meta)
}

// answer answers with a body of the given status and type, and more headers.
func answer(status int, contentType, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func serve(t *testing.T, f *fake, opts httpclient.Options, client vgirpc.ClientOptions) *httpclient.Transport {
	t.Helper()
	opts.Transport = direct{f}
	return newTransport(t, "http://fake.test/base", opts, client)
}

// TestForeignAnswers is about answers that are no answers to a call.
func TestForeignAnswers(t *testing.T) {
	c := newContract()
	errorStream, err := wire.ErrorStream(&wire.Status{Type: "ProtocolError", Message: "no", Code: "INVALID_ARGUMENT"})
	noError(t, err)
	page := "<!DOCTYPE html><html><script>alert(1)</script></html>"
	for name, tt := range map[string]struct {
		call   http.HandlerFunc
		code   vgirpc.Code
		typ    string
		says   string
		wait   float64
		remote bool
	}{
		"a gateway's page is named, not pasted":   {call: answer(502, "text/html", page), code: vgirpc.Unavailable, typ: "HTTPError", says: "HTTP 502 Bad Gateway: a page of HTML (53 bytes)"},
		"a page without a type is a page":         {call: answer(500, "text/plain", page), code: vgirpc.Internal, typ: "HTTPError", says: "HTTP 500 Internal Server Error: a page of HTML (53 bytes)"},
		"a page of status 200 is no result":       {call: answer(200, "text/html; charset=utf-8", page), code: vgirpc.Internal, typ: "ProtocolError", says: `the response is not Arrow but "text/html; charset=utf-8": HTTP 200 OK: a page of HTML (53 bytes)`},
		"a gateway's JSON is quoted on one line":  {call: answer(404, "application/json", "{\n \"m\": \"\x1b[1mno route\"}"), code: vgirpc.Unimplemented, typ: "HTTPError", says: `HTTP 404 Not Found: { "m": " [1mno route"}`},
		"a 503 says when to come back":            {call: answer(503, "", "", "Retry-After", "7"), code: vgirpc.Unavailable, typ: "HTTPError", says: "HTTP 503 Service Unavailable", wait: 7},
		"a 429 says when to come back":            {call: answer(429, "text/plain", "slow down", "Retry-After", "2"), code: vgirpc.ResourceExhausted, typ: "HTTPError", says: "HTTP 429 Too Many Requests: slow down", wait: 2},
		"a body that is too large for a gateway":  {call: answer(413, "text/plain", ""), code: vgirpc.ResourceExhausted, typ: "HTTPError", says: "HTTP 413 Request Entity Too Large"},
		"a redirect is not followed":              {call: answer(307, "", "", "Location", "http://elsewhere.test/"), code: vgirpc.FailedPrecondition, typ: "HTTPError", says: "HTTP 307 Temporary Redirect: redirects are not followed: the base URL may have moved"},
		"a refusal is the gateway's":              {call: answer(403, "text/plain", "no"), code: vgirpc.PermissionDenied, typ: "HTTPError", says: "HTTP 403 Forbidden: no"},
		"a protocol error is the server's":        {call: answer(400, arrowType, string(errorStream)), code: vgirpc.InvalidArgument, typ: "ProtocolError", says: "no", remote: true},
		"a parameter of the type does not matter": {call: answer(400, arrowType+"; a=b", string(errorStream)), code: vgirpc.InvalidArgument, typ: "ProtocolError", says: "no", remote: true},
		"an Arrow 500 without an error":           {call: answer(500, arrowType, string(stream(row()))), code: vgirpc.Internal, typ: "HTTPError", says: "HTTP 500 Internal Server Error: an Arrow body without an error"},
		"an Arrow 502 of garbage":                 {call: answer(502, arrowType, page), code: vgirpc.Unavailable, typ: "HTTPError", says: "HTTP 502 Bad Gateway: an Arrow body without an error"},
		"garbage called Arrow":                    {call: answer(200, arrowType, page), code: vgirpc.Internal, typ: "ProtocolError", says: "the response cannot be read: *"},
		"an empty body called Arrow":              {call: answer(200, arrowType, ""), code: vgirpc.Internal, typ: "ProtocolError", says: "the response cannot be read: *"},
		"a stream that breaks off":                {call: answer(200, arrowType, string(stream(row())[:40])), code: vgirpc.Internal, typ: "ProtocolError", says: "the response cannot be read: *"},
		"a stream without a result":               {call: answer(200, arrowType, string(stream())), code: vgirpc.Internal, typ: "ProtocolError", says: "the reply of test.Fake.v1/void has no result batch"},
		"a coding nobody asked for":               {call: answer(200, arrowType, "x", "Content-Encoding", "br"), code: vgirpc.Internal, typ: "ProtocolError", says: `the response has the content coding "br"`},
		"zstd that is none":                       {call: answer(200, arrowType, "not zstd, not at all", "Content-Encoding", "zstd"), code: vgirpc.Internal, typ: "ProtocolError", says: "the response cannot be read: *"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{call: tt.call}
			_, err := c.void.Call(t.Context(), serve(t, f, httpclient.Options{}, vgirpc.ClientOptions{}).Client(), text{})
			var e *vgirpc.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			message := e.Message
			if start, ok := strings.CutSuffix(tt.says, "*"); ok && strings.HasPrefix(message, start) {
				message = tt.says // how it goes on is another package's to say
			}
			equal(t, []string{string(e.Code), e.Type, message}, []string{string(tt.code), tt.typ, tt.says})
			equal(t, vgirpc.IsRemote(err), tt.remote)
			wait, _ := vgirpc.DetailOf[vgirpc.RetryInfo](err)
			equal(t, wait.RetryDelaySeconds, tt.wait)
			equal(t, f.calls.Load(), int64(1)) // nothing is sent again
		})
	}
}

// TestUnauthorized is about 401, which is never Arrow (unauthorized-spec.md).
func TestUnauthorized(t *testing.T) {
	c := newContract()
	long := strings.Repeat("a long text ", 100)
	for name, tt := range map[string]struct {
		call http.HandlerFunc
		want httpclient.UnauthorizedError
	}{
		"the body says why": {
			answer(401, "application/json", `{"error":"unauthorized","reason":"expired_credential","detail":"too old","new":1}`, "VGI-Auth-Reason", "missing_credential", "WWW-Authenticate", "Bearer"),
			httpclient.UnauthorizedError{Reason: "expired_credential", Detail: "too old", Challenges: []string{"Bearer"}},
		},
		"the header says why where the body does not": {
			answer(401, "text/html", "<html>", "VGI-Auth-Reason", "missing_credential"),
			httpclient.UnauthorizedError{Reason: "missing_credential", Detail: "a page of HTML (6 bytes)"},
		},
		"nobody says why": {
			answer(401, "text/plain", "go away"), httpclient.UnauthorizedError{Reason: "unauthorized", Detail: "go away"},
		},
		"a reason from the future": {
			answer(401, "application/json", `{"reason":"new_reason","detail":""}`), httpclient.UnauthorizedError{Reason: "unauthorized"},
		},
		"the hint for the proxy": {
			answer(401, "application/json", `{"reason":"proxy_required","detail":"d","proxy_hint":"set it"}`),
			httpclient.UnauthorizedError{Reason: "proxy_required", Detail: "d", ProxyHint: "set it"},
		},
		"JSON of another kind, and Arrow": {
			answer(401, arrowType, "[1]"), httpclient.UnauthorizedError{Reason: "unauthorized", Detail: "a binary body"},
		},
		"a long text is cut": {
			answer(401, "text/plain", long), httpclient.UnauthorizedError{Reason: "unauthorized", Detail: long[:300] + "…"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.void.Call(t.Context(), serve(t, &fake{call: tt.call}, httpclient.Options{}, vgirpc.ClientOptions{}).Client(), text{})
			var u *httpclient.UnauthorizedError
			var e *vgirpc.Error
			if !errors.As(err, &u) || !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			equal(t, *u, tt.want)
			equal(t, []string{string(e.Code), e.Kind, e.RequestID}, []string{"UNAUTHENTICATED", tt.want.Reason, "from-the-fake"})
			if !strings.Contains(err.Error(), tt.want.ProxyHint) {
				t.Errorf("the message has no hint: %v", err)
			}
		})
	}
}

// TestResponseLimit is about what a client reads at most.
func TestResponseLimit(t *testing.T) {
	c := newContract()
	zeros := bytes.Repeat([]byte{0}, 8<<20) // less than what the metadata of a message may be
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	_, err := zw.Write(append(stream(row()), zeros...))
	noError(t, errors.Join(err, zw.Close()))
	enc, err := zstd.NewWriter(nil)
	noError(t, err)
	large := stream(row("k", string(zeros)))
	zs := enc.EncodeAll(large, nil)
	// Frames that decode to nothing, without end.
	skippable := strings.Repeat("\x50\x2a\x4d\x18\x00\x00\x01\x00"+strings.Repeat("x", 64<<10), 64)

	for name, tt := range map[string]struct {
		headers []string
		body    string
		wantErr bool
	}{
		"a body as large as it is":   {nil, string(large), true},
		"a zstd bomb":                {[]string{"Content-Encoding", "zstd"}, string(zs), true},
		"a zstd bomb by our header":  {[]string{"X-VGI-Content-Encoding", "zstd"}, string(zs), true},
		"zstd that decodes to none":  {[]string{"Content-Encoding", "zstd"}, skippable + string(zs), true},
		"a gzip that is small still": {[]string{"Content-Encoding", "gzip"}, string(gzipped(t, stream(row()))), false},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{call: answer(200, arrowType, tt.body, tt.headers...)}
			_, err := c.void.Call(t.Context(), serve(t, f, httpclient.Options{MaxResponseBytes: 64 << 10}, vgirpc.ClientOptions{}).Client(), text{})
			equal(t, err != nil, tt.wantErr)
		})
	}
	t.Run("the error says which limit", func(t *testing.T) {
		f := &fake{call: answer(200, arrowType, string(zs), "Content-Encoding", "zstd")}
		_, err := c.void.Call(t.Context(), serve(t, f, httpclient.Options{MaxResponseBytes: 64 << 10}, vgirpc.ClientOptions{}).Client(), text{})
		var large *httpclient.ResponseTooLargeError
		if !errors.As(err, &large) || large.Limit != 64<<10 || vgirpc.CodeOf(err) != vgirpc.ResourceExhausted || vgirpc.IsRemote(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what follows the answer is not read", func(t *testing.T) {
		f := &fake{call: answer(200, arrowType, gz.String(), "Content-Encoding", "gzip")}
		_, err := c.void.Call(t.Context(), serve(t, f, httpclient.Options{MaxResponseBytes: 64 << 10}, vgirpc.ClientOptions{}).Client(), text{})
		noError(t, err)
	})
	t.Run("without a limit nobody is asked", func(t *testing.T) {
		var sent http.Header
		f := &fake{call: func(w http.ResponseWriter, r *http.Request) {
			sent = r.Header
			answer(200, arrowType, string(large))(w, r)
		}}
		_, err := c.void.Call(t.Context(), serve(t, f, httpclient.Options{MaxResponseBytes: -1}, vgirpc.ClientOptions{}).Client(), text{})
		noError(t, err)
		equal(t, f.probes.Load(), int64(0))
		equal(t, sent["Vgi-Accept-Max-Response-Bytes"], []string(nil))
	})
	t.Run("an endless body is left", func(t *testing.T) {
		left := make(chan struct{})
		srv := httptest.NewServer(&fake{call: func(w http.ResponseWriter, _ *http.Request) {
			defer close(left)
			w.Header().Set("Content-Type", arrowType)
			for err := error(nil); err == nil; {
				_, err = w.Write(large[:64<<10])
			}
		}})
		defer srv.Close()
		tr := newTransport(t, srv.URL, httpclient.Options{MaxResponseBytes: 64 << 10}, vgirpc.ClientOptions{})
		_, err := c.void.Call(t.Context(), tr.Client(), text{})
		if vgirpc.CodeOf(err) != vgirpc.ResourceExhausted {
			t.Fatalf("got %v", err)
		}
		<-left
	})
}

func gzipped(t *testing.T, p []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(p)
	noError(t, errors.Join(err, w.Close()))
	return buf.Bytes()
}

// TestDiscovery is about the one request that is sent again.
func TestDiscovery(t *testing.T) {
	c := newContract()
	ok := answer(200, arrowType, string(stream(row())))
	support := "Vgi-Accept-Max-Response-Bytes-Support"
	for name, values := range map[string][]string{
		"no support":        nil,
		"support said no":   {"false"},
		"support twice":     {"true", "true"},
		"support in a list": {"true, true"},
	} {
		t.Run(name+" is no support, and no call is sent", func(t *testing.T) {
			f := &fake{call: ok, discover: func(w http.ResponseWriter, _ *http.Request) { w.Header()[support] = values }}
			_, err := c.void.Call(t.Context(), serve(t, f, httpclient.Options{}, vgirpc.ClientOptions{}).Client(), text{})
			equal(t, errors.Is(err, httpclient.ErrNoResponseLimit), true)
			equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)
			equal(t, f.calls.Load(), int64(0))
			_, err = httpclient.Dial(t.Context(), "http://fake.test", httpclient.Options{Transport: direct{f}}, vgirpc.ClientOptions{})
			equal(t, errors.Is(err, httpclient.ErrNoResponseLimit), true)
		})
	}
	for name, tt := range map[string]struct {
		statuses []int
		after    string
		code     vgirpc.Code
		probes   int64
		min, max time.Duration
	}{
		"a gateway that recovers":                   {[]int{502, 504, 200}, "", "", 3, 0, 1500 * time.Millisecond},
		"a gateway that does not":                   {[]int{503, 503, 503, 503}, "", vgirpc.Unavailable, 4, 0, 3500 * time.Millisecond},
		"a server that asks to wait":                {[]int{429, 200}, "5", "", 2, 5 * time.Second, 5 * time.Second},
		"a server that asks to wait very long":      {[]int{503, 200}, "3600", "", 2, 30 * time.Second, 30 * time.Second},
		"a refusal, which is not asked again":       {[]int{401}, "", vgirpc.Unauthenticated, 1, 0, 0},
		"a wrong address, which is not asked again": {[]int{404}, "", vgirpc.Unimplemented, 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{call: ok}
				f.discover = func(w http.ResponseWriter, r *http.Request) {
					good(w, r)
					if tt.after != "" {
						w.Header().Set("Retry-After", tt.after)
					}
					w.WriteHeader(tt.statuses[f.probes.Load()-1])
				}
				start := time.Now()
				_, err := c.void.Call(t.Context(), serve(t, f, httpclient.Options{}, vgirpc.ClientOptions{}).Client(), text{})
				if err != nil != (tt.code != "") || err != nil && vgirpc.CodeOf(err) != tt.code {
					t.Errorf("got %v, want %q", err, tt.code)
				}
				equal(t, f.probes.Load(), tt.probes)
				if took := time.Since(start); took < tt.min || took > tt.max {
					t.Errorf("took %v, want %v to %v", took, tt.min, tt.max)
				}
			})
		})
	}
	t.Run("calls at once share it, and it is kept for as long as the server says", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			down := false
			f := &fake{call: ok, discover: func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(time.Second) // all the calls are waiting by then
				good(w, r)
				w.Header().Set("Cache-Control", "public, max-age=300")
				if down {
					w.WriteHeader(http.StatusBadGateway)
				}
			}}
			tr := serve(t, f, httpclient.Options{}, vgirpc.ClientOptions{})
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					_, err := c.void.Call(t.Context(), tr.Client(), text{})
					noError(t, err)
				})
			}
			wg.Wait()
			equal(t, f.probes.Load(), int64(1))
			time.Sleep(299 * time.Second)
			_, err := c.void.Call(t.Context(), tr.Client(), text{})
			noError(t, err)
			equal(t, f.probes.Load(), int64(1))
			time.Sleep(2 * time.Second)
			down = true // what is known will do
			_, err = c.void.Call(t.Context(), tr.Client(), text{})
			noError(t, err)
			equal(t, f.probes.Load(), int64(2))
			_, err = c.void.Call(t.Context(), tr.Client(), text{})
			noError(t, err)
			equal(t, f.probes.Load(), int64(2))
		})
	})
	t.Run("a call that leaves does not fail those that wait with it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{call: ok, discover: func(w http.ResponseWriter, r *http.Request) {
				good(w, r)
				w.WriteHeader(http.StatusServiceUnavailable)
			}}
			tr := serve(t, f, httpclient.Options{}, vgirpc.ClientOptions{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
			defer cancel()
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := c.void.Call(ctx, tr.Client(), text{})
				equal(t, vgirpc.CodeOf(err), vgirpc.DeadlineExceeded)
			})
			synctest.Wait()
			f.discover = good
			_, err := c.void.Call(t.Context(), tr.Client(), text{})
			noError(t, err)
			wg.Wait()
		})
	})
	t.Run("a panic of the call that asks is told to those that wait, and the next one asks again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{call: ok}
			broken := true
			tr := serve(t, f, httpclient.Options{Authorize: func(context.Context, http.Header) error {
				if broken {
					time.Sleep(time.Second) // the other is waiting by then
					broken = false
					panic("no key")
				}
				return nil
			}}, vgirpc.ClientOptions{})
			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() { equal(t, recover(), any("no key")) }()
				_, _ = c.void.Call(t.Context(), tr.Client(), text{})
			})
			synctest.Wait()
			_, err := c.void.Call(t.Context(), tr.Client(), text{})
			equal(t, vgirpc.CodeOf(err), vgirpc.Internal)
			wg.Wait()
			_, err = c.void.Call(t.Context(), tr.Client(), text{})
			noError(t, err)
		})
	})
	t.Run("capabilities are what the headers say", func(t *testing.T) {
		f := &fake{discover: func(w http.ResponseWriter, r *http.Request) {
			good(w, r)
			for name, value := range map[string]string{
				"VGI-Max-Request-Bytes": "1048576", "VGI-Max-Response-Bytes": "x", "VGI-Max-Externalized-Response-Bytes": "-1",
				"VGI-Max-Upload-Bytes": "7", "VGI-Externalization-Enabled": "true", "VGI-Upload-URL-Support": "true",
				"VGI-Proxy-Proof-Required": "true", "VGI-Sticky-Enabled": "true", "VGI-Sticky-Default-TTL": "300",
				"VGI-Sticky-Echo-Headers": "A, b", "VGI-Supported-Encodings": "",
			} {
				w.Header().Set(name, value)
			}
		}}
		got, err := serve(t, f, httpclient.Options{}, vgirpc.ClientOptions{}).Capabilities(t.Context())
		noError(t, err)
		equal(t, *got, httpclient.Capabilities{
			MaxRequestBytes: 1 << 20, MaxUploadBytes: 7, ResponseLimit: true, Externalization: true, UploadURLs: true,
			ProxyProof: true, Sticky: true, StickyTTL: 300 * time.Second, StickyEcho: []string{"A", "b"},
		})
	})
}

// TestRequests is about what is sent.
func TestRequests(t *testing.T) {
	c := newContract()
	big := text{strings.Repeat("compressible ", 10_000)}
	ok := answer(200, arrowType, string(stream(row())))
	t.Run("headers, address and length", func(t *testing.T) {
		f := &fake{call: func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			noError(t, err)
			equal(t, r.ContentLength, int64(len(body)))
			equal(t, r.URL.Path, "/base/test.Fake.v1/void")
			equal(t, r.Header, http.Header{
				"Accept": {arrowType}, "Content-Type": {arrowType}, "Accept-Encoding": {"gzip"}, "X-Vgi-Accept-Encoding": {"gzip"},
				"User-Agent": {"mine"}, "Authorization": {"Bearer 1"}, "X-Request-Id": {"me"}, "Vgi-Accept-Max-Response-Bytes": {"268435456"},
			})
			ok(w, r)
		}}
		tr := serve(t, f, httpclient.Options{
			AcceptEncodings: []string{"gzip"}, Header: http.Header{"user-agent": {"mine"}},
			Authorize: func(_ context.Context, h http.Header) error { h.Set("Authorization", "Bearer 1"); return nil },
		}, vgirpc.ClientOptions{})
		_, err := c.void.Call(httpclient.WithRequestID(t.Context(), "me"), tr.Client(), text{})
		noError(t, err)
		equal(t, f.calls.Load(), int64(1))
	})
	t.Run("without a credential nothing is sent", func(t *testing.T) {
		f := &fake{call: ok}
		cause := errors.New("no token")
		tr := serve(t, f, httpclient.Options{MaxResponseBytes: -1, Authorize: func(context.Context, http.Header) error { return cause }}, vgirpc.ClientOptions{})
		_, err := c.void.Call(t.Context(), tr.Client(), text{})
		equal(t, errors.Is(err, cause), true)
		equal(t, vgirpc.CodeOf(err), vgirpc.Unauthenticated)
		equal(t, f.calls.Load(), int64(0))
	})
	for name, tt := range map[string]struct {
		says    string // of the codings, with the 415; "-" for nothing
		probed  string // of the codings, when asked again
		codings []string
		code    vgirpc.Code
	}{
		"a 415 that says there is no zstd is answered with a plain body":  {"gzip", "zstd", []string{"zstd", "", ""}, ""},
		"a 415 that says there is no coding is answered the same":         {"", "zstd", []string{"zstd", "", ""}, ""},
		"a 415 that says there is zstd is final":                          {"zstd", "zstd", []string{"zstd", "zstd"}, vgirpc.InvalidArgument},
		"a 415 that says nothing makes the client ask, and send it plain": {"-", "gzip", []string{"zstd", "", ""}, ""},
		"a 415 that says nothing makes the client ask, and stay with it":  {"-", "zstd", []string{"zstd", "zstd"}, vgirpc.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			var codings []string
			f := &fake{}
			f.discover = func(w http.ResponseWriter, r *http.Request) {
				good(w, r)
				if f.probes.Load() > 1 {
					w.Header().Set("Vgi-Supported-Encodings", tt.probed)
				}
			}
			f.call = func(w http.ResponseWriter, r *http.Request) {
				codings = append(codings, r.Header.Get("Content-Encoding"))
				if codings[len(codings)-1] == "" {
					ok(w, r)
					return
				}
				if tt.says != "-" {
					w.Header().Set("Vgi-Supported-Encodings", tt.says)
				}
				answer(415, "text/plain", "")(w, r)
			}
			tr := serve(t, f, httpclient.Options{}, vgirpc.ClientOptions{})
			for range 2 { // what was learned is remembered
				_, err := c.void.Call(t.Context(), tr.Client(), big)
				if err != nil != (tt.code != "") || err != nil && vgirpc.CodeOf(err) != tt.code {
					t.Errorf("got %v, want %q", err, tt.code)
				}
			}
			equal(t, codings, tt.codings)
		})
	}
	t.Run("options that make no sense are refused", func(t *testing.T) {
		for url, opts := range map[string]httpclient.Options{
			"http://h/1": {MaxResponseBytes: 1},
			"http://h/2": {MaxResponseBytes: 1 << 53},
			"http://h/3": {AcceptEncodings: []string{"br"}},
			"http://h/4": {Compression: 23},
			"http://h/5": {Header: http.Header{"vgi-session": {"x"}}},
			"ftp://h":    {}, "http://": {}, "http://u:p@h": {}, "http://h/?q": {}, "http://h:x": {},
		} {
			_, err := httpclient.New(url, opts, vgirpc.ClientOptions{})
			if vgirpc.CodeOf(err) != vgirpc.InvalidArgument || strings.Contains(err.Error(), "u:p") {
				t.Errorf("%s: got %v", url, err)
			}
		}
	})
}

// watched is a round tripper that counts the bodies that are not closed.
type watched struct {
	http.RoundTripper
	open *atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (w watched) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(req)
	if err == nil {
		w.open.Add(1)
		resp.Body = watchedBody{resp.Body, sync.OnceFunc(func() { w.open.Add(-1) })}
	}
	return resp, err
}

type watchedBody struct {
	io.ReadCloser
	closed func()
}

// Close notes that it was called.
func (b watchedBody) Close() error {
	b.closed()
	return b.ReadCloser.Close()
}

func TestALogThatPanicsLeavesNoResponseOpen(t *testing.T) {
	c := newContract()
	said := string(stream(zero("vgi_rpc.log_level", "INFO", "vgi_rpc.log_message", "x"), row()))
	for _, tt := range []struct {
		name   string
		status int
		call   func(cl *vgirpc.Client) error
	}{
		{"of a result", 200, func(cl *vgirpc.Client) error {
			_, err := c.void.Call(t.Context(), cl, text{})
			return err
		}},
		{"of a failure", 500, func(cl *vgirpc.Client) error {
			_, err := c.void.Call(t.Context(), cl, text{})
			return err
		}},
		{"of a header", 200, func(cl *vgirpc.Client) error {
			_, _, err := c.headed.OpenHeader(t.Context(), cl, text{})
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var open atomic.Int64
			f := &fake{call: answer(tt.status, arrowType, said)}
			loud := vgirpc.ClientOptions{OnLog: func(context.Context, vgirpc.LogMessage) { panic("a log") }}
			tr := newTransport(t, "http://fake.test", httpclient.Options{Transport: watched{direct{f}, &open}}, loud)
			func() {
				defer func() { equal(t, recover(), any("a log")) }()
				t.Errorf("got %v", tt.call(tr.Client()))
			}()
			equal(t, open.Load(), int64(0))
		})
	}
}

// TestConnections is about connections that fail.
func TestConnections(t *testing.T) {
	c := newContract()
	t.Run("nobody listens", func(t *testing.T) {
		srv := httptest.NewServer(nil)
		url := srv.URL
		srv.Close()
		tr := newTransport(t, url, httpclient.Options{MaxResponseBytes: -1}, vgirpc.ClientOptions{})
		_, err := c.void.Call(t.Context(), tr.Client(), text{})
		equal(t, []any{vgirpc.CodeOf(err), vgirpc.IsRemote(err)}, []any{vgirpc.Unavailable, false})
	})
	waiting := func(t *testing.T) (*httptest.Server, chan struct{}) {
		t.Helper()
		arrived := make(chan struct{})
		srv := httptest.NewServer(&fake{call: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			close(arrived)
			<-r.Context().Done()
		}})
		t.Cleanup(srv.Close)
		return srv, arrived
	}
	t.Run("a call that is given up is over here and there", func(t *testing.T) {
		srv, arrived := waiting(t)
		tr := newTransport(t, srv.URL, httpclient.Options{}, vgirpc.ClientOptions{})
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("enough")
		go func() { <-arrived; cancel(cause) }()
		_, err := c.void.Call(ctx, tr.Client(), text{})
		equal(t, errors.Is(err, cause), true)
	})
	t.Run("closing ends the calls in progress", func(t *testing.T) {
		srv, arrived := waiting(t)
		tr := newTransport(t, srv.URL, httpclient.Options{}, vgirpc.ClientOptions{})
		go func() { <-arrived; _ = tr.Close() }() // it has nothing to say
		_, err := c.void.Call(t.Context(), tr.Client(), text{})
		equal(t, vgirpc.CodeOf(err), vgirpc.Unavailable)
		_, err = c.void.Call(t.Context(), tr.Client(), text{})
		equal(t, vgirpc.CodeOf(err), vgirpc.Unavailable)
	})
	t.Run("an answer that breaks off is lost", func(t *testing.T) {
		srv := httptest.NewServer(&fake{call: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", arrowType)
			w.Header().Set("Content-Length", strconv.Itoa(1000))
			_, _ = w.Write(stream(row())[:24])
			_ = http.NewResponseController(w).Flush() // likewise
			panic(http.ErrAbortHandler)               // the way to break a connection off
		}})
		defer srv.Close()
		tr := newTransport(t, srv.URL, httpclient.Options{}, vgirpc.ClientOptions{})
		_, err := c.void.Call(t.Context(), tr.Client(), text{})
		equal(t, vgirpc.CodeOf(err), vgirpc.Unavailable)
	})
	t.Run("a connection that is closed in place of an answer says so", func(t *testing.T) {
		srv := httptest.NewServer(&fake{call: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }})
		defer srv.Close()
		tr := newTransport(t, srv.URL, httpclient.Options{}, vgirpc.ClientOptions{})
		_, err := c.void.Call(t.Context(), tr.Client(), text{})
		equal(t, []any{vgirpc.CodeOf(err), errors.Is(err, io.ErrUnexpectedEOF)}, []any{vgirpc.Unavailable, true})
		equal(t, strings.Contains(err.Error(), "closed before the answer began"), true)
	})
	random := make([]byte, 300<<10) // of which no coding makes less
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	large := stream(row("k", string(random)))
	enc, err := zstd.NewWriter(nil)
	noError(t, err)
	for coding, body := range map[string][]byte{
		"identity": large, "gzip": gzipped(t, large), "zstd": enc.EncodeAll(large, nil),
	} {
		for _, cut := range []int{1, 12, 100, 100 << 10, len(body) - 1} {
			name := fmt.Sprintf("an answer in %s that breaks off after %d bytes is lost", coding, cut)
			t.Run(name, func(t *testing.T) {
				srv := httptest.NewServer(&fake{call: func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", arrowType)
					w.Header().Set("Content-Encoding", coding)
					w.Header().Set("Content-Length", strconv.Itoa(len(body)))
					_, _ = w.Write(body[:cut])
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}})
				defer srv.Close()
				tr := newTransport(t, srv.URL, httpclient.Options{}, vgirpc.ClientOptions{})
				_, err := c.void.Call(t.Context(), tr.Client(), text{})
				equal(t, []any{vgirpc.CodeOf(err), errors.Is(err, io.ErrUnexpectedEOF)}, []any{vgirpc.Unavailable, true})
				equal(t, strings.Contains(err.Error(), "the answer broke off"), true)
			})
		}
	}
	t.Run("connections are used again", func(t *testing.T) {
		var conns sync.Map
		srv := httptest.NewServer(&fake{call: func(w http.ResponseWriter, r *http.Request) {
			conns.Store(r.RemoteAddr, true)
			answer(200, arrowType, string(stream(row())))(w, r)
		}})
		defer srv.Close()
		tr := newTransport(t, srv.URL, httpclient.Options{}, vgirpc.ClientOptions{})
		for range 20 {
			_, err := c.void.Call(t.Context(), tr.Client(), text{})
			noError(t, err)
		}
		n := 0
		conns.Range(func(any, any) bool { n++; return true })
		if n > 10 { // package http drops one whose writer is slow to report
			t.Errorf("%d connections for 20 calls", n)
		}
	})
}

// script is a server of one stream: the requests that it expects, and what it
// answers.
type script struct {
	t     *testing.T
	steps []step
}

type step struct {
	path string
	meta map[string]string // that the request must have; "" for absent
	body []byte
}

func (s *script) call(w http.ResponseWriter, r *http.Request) {
	if len(s.steps) == 0 {
		s.t.Errorf("one request too many: %s", r.URL.Path)
		answer(500, "text/plain", "")(w, r)
		return
	}
	at := s.steps[0]
	s.steps = s.steps[1:]
	equal(s.t, r.URL.Path, "/base/test.Fake.v1/"+at.path)
	rd := wire.NewReader(r.Body, wire.Limits{}, nil)
	_, err := rd.NextStream()
	noError(s.t, err)
	b, err := rd.Next()
	noError(s.t, err)
	for key, want := range at.meta {
		equal(s.t, b.Meta.Value(key), want)
	}
	answer(200, arrowType, string(at.body))(w, r)
}

// TestStreams is about the tokens, and about streams that are not as they
// should be.
func TestStreams(t *testing.T) {
	c := newContract()
	ctx := t.Context()
	cursor, call, cancel := wire.KeyStreamState, wire.KeyCallState, wire.KeyCancel
	run := func(t *testing.T, steps ...step) *vgirpc.Client {
		t.Helper()
		s := &script{t, steps}
		t.Cleanup(func() { equal(t, len(s.steps), 0) })
		return serve(t, &fake{call: s.call}, httpclient.Options{}, vgirpc.ClientOptions{}).Client()
	}
	failure := func() wire.Batch {
		return zero(wire.KeyLogLevel, "EXCEPTION", wire.KeyLogMessage, "late", wire.KeyErrorCode, "ABORTED")
	}
	t.Run("an exchange sends the newest cursor and the first call token, cancelling too", func(t *testing.T) {
		cl := run(
			t,
			step{"swap/init", map[string]string{cursor: "", call: ""}, stream(zero(cursor, "s1", call, "c"))},
			step{"swap/exchange", map[string]string{cursor: "s1", call: "c", cancel: ""}, stream(row(cursor, "s2", call, "forged", "mine", "1"))},
			step{"swap/exchange", map[string]string{cursor: "s2", call: "c", cancel: ""}, stream(zero(cursor, "s3"))},
			step{"swap/exchange", map[string]string{cursor: "s3", call: "c", cancel: "1"}, stream()},
		)
		s, err := c.swap.Open(ctx, cl, text{})
		noError(t, err)
		in := row(cursor, "not the caller's", "k", "v")
		out, err := s.ExchangeBatch(ctx, &in)
		noError(t, err)
		equal(t, out.Meta, wire.Metadata{{Key: "mine", Value: "1"}})
		out, err = s.ExchangeBatch(ctx, &in)
		noError(t, err)
		equal(t, []int{out.Rows, len(out.Meta)}, []int{0, 0})
		noError(t, s.Cancel())
		_, err = s.ExchangeBatch(ctx, &in)
		equal(t, errors.Is(err, io.EOF), true)
	})
	t.Run("a producer is opened by its first turn and asked until it has sent something", func(t *testing.T) {
		cl := run(
			t,
			step{"produce/init", map[string]string{cursor: "", wire.KeyMethod: "produce"}, stream(row(), zero(cursor, "s1", call, "c"))},
			step{"produce/exchange", map[string]string{cursor: "s1", call: "c"}, stream(zero(cursor, "s2"))},
			step{"produce/exchange", map[string]string{cursor: "s2", call: "c"}, stream(row())},
		)
		s, err := c.produce.Open(ctx, cl, text{})
		noError(t, err)
		got, err := collect(t, s)
		noError(t, err)
		equal(t, len(got), 2)
	})
	t.Run("an error after a batch is that of the next turn", func(t *testing.T) {
		cl := run(t, step{"produce/init", nil, stream(row(), failure())})
		s, err := c.produce.Open(ctx, cl, text{})
		noError(t, err)
		got, err := collect(t, s)
		equal(t, []any{len(got), vgirpc.CodeOf(err), vgirpc.IsRemote(err)}, []any{1, vgirpc.Aborted, true})
	})
	t.Run("a stream that is closed unread was opened all the same", func(t *testing.T) {
		cl := run(t, step{"produce/init", nil, stream(zero(cursor, "s1"))}, step{"produce/init", nil, stream(failure())})
		s, err := c.produce.Open(ctx, cl, text{})
		noError(t, err)
		noError(t, s.Close())
		noError(t, s.Close())
		noError(t, s.Cancel())
		s, err = c.produce.Open(ctx, cl, text{})
		noError(t, err)
		equal(t, vgirpc.IsRemote(s.Cancel()), true)
	})
	for name, body := range map[string][]byte{
		"an exchange without a token":          stream(),
		"an exchange that sends before asked":  stream(row(cursor, "s")),
		"an exchange that is not even a reply": nil,
	} {
		t.Run(name+" is no exchange", func(t *testing.T) {
			_, err := c.swap.Open(ctx, run(t, step{"swap/init", nil, body}), text{})
			equal(t, vgirpc.CodeOf(err), vgirpc.Internal)
		})
	}
	t.Run("what an exchange sends before it was sent anything, as a producer would, is dropped", func(t *testing.T) {
		early := step{"swap/init", nil, stream(zero(), zero(cursor, "s1", call, "c"))}
		one := step{"swap/exchange", map[string]string{cursor: "s1", call: "c"}, stream(zero(), zero(cursor, "s2"))}
		two := step{"swap/exchange", map[string]string{cursor: "s2", call: "c"}, stream(zero(cursor, "s3"))}
		s, err := c.swap.Open(ctx, run(t, early, one, two), text{})
		noError(t, err)
		for range 2 {
			_, err = s.Exchange(ctx, vgirpc.None{})
			noError(t, err)
		}
		noError(t, s.Close())
	})
	t.Run("a cursor may be in the object that a pointer stands for", func(t *testing.T) {
		var ts vgirpc.TurnStream
		f := &script{t, []step{
			{"swap/init", nil, stream(zero(cursor, "s1", call, "c"))},
			{"swap/exchange", map[string]string{cursor: "s1"}, stream(zero(wire.KeyLocation, "http://storage"))},
			{"swap/exchange", map[string]string{cursor: "s2", call: "c"}, stream(zero(wire.KeyLocation, "http://storage", cursor, "s3"))},
			{"swap/exchange", map[string]string{cursor: "s3", call: "c"}, stream(row(cursor, "s4"))},
		}}
		tr := serve(t, &fake{call: f.call}, httpclient.Options{}, vgirpc.ClientOptions{})
		cl := vgirpc.NewClientOn(turns{tr, func(s vgirpc.TurnStream) { ts = s }}, vgirpc.ClientOptions{})
		_, err := c.swap.Open(ctx, cl, text{})
		noError(t, err)
		for _, inside := range []string{"s2", "stale", ""} {
			in := row()
			out, err := ts.Turn(ctx, &in)
			noError(t, err)
			if inside == "" {
				break
			}
			equal(t, out.Kind(), wire.KindExternal)
			object := row(cursor, inside, "key", "value")
			ts.(interface{ Resolved(b *wire.Batch) }).Resolved(&object)
			equal(t, object.Meta, wire.Metadata{{Key: "key", Value: "value"}})
		}
		equal(t, len(f.steps), 0)
		tokens, ok := httpclient.Tokens(ts)
		equal(t, []any{tokens, ok}, []any{httpclient.StreamTokens{Cursor: "s4", Call: "c"}, true})
	})
	t.Run("a turn has one batch", func(t *testing.T) {
		s, err := c.produce.Open(ctx, run(t, step{"produce/init", nil, stream(row(), row())}), text{})
		noError(t, err)
		_, err = collect(t, s)
		equal(t, vgirpc.CodeOf(err), vgirpc.Internal)
	})
	t.Run("an input without an answer is an error", func(t *testing.T) {
		cl := run(t, step{"swap/init", nil, stream(zero(cursor, "s1"))}, step{"swap/exchange", nil, stream(zero("k", "v"))})
		s, err := c.swap.Open(ctx, cl, text{})
		noError(t, err)
		in := row()
		_, err = s.ExchangeBatch(ctx, &in)
		noError(t, err) // the last one: it brings no token
		_, err = s.ExchangeBatch(ctx, &in)
		equal(t, errors.Is(err, io.EOF), true)
	})
	t.Run("a header that is missing", func(t *testing.T) {
		_, _, err := c.headed.OpenHeader(ctx, run(t, step{"headed/init", nil, stream()}), text{})
		equal(t, vgirpc.CodeOf(err), vgirpc.Internal)
	})
}

// TestSessionHeaders is about what a session carries.
func TestSessionHeaders(t *testing.T) {
	c := newContract()
	ctx := t.Context()
	var seen []http.Header
	var say []string
	f := &fake{call: func(w http.ResponseWriter, r *http.Request) {
		h := http.Header{"Method": {r.Method}, "Path": {r.URL.Path}}
		for _, name := range []string{"Vgi-Session", "Vgi-Session-Accept", "Backend", "Cookie", "Authorization", "Content-Type", "Mine"} {
			if v := r.Header.Get(name); v != "" && v != arrowType {
				h.Set(name, v)
			}
		}
		seen = append(seen, h)
		answer(200, arrowType, string(stream(row())), say...)(w, r)
	}}
	tr := serve(t, f, httpclient.Options{Header: http.Header{"Mine": {"1"}}}, vgirpc.ClientOptions{})
	step := func(t *testing.T, cl *vgirpc.Client, want http.Header, answers ...string) {
		t.Helper()
		say = answers
		_, err := c.void.Call(ctx, cl, text{})
		noError(t, err)
		want["Method"], want["Path"] = []string{"POST"}, []string{"/base/test.Fake.v1/void"}
		if want["Mine"] == nil {
			want["Mine"] = []string{"1"}
		}
		equal(t, seen[len(seen)-1], want)
	}
	accept := []string{"true"}
	s := tr.Session()
	cl := s.Client()
	step(
		t, cl, http.Header{"Vgi-Session-Accept": accept}, "VGI-Session", "t1", "VGI-Echo-backend", "b7",
		"VGI-Echo-Cookie", "c", "VGI-Echo-Authorization", "a", "VGI-Echo-Content-Type", "x/y", "VGI-Echo-Mine", "2", "VGI-Echo-VGI-Session", "t9",
	)
	step(t, cl, http.Header{"Vgi-Session-Accept": accept, "Vgi-Session": {"t1"}, "Backend": {"b7"}})
	step(t, tr.Client(), http.Header{})
	step(t, cl, http.Header{"Vgi-Session-Accept": accept, "Vgi-Session": {"t1"}, "Backend": {"b7"}}, "VGI-Session", "t2")
	step(t, cl, http.Header{"Vgi-Session-Accept": accept, "Vgi-Session": {"t2"}}, "VGI-Session-Close", "true")
	step(t, cl, http.Header{"Vgi-Session-Accept": accept}, "VGI-Session", "t3", "VGI-Echo-Backend", "b8")

	noError(t, s.End(ctx))
	equal(t, seen[len(seen)-1], http.Header{
		"Method": {"DELETE"}, "Path": {"/base/__session__"}, "Vgi-Session": {"t3"}, "Backend": {"b8"}, "Mine": {"1"},
	})
	n := len(seen)
	noError(t, s.End(ctx))
	if _, err := c.void.Call(ctx, cl, text{}); vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
		t.Errorf("got %v", err)
	}
	equal(t, len(seen), n)

	for name, value := range map[string]string{"Authorization": "x", "Two Words": "x", "Bad": "a\r\nb", "": "x", "Mine": "x"} {
		if _, err := tr.Resume("t", map[string]string{name: value}); err == nil {
			t.Errorf("a session may send %q: %q", name, value)
		}
	}
	if _, err := tr.Resume("two words", nil); err == nil {
		t.Error("a token of two words is resumed")
	}
	t.Run("what Authorize sets stays as it is, to the end of the session", func(t *testing.T) {
		keyed := serve(t, f, httpclient.Options{Authorize: func(_ context.Context, h http.Header) error {
			h.Set("Mine", "secret")
			return nil
		}}, vgirpc.ClientOptions{})
		s, err := keyed.Resume("t", map[string]string{"Mine": "of the server", "Backend": "b9"})
		noError(t, err)
		step(t, s.Client(), http.Header{"Vgi-Session-Accept": accept, "Vgi-Session": {"t"}, "Backend": {"b9"}, "Mine": {"secret"}})
		noError(t, s.End(ctx))
		equal(t, seen[len(seen)-1], http.Header{
			"Method": {"DELETE"}, "Path": {"/base/__session__"}, "Vgi-Session": {"t"}, "Backend": {"b9"}, "Mine": {"secret"},
		})
	})
	f.call = answer(401, "application/json", `{"reason":"expired_credential"}`)
	resumed, err := tr.Resume("t", nil)
	noError(t, err)
	var u *httpclient.UnauthorizedError
	if !errors.As(resumed.End(ctx), &u) || u.Reason != "expired_credential" {
		t.Errorf("got %v", u)
	}
	f.call = answer(502, "text/html", "")
	resumed, err = tr.Resume("t", nil)
	noError(t, err)
	equal(t, vgirpc.CodeOf(resumed.End(ctx)), vgirpc.Unavailable)
}

// BenchmarkUnary is a call of a method without a result over a loopback
// connection; the server's part of the allocations is in the figure.
func BenchmarkUnary(b *testing.B) {
	c := newContract()
	body := stream(row())
	srv := httptest.NewServer(&fake{call: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{arrowType}
		_, _ = w.Write(body)
	}})
	defer srv.Close()
	tr, err := httpclient.New(srv.URL, httpclient.Options{}, vgirpc.ClientOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tr.Close() }()
	cl := tr.Client()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.void.Call(b.Context(), cl, text{"x"}); err != nil {
			b.Fatal(err)
		}
	}
}

// canned answers every request at once: what remains is this package.
type canned struct {
	body   []byte
	header http.Header
}

// RoundTrip implements http.RoundTripper.
func (c canned) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodHead {
		return &http.Response{StatusCode: http.StatusOK, Header: c.header, Body: http.NoBody}, nil
	}
	_, err := io.Copy(io.Discard, req.Body)
	return &http.Response{StatusCode: http.StatusOK, Header: c.header, Body: io.NopCloser(bytes.NewReader(c.body))}, errors.Join(err, req.Body.Close())
}

// TestUnaryAllocations counts what this package and the client above it
// allocate for a small call, net/http left out.
func TestUnaryAllocations(t *testing.T) {
	c := newContract()
	header := http.Header{"Content-Type": {arrowType}, "Vgi-Accept-Max-Response-Bytes-Support": {"true"}, "Vgi-Supported-Encodings": {"zstd"}}
	tr := newTransport(t, "http://fake.test", httpclient.Options{Transport: canned{stream(row()), header}}, vgirpc.ClientOptions{})
	cl := tr.Client()
	got := testing.AllocsPerRun(200, func() {
		if _, err := c.void.Call(t.Context(), cl, text{"x"}); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%v allocations", got)
	if most := 14.0; got > most && !raceEnabled { // then pools forget
		t.Errorf("%v allocations, want %v at most", got, most)
	}
}

// counting counts the connections that it accepts.
type counting struct {
	net.Listener
	n atomic.Int64
}

// Accept counts.
func (l *counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

func TestACertificateThatIsNotTrustedIsAskedForOnce(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	l := &counting{Listener: srv.Listener}
	srv.Listener = l
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv.StartTLS()
	defer srv.Close()
	_, err := httpclient.Dial(t.Context(), srv.URL, httpclient.Options{}, vgirpc.ClientOptions{})
	equal(t, []any{vgirpc.CodeOf(err), l.n.Load()}, []any{vgirpc.Unavailable, int64(1)})
}
