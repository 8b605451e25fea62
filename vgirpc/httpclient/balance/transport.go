package balance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// dialTimeout bounds one attempt to connect: there are others to turn to.
const dialTimeout = 5 * time.Second

// Names of headers, in the form in which net/http keeps them.
const (
	headerContentType  = "Content-Type"
	headerRetryAfter   = "Retry-After"
	headerLimitSupport = "Vgi-Accept-Max-Response-Bytes-Support"
	headerRPCError     = "X-Vgi-Rpc-Error"
	headerSession      = "Vgi-Session"
	headerSessionClose = "Vgi-Session-Close"
)

const contentTypeArrow = "application/vnd.apache.arrow.stream"

// errClosed answers requests on a closed Transport.
var errClosed = errors.New("balance: the transport is closed")

// Transport is an http.RoundTripper that carries each request to one of several
// endpoints. It may be used from many goroutines.
type Transport struct {
	opts   Options
	base   *url.URL
	prefix string // escaped path of base
	rt     http.RoundTripper
	own    *http.Transport // nil when it was given

	mu       sync.Mutex
	set      set
	sessions *sessions
	closed   bool
}

// New returns a transport to the endpoints, which are http and https URLs with
// the prefix of each server. It asks them nothing. It fails on a URL that cannot
// be one, on one that is given twice, and on an option that makes no sense.
func New(endpoints []string, opts Options) (*Transport, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	urls, err := parseAll(endpoints)
	if err != nil {
		return nil, err
	}
	t := &Transport{opts: opts, base: urls[0], rt: opts.Transport, sessions: newSessions(opts.Sessions)}
	if opts.Base != "" {
		if t.base, err = parse(opts.Base); err != nil {
			return nil, err
		}
	}
	t.prefix = t.base.EscapedPath()
	if t.rt == nil {
		t.own = newPool(&t.opts)
		t.rt = t.own
	}
	t.set = set{opts: &t.opts, max: maxOut(len(urls), opts.MaxEjected)}
	for _, u := range urls {
		e := &endpoint{url: u, name: u.String(), host: u.Host}
		if opts.Host != "" {
			e.host = opts.Host
		}
		e.health = &http.Request{
			Method: http.MethodHead, URL: u.JoinPath("/health"), Host: e.host,
			Header: http.Header{"User-Agent": {"vgirpc-go"}},
			Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
		t.set.all = append(t.set.all, e)
	}
	t.set.live = append(t.set.live, t.set.all...)
	return t, nil
}

// newPool returns the pool of all endpoints.
func newPool(opts *Options) *http.Transport {
	config := opts.TLS
	if opts.Host != "" && (config == nil || config.ServerName == "") {
		if config = config.Clone(); config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		config.ServerName = (&url.URL{Host: opts.Host}).Hostname()
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 256,
		// Less than the 60 seconds after which many load balancers hang up.
		IdleConnTimeout:        50 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		WriteBufferSize:        32 << 10,
		ReadBufferSize:         32 << 10,
		DisableCompression:     true,
	}
}

// URL is what the client has to call: Options.Base, or the first endpoint.
func (t *Transport) URL() string { return t.base.String() }

// Close refuses further requests and closes idle connections, unless the options
// gave the Transport below. Requests in progress run on: their contexts end
// them. Closing again does nothing.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	if t.own != nil {
		t.own.CloseIdleConnections()
	}
	return nil
}

// EndpointStats are what is known of one endpoint.
type EndpointStats struct {
	URL      string
	InFlight int // requests whose response has not been read to its end
	// Latency to the response's headers that is expected now; 0 when it is not
	// known, or was too long ago.
	Latency  time.Duration
	Requests uint64 // that were sent to it, attempts to connect included
	// Failed are those that count for an ejection, and Consecutive those of them
	// since the last that did not.
	Failed      uint64
	Consecutive int
	// Ejections counts how often it was left out, at its own wish or not.
	Ejections uint64
	// Ejected: it is left out, until a request after Until finds it well.
	Ejected bool
	Until   time.Time
}

// Stats returns a snapshot of all endpoints, in the order in which they were
// given.
func (t *Transport) Stats() []EndpointStats {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]EndpointStats, len(t.set.all))
	for i, e := range t.set.all {
		out[i] = EndpointStats{
			URL: e.name, InFlight: e.inFlight, Requests: e.requests,
			Latency: time.Duration(e.expected(now, t.opts.LatencyWindow) * float64(time.Second)),
			Failed:  e.failed, Consecutive: e.failures, Ejections: e.ejections, Ejected: e.out,
		}
		if e.out {
			out[i].Until = e.until
		}
	}
	return out
}

// RoundTrip implements http.RoundTripper. A request has to be for [Transport.URL]
// or below. An error names the endpoint and wraps what went wrong.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.below(req.URL) {
		closeBody(req.Body)
		return nil, fmt.Errorf("balance: %s is not below %s", req.URL.Redacted(), t.base)
	}
	t.recheck(req.Context())
	var tried []*endpoint
	body := req.Body
	for {
		x, pinned, err := t.begin(req, tried)
		if err != nil {
			closeBody(body)
			return nil, err
		}
		x.req.Body = body
		resp, err := t.rt.RoundTrip(&x.req)
		if err == nil {
			return x.deliver(req, resp), nil
		}
		err = x.failed(err)
		if pinned || !notSent(req, err) || len(tried)+1 == len(t.set.all) {
			return nil, err
		}
		tried = append(tried, x.e)
		if body != nil && body != http.NoBody {
			again, bodyErr := req.GetBody()
			if bodyErr != nil {
				return nil, errors.Join(err, bodyErr)
			}
			body = again
		}
	}
}

// notSent reports whether a request that failed may go elsewhere: none of it was
// sent, and its body can be had again.
func notSent(req *http.Request, err error) bool {
	if req.Context().Err() != nil {
		return false
	}
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func closeBody(body io.Closer) {
	if body != nil {
		_ = body.Close() // nobody has read it
	}
}

// below reports whether u is for the base.
func (t *Transport) below(u *url.URL) bool {
	if u.Scheme != t.base.Scheme || !strings.EqualFold(u.Host, t.base.Host) || !strings.HasPrefix(u.Path, t.base.Path) {
		return false
	}
	rest := u.Path[len(t.base.Path):]
	if rest != "" && rest[0] != '/' {
		return false
	}
	return t.base.RawPath == "" && u.RawPath == "" || strings.HasPrefix(u.EscapedPath(), t.prefix)
}

// point makes to the URL at endpoint e for u, which is below the base.
func (t *Transport) point(to, u *url.URL, e *endpoint) {
	*to = *u
	to.Scheme, to.Host = e.url.Scheme, e.url.Host
	if e.url.Path == t.base.Path && e.url.RawPath == t.base.RawPath {
		return
	}
	to.Path = e.url.Path + u.Path[len(t.base.Path):]
	if u.RawPath != "" || e.url.RawPath != "" || t.base.RawPath != "" {
		to.RawPath = e.url.EscapedPath() + u.EscapedPath()[len(t.prefix):]
	}
}

// exchange is one attempt of a request: what is sent, and the body of what comes
// back.
type exchange struct {
	t     *Transport
	e     *endpoint
	req   http.Request
	url   url.URL
	body  io.ReadCloser
	start time.Time
	wait  time.Duration // that the response asked for
	ended atomic.Bool
}

// begin picks the endpoint for a request and counts it in. It is pinned when
// another one would not do.
func (t *Transport) begin(req *http.Request, tried []*endpoint) (x *exchange, pinned bool, err error) {
	token := first(req.Header, headerSession)
	now := time.Now()
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, false, errClosed
	}
	var e *endpoint
	if token != "" {
		e = t.sessions.find(token)
	}
	if pinned = e != nil; !pinned {
		e = t.set.pick(now, tried)
	}
	e.inFlight++
	e.requests++
	t.mu.Unlock()
	x = &exchange{t: t, e: e, req: *req, start: now}
	t.point(&x.url, req.URL, e)
	x.req.URL, x.req.Host = &x.url, e.host
	return x, pinned, nil
}

// end counts the exchange out, once, with its outcome.
func (x *exchange) end(o outcome) {
	if x.ended.Swap(true) {
		return
	}
	t, now := x.t, time.Now()
	t.mu.Lock()
	x.e.inFlight--
	t.set.record(x.e, now, o, x.wait)
	t.unlock()
}

// failed takes an error of the transport below.
func (x *exchange) failed(err error) error {
	o := bad
	if x.req.Context().Err() != nil {
		// The caller had enough. How long it waited is worth knowing.
		o = unknown
		x.measured()
	}
	x.end(o)
	if errors.Is(err, io.EOF) {
		// A connection that ended without an answer is no end of anything, and
		// must not pass for one with those who read to the end of a stream.
		return fmt.Errorf("balance: %s: %w (%v)", x.e.name, io.ErrUnexpectedEOF, err) //nolint:errorlint // on purpose
	}
	return fmt.Errorf("balance: %s: %w", x.e.name, err)
}

// measured takes the time until now for the latency of the endpoint.
func (x *exchange) measured() {
	now := time.Now()
	x.t.mu.Lock()
	x.e.measured(now, now.Sub(x.start), x.t.opts.LatencyWindow)
	x.t.mu.Unlock()
}

// deliver takes a response, which it passes on.
func (x *exchange) deliver(req *http.Request, resp *http.Response) *http.Response {
	resp.Request = req
	refused := false
	switch {
	case gateways(resp.StatusCode):
		refused = !fromServer(resp.Header)
		if resp.StatusCode == http.StatusServiceUnavailable {
			x.wait = retryAfter(resp.Header, time.Now())
		}
	case resp.StatusCode/100 == 2 && first(resp.Header, headerRPCError) == "":
		// That a refusal is quick is nothing to be drawn by.
		x.measured()
		fallthrough
	default:
		x.affinity(resp.Header)
	}
	switch {
	case refused:
		x.end(bad)
		return resp
	case resp.Body == http.NoBody:
		x.end(good)
		return resp
	}
	x.body, resp.Body = resp.Body, x
	return resp
}

// affinity learns from the headers of a response where a sticky session lives.
func (x *exchange) affinity(h http.Header) {
	minted, sent := first(h, headerSession), first(x.req.Header, headerSession)
	over := sent != "" && (x.req.Method == http.MethodDelete || first(h, headerSessionClose) == "true")
	if minted == "" && !over {
		return
	}
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	if over {
		x.t.sessions.forget(sent)
	}
	if minted != "" {
		x.t.sessions.add(minted, x.e)
	}
}

// Read reads the response's body. Its end is that of the exchange.
func (x *exchange) Read(p []byte) (int, error) {
	n, err := x.body.Read(p)
	switch {
	case err == nil:
	case err == io.EOF:
		x.end(good)
	case x.req.Context().Err() != nil:
		x.end(unknown)
	default:
		x.end(bad)
	}
	return n, err
}

// Close closes the response's body.
func (x *exchange) Close() error {
	x.end(good)
	return x.body.Close()
}

// recheck asks an endpoint whose ejection is over for its health, where nobody
// else does.
func (t *Transport) recheck(ctx context.Context) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	e := t.set.claim(time.Now())
	t.unlock()
	if e == nil {
		return
	}
	o := t.probe(ctx, e)
	t.mu.Lock()
	t.set.probed(e, time.Now(), o)
	t.unlock()
}

// probe asks an endpoint for its health. Whatever is not a gateway's refusal is
// an answer.
func (t *Transport) probe(ctx context.Context, e *endpoint) outcome {
	within, cancel := context.WithTimeout(ctx, t.opts.ProbeTimeout)
	defer cancel()
	resp, err := t.rt.RoundTrip(e.health.WithContext(within))
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = resp.Body.Close() // a HEAD has no body
		}
		return unknown
	case err != nil:
		return bad
	}
	_ = resp.Body.Close() // a HEAD has no body
	if gateways(resp.StatusCode) {
		return bad
	}
	return good
}

// unlock unlocks the mutex and logs what happened under it.
func (t *Transport) unlock() {
	said := t.set.said
	t.set.said = nil
	t.mu.Unlock()
	for _, s := range said {
		t.opts.Logger.LogAttrs(context.Background(), slog.LevelInfo, s.text, slog.String("endpoint", s.of.name), slog.Duration("for", s.wait))
	}
}
