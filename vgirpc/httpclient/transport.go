package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/net/http/httpguts"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Transport carries calls to one server over HTTP. It may be used from many
// goroutines, and calls run at once.
type Transport struct {
	opts    Options
	client  vgirpc.ClientOptions
	base    *url.URL
	rt      http.RoundTripper
	storage http.RoundTripper // of uploads, nil without them
	owned   []*http.Transport // what closing closes
	conns   connSet           // of those
	limit   int64             // bytes of a response; negative: none
	limits  wire.Limits

	rpcHeader http.Header   // of RPC requests: shared, never changed
	health    *http.Request // of discovery, to be copied
	session   *http.Request // of a session's end, to be copied
	schemas   wire.SchemaCache
	encoder   func() (*zstd.Encoder, error)
	pools

	pathsMu sync.RWMutex
	paths   map[methodName]*endpoint

	closed atomic.Bool
	known  atomic.Pointer[known]
	mu     sync.Mutex
	flight *flight
}

// endpoint is the requests of one method, to be copied.
type endpoint struct{ unary, init, exchange *http.Request }

// methodName is what the path of a method consists of.
type methodName struct{ protocol, method string }

// maxEndpoints is how many methods' requests are kept.
const maxEndpoints = 4096

// Dial returns a client for the server at baseURL, which is http or https and
// includes the server's prefix. With a response limit, which is the default, it
// asks the server for its capabilities, and fails when it does not answer or
// does not support the limit. Closing the client closes the transport.
func Dial(ctx context.Context, baseURL string, opts Options, client vgirpc.ClientOptions) (*vgirpc.Client, error) {
	t, err := New(baseURL, opts, client)
	if err != nil {
		return nil, err
	}
	if err := t.ready(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t.Client(), nil
}

// New returns a transport to the server at baseURL, without asking it anything.
func New(baseURL string, opts Options, client vgirpc.ClientOptions) (*Transport, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := client.Limits.Validate(); err != nil {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: ClientOptions.Limits: %w", err)
	}
	base, err := parseBase(baseURL)
	if err != nil {
		return nil, err
	}
	t := &Transport{opts: opts, client: client, base: base, rt: opts.Transport, limit: max(opts.MaxResponseBytes, -1), limits: client.Limits}
	t.paths = map[methodName]*endpoint{}
	if t.rt == nil {
		t.rt = t.ownPool(opts.TLS)
	}
	if opts.Wrap != nil {
		t.rt = opts.Wrap(t.rt)
	}
	if u := opts.Uploads; u != nil {
		if t.storage = u.Transport; t.storage == nil {
			t.storage = t.ownPool(nil)
		}
	}
	header := commonHeader(&opts)
	t.rpcHeader = maps.Clone(header)
	t.rpcHeader[headerContentType] = []string{contentTypeArrow}
	t.rpcHeader["Accept"] = []string{contentTypeArrow}
	t.health = newRequest(http.MethodHead, base.JoinPath("health"), header)
	t.session = newRequest(http.MethodDelete, base.JoinPath("__session__"), header)
	t.encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(opts.Compression)))
	})
	t.bodies.New = func() any { return newRequestBody(&t.bodies) }
	t.replies.New = func() any { return newReply(t) }
	return t, nil
}

// ownPool returns a pool that closing t closes.
func (t *Transport) ownPool(config *tls.Config) *http.Transport {
	pool := newPool(&t.opts, config, &t.conns)
	t.owned = append(t.owned, pool)
	return pool
}

func parseBase(raw string) (*url.URL, error) {
	base, err := url.Parse(raw)
	if err != nil {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: the base URL cannot be parsed") // it may hold a secret
	}
	switch {
	case base.Scheme != "http" && base.Scheme != "https", base.Host == "":
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: base URL %s: want http://host or https://host", base.Redacted())
	case base.User != nil:
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: the base URL has credentials: set Authorize or Header")
	case base.RawQuery != "" || base.Fragment != "":
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "httpclient: the base URL has a query or a fragment")
	}
	if base.Path == "" {
		base.Path = "/" // or what is joined to it has no slash in front
	}
	return base, nil
}

func newRequest(method string, to *url.URL, header http.Header) *http.Request {
	return &http.Request{
		Method: method, URL: to, Host: to.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
}

// Client returns a client that calls over t. Closing it closes t.
func (t *Transport) Client() *vgirpc.Client { return vgirpc.NewClientOn(t, t.client) }

// Close refuses further calls and closes the connections, so that calls in
// progress fail. Over a Transport that the options gave, calls in progress run
// on: their contexts end them. Closing again does nothing.
func (t *Transport) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	t.conns.close()
	for _, pool := range t.owned {
		pool.CloseIdleConnections()
	}
	return nil
}

// endpoint returns the requests of m. They are kept by name: methods that are
// made for one call must not add up.
func (t *Transport) endpoint(m *vgirpc.Method) *endpoint {
	name := methodName{m.Protocol().Name(), m.Name()}
	t.pathsMu.RLock()
	e := t.paths[name]
	t.pathsMu.RUnlock()
	if e != nil {
		return e
	}
	to := t.base.JoinPath(url.PathEscape(name.protocol), url.PathEscape(name.method))
	e = &endpoint{
		unary:    newRequest(http.MethodPost, to, t.rpcHeader),
		init:     newRequest(http.MethodPost, to.JoinPath("init"), t.rpcHeader),
		exchange: newRequest(http.MethodPost, to.JoinPath("exchange"), t.rpcHeader),
	}
	t.pathsMu.Lock()
	defer t.pathsMu.Unlock()
	if len(t.paths) < maxEndpoints {
		t.paths[name] = e
	}
	return e
}

// ready makes sure that the server knows of the response limit, and that its own
// is known where it matters, before anything is sent to it.
func (t *Transport) ready(ctx context.Context) error {
	if t.closed.Load() {
		return connectionError(errClosed)
	}
	if t.limit < 0 && t.opts.Uploads == nil {
		return nil
	}
	_, err := t.Capabilities(ctx)
	return err
}

// Call implements [vgirpc.Transport].
func (t *Transport) Call(ctx context.Context, req *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	return t.call(ctx, nil, req)
}

func (t *Transport) call(ctx context.Context, s *Session, req *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	r, err := t.post(ctx, s, t.endpoint(req.Method).unary, req, &req.Batch)
	if err != nil {
		return nil, nil, err
	}
	kept := false
	defer func() {
		if !kept { // an error, or OnLog has panicked
			r.release()
		}
	}()
	result, err := r.result(req)
	if err != nil {
		return nil, nil, err
	}
	kept = true
	return result, r.release, nil
}

// result reads the reply of a unary call to its end.
func (r *reply) result(req *vgirpc.ClientRequest) (*wire.Batch, error) {
	b, err := r.one(req)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, protocolError(nil, "the reply of %s has no result batch", req.Method)
	}
	return b, r.finish()
}

// one reads a stream that has one batch, which is nil when it is missing.
func (r *reply) one(req *vgirpc.ClientRequest) (*wire.Batch, error) {
	if err := r.stream(); err != nil {
		return nil, err
	}
	b, err := r.next(req)
	if err == io.EOF { //nolint:errorlint // the end of the stream, by identity
		return nil, nil //nolint:nilnil // as documented
	}
	if err != nil {
		return nil, err
	}
	if err := r.rd.Drain(); err != nil {
		return nil, r.unreadable(err)
	}
	return b, nil
}

// Open implements [vgirpc.Transport].
func (t *Transport) Open(ctx context.Context, req *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	return t.open(ctx, nil, req)
}

// post sends batch as a request and returns the response, which is Arrow and of
// status 2xx. The caller releases it.
func (t *Transport) post(
	ctx context.Context, s *Session, to *http.Request, req *vgirpc.ClientRequest, batch *wire.Batch,
) (*reply, error) {
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	body, err := t.encode(req, batch)
	if err != nil {
		return nil, err
	}
	if t.oversize(body) {
		batch, err = t.upload(ctx, batch, body)
		body.release()
		if err != nil {
			return nil, err
		}
		if body, err = t.encode(req, batch); err != nil {
			return nil, err
		}
	}
	defer body.release()
	return t.deliver(ctx, s, to, req, batch, body)
}

// encode makes the body of a request.
func (t *Transport) encode(req *vgirpc.ClientRequest, batch *wire.Batch) (*requestBody, error) {
	body := t.bodies.Get().(*requestBody)
	if err := body.encode(batch); err != nil {
		return nil, fmt.Errorf("httpclient: request of %s: %w", req.Method, err)
	}
	return body, nil
}

// deliver sends a request that is of a size to be sent.
func (t *Transport) deliver(
	ctx context.Context, s *Session, to *http.Request, req *vgirpc.ClientRequest, batch *wire.Batch, body *requestBody,
) (*reply, error) {
	if len(body.plain) > t.opts.CompressAbove && t.opts.Compression > 0 && t.decodesZstd() {
		enc, err := t.encoder()
		if err != nil {
			return nil, fmt.Errorf("httpclient: %w", err)
		}
		body.compress(enc)
	}
	resp, err := t.send(ctx, s, to, req, batch, body)
	if err == nil && resp.StatusCode == http.StatusUnsupportedMediaType && body.zstd && t.refusedZstd(ctx, resp.Header) {
		_ = resp.Body.Close() // the refusal is understood
		body.zstd = false
		resp, err = t.send(ctx, s, to, req, batch, body) //nolint:bodyclose // the reply closes it
	}
	if err != nil {
		return nil, err
	}
	t.learn(resp.Header)
	return t.accept(resp, req)
}

// accept takes a response over when it is one to read a call's answer from, and
// returns its error otherwise.
func (t *Transport) accept(resp *http.Response, req *vgirpc.ClientRequest) (*reply, error) {
	r := t.replies.Get().(*reply)
	kept := false
	defer func() {
		if !kept { // an error, or OnLog has panicked
			r.release()
		}
	}()
	err := r.open(resp)
	switch {
	case resp.StatusCode == http.StatusUnauthorized || !isArrow(resp.Header):
		if err == nil {
			err = r.foreign()
		} else {
			err = statusError(resp, "a body that cannot be decoded", time.Now())
		}
	case err == nil && resp.StatusCode/100 != 2:
		err = r.failure(req)
	}
	if err != nil {
		return nil, err
	}
	kept = true
	return r, nil
}

func isArrow(h http.Header) bool {
	v := h[headerContentType]
	if len(v) != 1 {
		return false
	}
	if v[0] == contentTypeArrow {
		return true
	}
	media, _, _ := strings.Cut(v[0], ";")
	return strings.EqualFold(strings.TrimSpace(media), contentTypeArrow)
}

// send sends one request and returns its response, whatever it is.
func (t *Transport) send(
	ctx context.Context, s *Session, to *http.Request, req *vgirpc.ClientRequest, batch *wire.Batch, body *requestBody,
) (*http.Response, error) {
	out := to.WithContext(ctx)
	carry(out, req.Batch.Meta)
	token, err := t.dress(out, s, requestID(ctx, batch.Meta), body.zstd)
	if err != nil {
		return nil, err
	}
	out.Body, out.GetBody, out.ContentLength = body.reader(), body.again, int64(len(body.bytes()))
	resp, err := t.rt.RoundTrip(out)
	if err != nil {
		if ctx.Err() != nil {
			return nil, vgirpc.ContextError(ctx)
		}
		return nil, t.lost(err)
	}
	resp.Request = out // a given Transport may have put its own there
	if s != nil {
		s.observe(token, resp.Header)
	}
	return resp, nil
}

// traced are the headers of W3C Trace Context and Baggage, by their metadata keys.
var traced = [...]struct{ key, name string }{
	{"traceparent", "Traceparent"}, {"tracestate", "Tracestate"}, {"baggage", "Baggage"},
}

// carry repeats the trace that the call's request belongs to in the headers of each
// of its requests: gateways see it there, and the later requests of a stream have
// it nowhere else.
func carry(out *http.Request, meta wire.Metadata) {
	if !meta.Has(traced[0].key) {
		return
	}
	out.Header = maps.Clone(out.Header)
	for _, t := range traced {
		if value := meta.Value(t.key); value != "" && httpguts.ValidHeaderFieldValue(value) {
			out.Header[t.name] = []string{value}
		}
	}
}

// dress gives a request headers of its own, where those of all requests are not
// enough. It returns the token of the session that the request carries.
func (t *Transport) dress(out *http.Request, s *Session, id string, compressed bool) (token string, err error) {
	if s == nil && id == "" && !compressed && t.opts.Authorize == nil {
		return "", nil
	}
	h := maps.Clone(out.Header)
	out.Header = h
	if compressed {
		h[headerContentEncoding] = []string{codingZstd}
	}
	if id != "" {
		h[headerRequestID] = []string{id}
	}
	if t.opts.Authorize != nil {
		if err := t.opts.Authorize(out.Context(), h); err != nil {
			return "", authorizeError(err)
		}
	}
	if s == nil {
		return "", nil
	}
	return s.apply(h)
}

// lost is the error of a request without a response.
func (t *Transport) lost(err error) error {
	if t.closed.Load() {
		return connectionError(errClosed)
	}
	if typed, ok := errors.AsType[*vgirpc.Error](err); ok {
		return typed // Wrap knows better than that the connection broke
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the connection was closed before the answer began: %w", err)
	}
	return connectionError(err)
}

// authorizeError is the error of a call for which there is no credential.
func authorizeError(err error) error {
	if _, ok := errors.AsType[*vgirpc.Error](err); ok {
		return err
	}
	return &vgirpc.Error{Code: vgirpc.Unauthenticated, Type: "AuthenticationError", Message: "no credential: " + err.Error(), Cause: err}
}

type requestIDKey struct{}

// WithRequestID returns a context whose calls send id as X-Request-ID, by which
// the server's logs are found. Without it a request id in a call's metadata is
// sent, and without either the server makes one up.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

func requestID(ctx context.Context, meta wire.Metadata) string {
	if id, ok := ctx.Value(requestIDKey{}).(string); ok {
		return id
	}
	return meta.Value(wire.KeyRequestID)
}
