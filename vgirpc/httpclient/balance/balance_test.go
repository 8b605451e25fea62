package balance_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/balance"
)

const arrowType = "application/vnd.apache.arrow.stream"

func equal(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func newTransport(t *testing.T, endpoints []string, opts balance.Options) *balance.Transport {
	t.Helper()
	tr, err := balance.New(endpoints, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

// errRefused is a dial that nobody took.
var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

// errReset is a connection that broke.
var errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

// answer is what a server does with a request.
type answer struct {
	status int
	header http.Header
	body   io.Reader
	err    error // instead of a response
}

// server answers requests. It is an http.RoundTripper as well.
type server func(*http.Request) answer

// RoundTrip implements http.RoundTripper.
func (s server) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	a := s(req)
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(a.body)}, nil
}

// answers returns a server that answers with a status and headers.
func answers(status int, header ...string) server {
	return func(*http.Request) answer {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return answer{status: status, header: h, body: strings.NewReader("x")}
	}
}

// lasting returns a server that takes its time.
func lasting(d time.Duration) server {
	return func(r *http.Request) answer {
		time.Sleep(d)
		return answers(http.StatusOK)(r)
	}
}

// fails returns a server that gives no answer.
func fails(err error) server {
	return func(*http.Request) answer { return answer{err: err} }
}

// hangs is a server that answers when its caller has left.
func hangs(req *http.Request) answer {
	<-req.Context().Done()
	return answer{err: req.Context().Err()}
}

// replicas is a network of servers, by host.
type replicas struct {
	mu    sync.Mutex
	hosts map[string]server
	seen  []string // method and URL of each request
}

func newReplicas() *replicas { return &replicas{hosts: map[string]server{}} }

// RoundTrip implements http.RoundTripper.
func (r *replicas) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.seen = append(r.seen, req.Method+" "+req.URL.String())
	do := r.hosts[req.URL.Host]
	r.mu.Unlock()
	if do == nil {
		do = fails(errRefused)
	}
	return do.RoundTrip(req)
}

// set puts a server at a host; nil takes it away.
func (r *replicas) set(host string, do server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts[host] = do
}

// take returns the requests since the last time.
func (r *replicas) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.seen
	r.seen = nil
	return out
}

// call sends a request to the transport and reads the answer, which it returns
// as the host that answered, or what went wrong.
func call(ctx context.Context, tr *balance.Transport, path string, header ...string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, tr.URL()+path, strings.NewReader("body"))
	if err != nil {
		return err.Error()
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		return err.Error()
	}
	return http.StatusText(resp.StatusCode)
}

// send sends a request and returns the one that the response says it is to.
func send(tr *balance.Transport, req *http.Request) (*http.Request, error) {
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	return resp.Request, resp.Body.Close()
}

// ejected are the endpoints that are out.
func ejected(tr *balance.Transport) []string {
	var out []string
	for _, s := range tr.Stats() {
		if s.Ejected {
			out = append(out, strings.TrimPrefix(s.URL, "http://"))
		}
	}
	return out
}

func TestNewRefusesWhatMakesNoSense(t *testing.T) {
	two := []string{"http://a", "http://b"}
	for name, tt := range map[string]struct {
		endpoints []string
		opts      balance.Options
		says      string
	}{
		"no endpoints":                       {nil, balance.Options{}, "no endpoints"},
		"one that is no URL":                 {[]string{"http://a", "http://b:x:y"}, balance.Options{}, "cannot be parsed"},
		"one of another scheme":              {[]string{"unix:/x"}, balance.Options{}, "want http://host"},
		"one without a host":                 {[]string{"http://:80"}, balance.Options{}, "want http://host"},
		"one with credentials":               {[]string{"http://me:secret@a"}, balance.Options{}, "credentials"},
		"one with a query":                   {[]string{"http://a?b"}, balance.Options{}, "query"},
		"one that is given twice":            {[]string{"http://a/b", "http://A/b/"}, balance.Options{}, "twice"},
		"a base that is no URL":              {two, balance.Options{Base: "a/b"}, "want http://host"},
		"a host with a path":                 {two, balance.Options{Host: "a/b"}, "Host is"},
		"TLS for somebody else's transport":  {two, balance.Options{Transport: newReplicas(), TLS: &tls.Config{}}, "TLS is for"},
		"a negative number of failures":      {two, balance.Options{Failures: -1}, "Failures is -1"},
		"a negative number of sessions":      {two, balance.Options{Sessions: -1}, "Sessions -1"},
		"a negative time":                    {two, balance.Options{ProbeTimeout: -1}, "ProbeTimeout is -1ns"},
		"a first ejection above the longest": {two, balance.Options{EjectFor: 2, MaxEjectFor: 1}, "EjectFor is 2ns"},
		"a share above all":                  {two, balance.Options{MaxEjected: 1.5}, "MaxEjected is 1.5"},
		"a share that is no number":          {two, balance.Options{MaxEjected: math.NaN()}, "MaxEjected is NaN"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := balance.New(tt.endpoints, tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
	t.Run("an ejection may be longer than the usual maximum, or shorter than the usual first", func(t *testing.T) {
		newTransport(t, two, balance.Options{EjectFor: time.Hour})
		newTransport(t, two, balance.Options{MaxEjectFor: time.Millisecond})
	})
}

func TestRequestsAreRewritten(t *testing.T) {
	for name, tt := range map[string]struct {
		base, endpoint, host string
		request              string
		url, wantHost        string // "" for an error
	}{
		"the only endpoint is the base":           {"", "http://a/p", "", "http://a/p/x/y", "http://a/p/x/y", "a"},
		"a logical name becomes a real one":       {"http://vgi.invalid/p", "https://a:8443/p", "", "http://vgi.invalid/p/x", "https://a:8443/p/x", "a:8443"},
		"a prefix is replaced":                    {"http://vgi.invalid", "http://a/deep/er", "", "http://vgi.invalid/x", "http://a/deep/er/x", "a"},
		"a prefix is taken off":                   {"http://vgi.invalid/p/q/", "http://a/", "", "http://vgi.invalid/p/q/x", "http://a/x", "a"},
		"the base itself is below the base":       {"http://vgi.invalid/p", "http://a/q", "", "http://vgi.invalid/p", "http://a/q", "a"},
		"what is escaped stays escaped":           {"http://vgi.invalid/p", "http://a/q", "", "http://vgi.invalid/p/a%2Fb/c%20d", "http://a/q/a%2Fb/c%20d", "a"},
		"an escaped prefix stays escaped":         {"http://vgi.invalid/p%2Fq", "http://a/r%2Fs/", "", "http://vgi.invalid/p%2Fq/x", "http://a/r%2Fs/x", "a"},
		"a query goes along":                      {"http://vgi.invalid", "http://a", "", "http://vgi.invalid/x?y=z", "http://a/x?y=z", "a"},
		"a host of all endpoints is sent":         {"", "http://192.0.2.1:80", "vgi.example", "http://192.0.2.1:80/x", "http://192.0.2.1:80/x", "vgi.example"},
		"the case of a host does not matter":      {"http://Vgi.Invalid", "http://a", "", "http://vgi.invalid/x", "http://a/x", "a"},
		"another host is refused":                 {"http://vgi.invalid", "http://a", "", "http://a/x", "", ""},
		"another scheme is refused":               {"http://vgi.invalid", "http://a", "", "https://vgi.invalid/x", "", ""},
		"a path above the prefix is refused":      {"http://vgi.invalid/p", "http://a", "", "http://vgi.invalid/x", "", ""},
		"a prefix ends where a segment ends":      {"http://vgi.invalid/p", "http://a", "", "http://vgi.invalid/px", "", ""},
		"a prefix that is escaped is another one": {"http://vgi.invalid/p%2Fq", "http://a", "", "http://vgi.invalid/p/q/x", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var url, host string
			tr := newTransport(t, []string{tt.endpoint}, balance.Options{Base: tt.base, Host: tt.host, Transport: server(func(r *http.Request) answer {
				url, host = r.URL.String(), r.Host
				return answers(200)(r)
			})})
			req := httptest.NewRequest(http.MethodPost, tt.request, nil)
			before := req.URL.String()
			of, err := send(tr, req)
			equal(t, []string{url, host}, []string{tt.url, tt.wantHost})
			equal(t, err != nil, tt.url == "")
			equal(t, req.URL.String(), before) // a RoundTripper leaves its request as it is
			if err == nil && of != req {
				t.Error("the response is to another request")
			}
		})
	}
}

// TestFailover is about requests whose endpoint cannot be had.
func TestFailover(t *testing.T) {
	for name, tt := range map[string]struct {
		first   error
		noBody  bool
		noAgain bool
		want    []string // of the second endpoint
	}{
		"a dial that fails sends the request elsewhere":        {first: errRefused, want: []string{"body"}},
		"a dial that fails deep inside does so":                {first: fmt.Errorf("pool: %w", errRefused), want: []string{"body"}},
		"a name that is not found does so":                     {first: &net.OpError{Op: "dial", Err: &net.DNSError{}}, want: []string{"body"}},
		"a request without a body goes elsewhere":              {first: errRefused, noBody: true, want: []string{""}},
		"a body that cannot be had again stays":                {first: errRefused, noAgain: true},
		"a connection that breaks may have carried it":         {first: errReset},
		"an end of the connection may have come after it":      {first: io.ErrUnexpectedEOF},
		"an error of nobody knows what may have come after it": {first: errors.New("what")},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			var dead string
			tr := newTransport(t, []string{"http://a", "http://b"}, balance.Options{Transport: server(func(r *http.Request) answer {
				body := ""
				if r.Body != nil {
					raw, err := io.ReadAll(r.Body) // a failed attempt must not leave the next one half of it
					if err != nil {
						return answer{err: err}
					}
					body = string(raw)
				}
				if dead == "" || dead == r.URL.Host {
					dead = r.URL.Host
					return answer{err: tt.first}
				}
				got = append(got, body)
				return answers(200)(r)
			})})
			req, err := http.NewRequest(http.MethodPost, "http://a/x", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.noBody:
				req.Body, req.GetBody, req.ContentLength = nil, nil, 0
			case tt.noAgain:
				req.GetBody = nil
			}
			_, err = send(tr, req)
			equal(t, got, tt.want)
			if equal(t, err != nil, tt.want == nil); err != nil && !errors.Is(err, tt.first) {
				t.Errorf("got %v", err)
			}
			equal(t, tr.Stats()[0].InFlight+tr.Stats()[1].InFlight, 0)
		})
	}

	t.Run("every endpoint is tried once, the ejected ones too", func(t *testing.T) {
		r := newReplicas()
		tr := newTransport(t, []string{"http://a", "http://b", "http://c"}, balance.Options{Transport: r, Failures: 1})
		for range 3 {
			call(t.Context(), tr, "/x")
			got := r.take()
			slices.Sort(got)
			equal(t, got, []string{"POST http://a/x", "POST http://b/x", "POST http://c/x"})
		}
		equal(t, len(ejected(tr)), 2) // one always stays
	})
	t.Run("a connection that ends without an answer is not the end of a stream", func(t *testing.T) {
		tr := newTransport(t, []string{"http://a"}, balance.Options{Transport: fails(fmt.Errorf("pool: %w", io.EOF))})
		_, err := send(tr, httptest.NewRequest(http.MethodPost, "http://a/x", nil))
		equal(t, []bool{errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF)}, []bool{false, true})
	})
	t.Run("a caller that is gone is not sent elsewhere", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		tr := newTransport(t, []string{"http://a", "http://b"}, balance.Options{Transport: server(func(*http.Request) answer {
			n++
			cancel()
			return answer{err: &net.OpError{Op: "dial", Err: context.Canceled}}
		})})
		call(ctx, tr, "/x")
		equal(t, n, 1)
		equal(t, tr.Stats()[0].Failed+tr.Stats()[1].Failed, uint64(0))
	})
	t.Run("a closed transport sends nothing and closes the body", func(t *testing.T) {
		r := newReplicas()
		tr := newTransport(t, []string{"http://a"}, balance.Options{Transport: r})
		if err := errors.Join(tr.Close(), tr.Close()); err != nil {
			t.Fatal(err)
		}
		body := &closing{Reader: strings.NewReader("x")}
		req, err := http.NewRequest(http.MethodPost, "http://a/x", body)
		if err != nil {
			t.Fatal(err)
		}
		_, err = send(tr, req)
		equal(t, []any{err != nil, body.closed, len(r.take())}, []any{true, true, 0})
	})
}

type closing struct {
	io.Reader
	closed bool
}

// Close notes that it was called.
func (c *closing) Close() error {
	c.closed = true
	return nil
}

// TestWhatEjects is about single answers of one of two endpoints.
func TestWhatEjects(t *testing.T) {
	breaking := func(err error) server {
		return func(*http.Request) answer {
			return answer{status: http.StatusOK, body: io.MultiReader(strings.NewReader("x"), failing{err})}
		}
	}
	for name, tt := range map[string]struct {
		do   server
		want bool
	}{
		"a refused connection does":                  {fails(errRefused), true},
		"a broken connection does":                   {fails(errReset), true},
		"a body that breaks off does":                {breaking(errReset), true},
		"a gateway's 502 does":                       {answers(502, "Content-Type", "text/html"), true},
		"a gateway's 503 does":                       {answers(503), true},
		"a gateway's 504 does":                       {answers(504), true},
		"a gateway's 500 is an answer":               {answers(500), false},
		"a gateway's 429 is about the caller":        {answers(429, "Retry-After", "9"), false},
		"a server's own 503 is an answer":            {answers(503, "Content-Type", arrowType), false},
		"a server's 503 in JSON is its own":          {answers(503, "Content-Type", "application/json", "VGI-Accept-Max-Response-Bytes-Support", "true"), false},
		"a method's error is a result":               {answers(200, "X-VGI-RPC-Error", "true"), false},
		"a 401 is an answer":                         {answers(401), false},
		"a redirect is an answer, for what it is":    {answers(307), false},
		"a result does not":                          {answers(200), false},
		"a server that asks for a rest gets it":      {answers(503, "Content-Type", arrowType, "Retry-After", "9"), true},
		"a time to retry that is no time is ignored": {answers(503, "Content-Type", arrowType, "Retry-After", "soon"), false},
		"a time to retry that is past is ignored":    {answers(503, "Content-Type", arrowType, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplicas()
			r.set("a", tt.do)
			r.set("b", answers(200))
			tr := newTransport(t, []string{"http://a", "http://b"}, balance.Options{Transport: r, Failures: 2})
			// Until a had enough requests, whoever gets them.
			for i := 0; tr.Stats()[0].Requests < 2 && len(ejected(tr)) == 0; i++ {
				if call(t.Context(), tr, "/x"); i > 1000 {
					t.Fatal("the endpoint is not used")
				}
			}
			equal(t, ejected(tr) != nil, tt.want)
			for _, s := range tr.Stats() {
				equal(t, s.InFlight, 0)
			}
		})
	}
}

type failing struct{ error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.error }

// sick returns three endpoints of which a gives do's answers and has been ejected.
func sick(t *testing.T, do server, opts balance.Options) (*replicas, *balance.Transport) {
	t.Helper()
	r := newReplicas()
	for _, host := range []string{"b", "c"} {
		r.set(host, answers(200))
	}
	r.set("a", do)
	opts.Transport = r
	tr := newTransport(t, []string{"http://a/p", "http://b/p", "http://c/p"}, opts)
	for i := 0; len(ejected(tr)) == 0; i++ {
		if call(t.Context(), tr, "/x"); i > 1000 {
			t.Fatal("the endpoint is not ejected")
		}
	}
	r.take()
	return r, tr
}

// of counts the requests whose method and URL begin with prefix.
func of(seen []string, prefix string) int {
	n := 0
	for _, s := range seen {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

// TestEjection is about the time that an endpoint is out, and how it comes back.
func TestEjection(t *testing.T) {
	for name, run := range map[string]func(*testing.T){
		"an ejected endpoint gets nothing until its time is over": func(t *testing.T) {
			r, tr := sick(t, answers(503), balance.Options{})
			time.Sleep(700 * time.Millisecond) // 750 at least
			for range 100 {
				call(t.Context(), tr, "/x")
			}
			equal(t, of(r.take(), "POST http://a"), 0)
		},
		"one that is well again is asked once and then used": func(t *testing.T) {
			r, tr := sick(t, answers(503), balance.Options{})
			r.set("a", answers(200))
			time.Sleep(1251 * time.Millisecond) // a quarter more than a second at most
			for range 100 {
				equal(t, call(t.Context(), tr, "/x"), "OK")
			}
			seen := r.take()
			equal(t, seen[0], "HEAD http://a/p/health")
			equal(t, of(seen, "HEAD"), 1)
			if n := of(seen, "POST http://a"); n < 5 {
				t.Errorf("it got %d of 100 requests", n)
			}
		},
		"one that is not is asked less and less, and loses no request": func(t *testing.T) {
			r, tr := sick(t, answers(503), balance.Options{})
			var probes []time.Duration
			start := time.Now()
			for time.Since(start) < 10*time.Minute {
				equal(t, call(t.Context(), tr, "/x"), "OK")
				if seen := r.take(); of(seen, "HEAD http://a") > 0 {
					probes = append(probes, time.Since(start))
				}
				time.Sleep(10 * time.Millisecond)
			}
			for i := 1; i < len(probes); i++ {
				gap, spell := probes[i]-probes[i-1], min(time.Second<<i, time.Minute)
				if gap < spell*3/4 || gap > spell*5/4+20*time.Millisecond {
					t.Errorf("probe %d came after %v, want about %v", i, gap, spell)
				}
			}
			if len(probes) < 13 || len(probes) > 21 {
				t.Errorf("%d probes in ten minutes", len(probes))
			}
		},
		"one that is well but fails is ejected by its first failure, for longer": func(t *testing.T) {
			r, tr := sick(t, answers(503), balance.Options{})
			r.set("a", func(req *http.Request) answer {
				if req.Method == http.MethodHead {
					return answers(200)(req)
				}
				return answers(502)(req)
			})
			time.Sleep(1251 * time.Millisecond)
			for range 100 {
				call(t.Context(), tr, "/x")
			}
			equal(t, of(r.take(), "POST http://a"), 1)
			s := tr.Stats()[0]
			if left := time.Until(s.Until); !s.Ejected || s.Ejections != 2 || left < 1500*time.Millisecond || left > 2500*time.Millisecond {
				t.Errorf("%+v, out for %v", s, left)
			}
		},
		"one that did well for long starts again from the shortest time": func(t *testing.T) {
			r, tr := sick(t, answers(503), balance.Options{})
			r.set("a", answers(200))
			time.Sleep(2 * time.Second)
			call(t.Context(), tr, "/x")
			equal(t, ejected(tr), []string(nil))
			time.Sleep(2 * time.Minute)
			r.set("a", answers(503))
			for len(ejected(tr)) == 0 {
				call(t.Context(), tr, "/x")
			}
			if left := time.Until(tr.Stats()[0].Until); left > 1250*time.Millisecond {
				t.Errorf("out for %v", left)
			}
		},
		"a probe that hangs delays one request, and no other": func(t *testing.T) {
			r, tr := sick(t, answers(503), balance.Options{})
			r.set("a", hangs)
			time.Sleep(1251 * time.Millisecond)
			start := time.Now()
			var wg sync.WaitGroup
			var waited atomic.Int64
			for range 32 {
				wg.Go(func() {
					if call(t.Context(), tr, "/x"); time.Since(start) > 0 {
						waited.Add(1)
					}
				})
			}
			wg.Wait()
			equal(t, []any{time.Since(start), waited.Load()}, []any{time.Second, int64(1)})
			equal(t, ejected(tr), []string{"a/p"})
		},
		"a caller that leaves while it asks says nothing of the endpoint": func(t *testing.T) {
			r, tr := sick(t, answers(503), balance.Options{})
			r.set("a", hangs)
			time.Sleep(1251 * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			call(ctx, tr, "/x")
			r.set("a", answers(200))
			call(t.Context(), tr, "/x") // asks again, at once
			equal(t, ejected(tr), []string(nil))
		},
		"a gateway's time to retry is kept to, and asked after": func(t *testing.T) {
			r, tr := sick(t, answers(503, "Retry-After", "20"), balance.Options{})
			equal(t, tr.Stats()[0].Failed, uint64(1)) // one is enough
			r.set("a", answers(200))
			time.Sleep(19 * time.Second)
			for range 100 {
				call(t.Context(), tr, "/x")
			}
			equal(t, of(r.take(), "POST http://a")+of(r.take(), "HEAD"), 0)
			time.Sleep(7 * time.Second)
			call(t.Context(), tr, "/x")
			equal(t, of(r.take(), "HEAD http://a"), 1)
			equal(t, ejected(tr), []string(nil))
		},
		"a date to retry is one": func(t *testing.T) {
			at := time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat)
			_, tr := sick(t, answers(503, "Retry-After", at), balance.Options{})
			if left := time.Until(tr.Stats()[0].Until); left < 18*time.Second || left > 26*time.Second {
				t.Errorf("out for %v", left)
			}
		},
		"a server's own rest ends by itself": func(t *testing.T) {
			r, tr := sick(t, answers(503, "Content-Type", arrowType, "Retry-After", "4"), balance.Options{})
			r.set("a", answers(200))
			time.Sleep(5001 * time.Millisecond)
			for range 100 {
				call(t.Context(), tr, "/x")
			}
			seen := r.take()
			equal(t, of(seen, "HEAD"), 0)
			if of(seen, "POST http://a") == 0 {
				t.Error("it got nothing")
			}
			equal(t, tr.Stats()[0].Failed, uint64(0))
		},
		"nobody can ask to be left alone for a year": func(t *testing.T) {
			_, tr := sick(t, answers(503, "Retry-After", "31536000"), balance.Options{MaxEjectFor: 10 * time.Second})
			if left := time.Until(tr.Stats()[0].Until); left > 12500*time.Millisecond {
				t.Errorf("out for %v", left)
			}
		},
		"where all fail one stays, and the first that is well is found soon": func(t *testing.T) {
			r, tr := sick(t, answers(503), balance.Options{})
			r.set("b", answers(503))
			r.set("c", answers(503))
			for range 200 { // out for as long as can be
				call(t.Context(), tr, "/x")
				time.Sleep(time.Second)
			}
			equal(t, len(ejected(tr)), 2)
			r.set(strings.TrimSuffix(ejected(tr)[0], "/p"), answers(200))
			for range 3 {
				call(t.Context(), tr, "/x")
				time.Sleep(time.Second)
			}
			lost := 0
			for range 20 { // who still fails is taken last, until it is its time to be tried
				if call(t.Context(), tr, "/x") != "OK" {
					lost++
				}
			}
			if lost > 1 {
				t.Errorf("%d of 20 requests were lost", lost)
			}
		},
		"one that cannot be ejected is taken last, and not forgotten": func(t *testing.T) {
			r, tr := sick(t, fails(errRefused), balance.Options{MaxEjected: 0.4}) // one of three
			r.set("b", answers(503))
			for tr.Stats()[1].Consecutive < 3 {
				call(t.Context(), tr, "/x")
			}
			r.take()
			for range 100 {
				equal(t, call(t.Context(), tr, "/x"), "OK")
			}
			equal(t, of(r.take(), "POST http://b"), 0)
			lost := 0
			for range 300 {
				if call(t.Context(), tr, "/x") != "OK" {
					lost++
				}
				time.Sleep(time.Second)
			}
			if lost < 3 || lost > 15 { // as often as it would be asked for its health
				t.Errorf("%d of 300 requests were lost", lost)
			}
			r.set("b", answers(200))
			time.Sleep(2 * time.Minute)
			r.take()
			for range 100 {
				equal(t, call(t.Context(), tr, "/x"), "OK")
			}
			if n := of(r.take(), "POST http://b"); n < 20 {
				t.Errorf("it got %d of 100 requests", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, run) })
	}
}

// TestShare is about how many endpoints may be out at once.
func TestShare(t *testing.T) {
	for _, tt := range []struct {
		n     int
		share float64
		want  int
	}{{1, 0, 0}, {1, 1, 0}, {2, 0, 1}, {2, 0.1, 1}, {2, 1, 1}, {3, 0, 2}, {3, 0.5, 1}, {10, 0, 6}, {10, 0.3, 3}, {10, 1, 9}} {
		t.Run(fmt.Sprintf("of %d with a share of %v at most %d are out", tt.n, tt.share, tt.want), func(t *testing.T) {
			var endpoints []string
			for i := range tt.n {
				endpoints = append(endpoints, fmt.Sprintf("http://e%d", i))
			}
			tr := newTransport(t, endpoints, balance.Options{Transport: answers(502), MaxEjected: tt.share, Failures: 1})
			for range 100 {
				equal(t, call(t.Context(), tr, "/x"), "Bad Gateway")
			}
			equal(t, len(ejected(tr)), tt.want)
		})
	}
}

// TestSessions is about requests that one endpoint alone can answer.
func TestSessions(t *testing.T) {
	hosts := []string{"a", "b", "c", "d"}
	start := func(t *testing.T, opts balance.Options) (*replicas, *balance.Transport) {
		t.Helper()
		r := newReplicas()
		var endpoints []string
		for _, h := range hosts {
			endpoints = append(endpoints, "http://"+h)
			r.set(h, func(req *http.Request) answer {
				if token, ok := strings.CutPrefix(req.URL.Path, "/open/"); ok {
					return answers(200, "VGI-Session", token)(req)
				}
				if req.URL.Path == "/close" {
					return answers(200, "VGI-Session-Close", "true")(req)
				}
				return answers(200)(req)
			})
		}
		opts.Transport = r
		return r, newTransport(t, endpoints, opts)
	}
	// home is the host of the last request.
	home := func(r *replicas) string {
		seen := r.take()
		return strings.Split(seen[len(seen)-1], "/")[2]
	}
	// roams reports whether requests with a token go to several hosts.
	roams := func(t *testing.T, r *replicas, tr *balance.Transport, token string) bool {
		t.Helper()
		first := ""
		for range 100 {
			call(t.Context(), tr, "/x", "VGI-Session", token)
			switch got := home(r); {
			case first == "":
				first = got
			case got != first:
				return true
			}
		}
		return false
	}

	t.Run("a session stays where it was opened", func(t *testing.T) {
		r, tr := start(t, balance.Options{})
		for i := range 20 {
			token := fmt.Sprint("t", i)
			call(t.Context(), tr, "/open/"+token)
			at := home(r)
			for range 20 {
				call(t.Context(), tr, "/x", "VGI-Session", token)
				equal(t, home(r), at)
			}
		}
	})
	t.Run("a token that nobody knows goes anywhere", func(t *testing.T) {
		r, tr := start(t, balance.Options{})
		equal(t, roams(t, r, tr, "other"), true)
	})
	t.Run("a closed session is forgotten", func(t *testing.T) {
		r, tr := start(t, balance.Options{})
		call(t.Context(), tr, "/open/t")
		equal(t, roams(t, r, tr, "t"), false)
		call(t.Context(), tr, "/close", "VGI-Session", "t")
		equal(t, roams(t, r, tr, "t"), true)
	})
	t.Run("the sessions used last are remembered", func(t *testing.T) {
		r, tr := start(t, balance.Options{Sessions: 8})
		call(t.Context(), tr, "/open/used")
		call(t.Context(), tr, "/open/unused")
		for i := range 100 {
			call(t.Context(), tr, "/open/"+strconv.Itoa(i))
			call(t.Context(), tr, "/x", "VGI-Session", "used")
		}
		equal(t, []bool{roams(t, r, tr, "used"), roams(t, r, tr, "unused")}, []bool{false, true})
	})
	t.Run("a session whose endpoint is gone is not sent to one that never had it", func(t *testing.T) {
		r, tr := start(t, balance.Options{Failures: 1})
		call(t.Context(), tr, "/open/t")
		at := home(r)
		r.set(at, nil)
		for range 3 {
			if got := call(t.Context(), tr, "/x", "VGI-Session", "t"); !strings.Contains(got, "connection refused") {
				t.Errorf("got %s", got)
			}
			equal(t, r.take(), []string{"POST http://" + at + "/x"})
		}
		equal(t, ejected(tr), []string{at})
		r.set(at, answers(200))
		equal(t, call(t.Context(), tr, "/x", "VGI-Session", "t"), "OK") // even now
	})
}

// TestDistribution is about who gets how much.
func TestDistribution(t *testing.T) {
	for name, tt := range map[string]struct {
		a, b, c     time.Duration
		callers     int
		least, most float64 // of the share of a
	}{
		"equal replicas share alike":                         {10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, 16, 0.25, 0.42},
		"a slow replica gets less":                           {200 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, 16, 0.005, 0.1},
		"a slow replica gets less from a single caller":      {200 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, 1, 0.0001, 0.1},
		"differences below a millisecond do not matter much": {900 * time.Microsecond, 200 * time.Microsecond, 200 * time.Microsecond, 1, 0.25, 0.42},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReplicas()
				r.set("a", lasting(tt.a))
				r.set("b", lasting(tt.b))
				r.set("c", lasting(tt.c))
				tr := newTransport(t, []string{"http://a", "http://b", "http://c"}, balance.Options{Transport: r})
				var wg sync.WaitGroup
				for range tt.callers {
					wg.Go(func() {
						for range 8000 / tt.callers {
							call(t.Context(), tr, "/x")
						}
					})
				}
				wg.Wait()
				share := float64(tr.Stats()[0].Requests) / 8000
				if share < tt.least || share > tt.most {
					t.Errorf("the share is %.4f, want %v to %v", share, tt.least, tt.most)
				}
			})
		})
	}
	t.Run("a replica that hangs is left by those who come after", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newReplicas()
			r.set("a", hangs)
			r.set("b", lasting(10*time.Millisecond))
			tr := newTransport(t, []string{"http://a", "http://b"}, balance.Options{Transport: r})
			for range 500 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				call(ctx, tr, "/x")
				cancel()
			}
			s := tr.Stats()
			if equal(t, s[0].Failed, uint64(0)); s[0].Requests > 20 { // each costs a second, in which it is believed less
				t.Errorf("%d of 500 requests were lost on it", s[0].Requests)
			}
		})
	})
	t.Run("a quick refusal draws nobody", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newReplicas()
			r.set("a", answers(401))
			r.set("b", lasting(10*time.Millisecond))
			tr := newTransport(t, []string{"http://a", "http://b"}, balance.Options{Transport: r})
			for range 1000 {
				call(t.Context(), tr, "/x")
			}
			if n := tr.Stats()[0].Requests; n > 600 {
				t.Errorf("it got %d of 1000 requests", n)
			}
		})
	})
}

// TestAllocations: the choice of an endpoint costs one allocation.
func TestAllocations(t *testing.T) {
	body := strings.NewReader("")
	tr := newTransport(t, []string{"http://a/p", "http://b/p"}, balance.Options{Transport: server(func(*http.Request) answer {
		return answer{status: http.StatusOK, body: body}
	})})
	req := httptest.NewRequest(http.MethodPost, "http://a/p/x", nil)
	got := testing.AllocsPerRun(200, func() {
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	})
	if got > 3 { // two are the response and its body
		t.Errorf("%v allocations", got)
	}
}

// asking is a log handler that asks the transport what it writes about.
type asking struct {
	slog.Handler
	tr   *balance.Transport
	said []string
}

// Enabled implements slog.Handler.
func (*asking) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (a *asking) Handle(_ context.Context, r slog.Record) error {
	a.said = append(a.said, fmt.Sprint(r.Message, " ", ejected(a.tr)))
	return nil
}

func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &asking{Handler: slog.DiscardHandler}
		r := newReplicas()
		r.set("b", answers(200))
		log.tr = newTransport(t, []string{"http://a", "http://b"}, balance.Options{Transport: r, Failures: 1, Logger: slog.New(log)})
		for len(log.said) == 0 {
			call(t.Context(), log.tr, "/x")
		}
		r.set("a", func(req *http.Request) answer {
			if req.Method == http.MethodHead {
				return answers(200)(req)
			}
			return answers(503, "Content-Type", arrowType, "Retry-After", "1")(req)
		})
		time.Sleep(2 * time.Second)
		for len(log.said) < 3 {
			call(t.Context(), log.tr, "/x")
		}
		equal(t, log.said, []string{"an endpoint is ejected [a]", "an endpoint is back []", "an endpoint asked to be left alone [a]"})
	})
}

func TestResolve(t *testing.T) {
	for name, tt := range map[string]struct {
		url  string
		want []string
	}{
		"an address is itself, with its port": {"http://127.0.0.1/p", []string{"http://127.0.0.1:80/p"}},
		"the port of https is 443":            {"https://192.0.2.7", []string{"https://192.0.2.7:443"}},
		"a port stays, an IPv6 address too":   {"https://[2001:db8::1]:8443/a%2Fb/", []string{"https://[2001:db8::1]:8443/a%2Fb"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := balance.Resolve(t.Context(), tt.url)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, got, tt.want)
		})
	}
	t.Run("what is no URL of a server is refused", func(t *testing.T) {
		if _, err := balance.Resolve(t.Context(), "unix:/x"); err == nil {
			t.Error("no error")
		}
	})
}

// TestHost: endpoints that are addresses have the certificate of their name.
func TestHost(t *testing.T) {
	var host atomic.Value
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host.Store(r.Host) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // a handshake fails on purpose
	srv.StartTLS()
	defer srv.Close()
	config := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = ""
	for name, tt := range map[string]struct {
		host string
		ok   bool
	}{
		"the name on the certificate will do": {"example.com:8443", true},
		"another name will not":               {"other.test", false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(t, []string{srv.URL}, balance.Options{Host: tt.host, TLS: config})
			got := call(t.Context(), tr, "/x")
			if tt.ok {
				equal(t, []any{got, host.Load()}, []any{"OK", tt.host})
			} else if !strings.Contains(got, "certificate") {
				t.Errorf("got %s", got)
			}
		})
	}
}
