package httpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
	"github.com/vgirpc/vgirpc-go/httpserver/internal/session"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// arrowType is the content type of every call and its answer.
const arrowType = "application/vnd.apache.arrow.stream"

// request is one request for a call. It is the context of what it runs, so that
// handlers find their cookies and their session.
type request struct {
	context.Context //nolint:containedctx // it is a context

	h       *Handler
	r       *http.Request
	w       http.ResponseWriter
	ws      *workspace // nil before begin
	body    countedBody
	decoder *encoding.Reader // nil: the body is not compressed
	peer    vgirpc.Peer
	route   vgirpc.Route
	target
	client   int64 // the client's own limit of the response
	req      vgirpc.Request
	noted    error  // what announcing the batch came to, while the reader is in step
	release  func() // gives back what a pointer was resolved to; may be nil
	missing  bool   // what a pointer stands for could not be had
	delivery vgirpc.Delivery
	session  *session.Call // nil: there are no sessions
	began    time.Time     // zero: nobody is told of refusals
	sink     sink          // of the answer
}

// target is what a path calls.
type target struct {
	protocol string // "" for the server's own methods
	method   string
	streams  bool // the path is one of a stream
}

type requestKey struct{}

// Value returns the request for its key and its headers for theirs, and asks the
// parent for the rest.
func (q *request) Value(key any) any {
	switch key {
	case requestKey{}:
		return q
	case vgirpc.HeadersKey{}:
		return q.r.Header
	}
	return q.Context.Value(key)
}

// requestFrom is the request that a handler's context belongs to, nil on other
// transports.
func requestFrom(ctx context.Context) *request {
	q, _ := ctx.Value(requestKey{}).(*request)
	return q
}

// countedBody counts what is read of a body.
type countedBody struct {
	src io.Reader
	n   int64
}

// Read reads from the body.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.n += int64(n)
	return n, err
}

// statusError is why a request never becomes a call.
type statusError struct {
	status int
	err    error
}

// Error is the text of what is wrong.
func (e *statusError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong.
func (e *statusError) Unwrap() error { return e.err }

func refusal(status int, format string, args ...any) *statusError {
	return &statusError{status, &vgirpc.Error{
		Code: vgirpc.InvalidArgument, Type: "ProtocolError", Message: fmt.Sprintf(format, args...),
	}}
}

// newRequest returns a request with what is known of its caller.
func (h *Handler) newRequest(w http.ResponseWriter, r *http.Request, to target) *request {
	q := &request{Context: r.Context(), h: h, r: r, w: w, target: to, began: h.begun()}
	q.peer = vgirpc.Peer{Kind: vgirpc.TransportHTTP, Addr: r.RemoteAddr, UID: -1, GID: -1, PID: -1}
	if id, ok := q.Context.Value(identityKey{}).(*vgirpc.Identity); ok {
		q.peer.Identity = *id
	}
	q.req = vgirpc.Request{Peer: &q.peer, ID: w.Header()[headerRequestID][0]}
	return q
}

// begin checks what a request says outside its body, in the order of the
// specification, and makes it ready to be read.
func (q *request) begin() error {
	if err := q.admit(); err != nil {
		return err
	}
	if err := q.h.takeOff(); err != nil {
		return err
	}
	q.ws = q.h.workspaces.get(q.h.server, q.source())
	q.bindTokens()
	return nil
}

// end gives everything back: after a panic, too, the turn of the session.
func (q *request) end() {
	q.leaveSession()
	q.h.stats.moved(q.body.n, q.delivery.WireOut)
	if q.decoder != nil {
		_ = q.decoder.Close() // never fails
	}
	if q.release != nil {
		q.release()
	}
	if q.ws != nil {
		q.h.workspaces.put(q.ws)
		q.ws = nil
		q.h.land()
	}
}

// takeOff counts a call in, or refuses it when there are enough.
func (h *Handler) takeOff() error {
	n := h.inFlight.Add(1)
	if h.opts.MaxInFlight == 0 || n <= int64(h.opts.MaxInFlight) {
		return nil
	}
	h.land()
	return &statusError{http.StatusServiceUnavailable, &vgirpc.Error{
		Code: vgirpc.Unavailable, Type: "BusyError", Message: fmt.Sprintf("%d calls are in progress (MaxInFlight)", n-1),
		Details: []vgirpc.Detail{vgirpc.RetryInfo{RetryDelaySeconds: 1}},
	}}
}

// land counts a call out.
func (h *Handler) land() { h.inFlight.Add(-1) }

// admit checks the bounds, the route and the content type.
func (q *request) admit() error {
	if err := q.lookUp(); err != nil {
		return err
	}
	if got := q.r.Header[headerContentType]; len(got) != 1 || !isArrow(got[0]) {
		return refusal(http.StatusUnsupportedMediaType, "Content-Type %.128q: want %s", got, arrowType)
	}
	if q.route.Streams() != q.streams {
		if q.streams {
			return refusal(http.StatusBadRequest, "%s is a unary method: call it without /init and /exchange", q.method)
		}
		return refusal(http.StatusBadRequest, "%s is a stream: open it at /init, and go on at /exchange", q.method)
	}
	coding, err := q.h.codings.Requested(q.r.Header)
	if err != nil {
		if unsupported, ok := errors.AsType[*encoding.UnsupportedError](err); ok {
			q.w.Header()["Accept-Encoding"] = []string{unsupported.Accept}
		}
		return &statusError{http.StatusUnsupportedMediaType, &vgirpc.Error{
			Code: vgirpc.InvalidArgument, Type: "ProtocolError", Message: err.Error(), Cause: err,
		}}
	}
	return q.openBody(coding)
}

// lookUp finds what the request may have and what it calls.
func (q *request) lookUp() (err error) {
	if q.client, err = clientLimit(q.r.Header); err != nil {
		return err
	}
	q.req.Budget = q.h.budget(q.client, 0)
	if q.protocol == "" {
		return nil // one of the server's own methods
	}
	if q.route, err = q.h.server.Lookup(q.protocol, q.method); err != nil {
		return &statusError{http.StatusNotFound, err}
	}
	return nil
}

// isArrow reports whether a content type is that of calls, whatever its
// parameters.
func isArrow(value string) bool {
	if value == arrowType {
		return true
	}
	name, _, _ := strings.Cut(value, ";")
	return strings.EqualFold(strings.TrimSpace(name), arrowType)
}

// openBody prepares the body for being read. What is announced to be too large
// is refused at once.
func (q *request) openBody(coding encoding.Coding) error {
	limit := q.h.opts.MaxRequestBytes
	if limit > 0 && q.r.ContentLength > limit {
		return &statusError{http.StatusRequestEntityTooLarge, bodyTooLarge(&encoding.TooLargeError{Limit: limit})}
	}
	q.body.src = encoding.Limit(q.r.Body, limit)
	if coding != encoding.Identity {
		decoded := limit
		if decoded == 0 {
			decoded = q.h.maxDecoded()
		}
		q.decoder = q.h.codings.NewReader(&q.body, coding, decoded)
	}
	return nil
}

// maxDecoded bounds a decoded body where no limit of its own does: what the
// server's limits could accept at most.
func (h *Handler) maxDecoded() int64 {
	limit := h.server.Limits().MaxMessageBytes
	if limit == 0 {
		limit = wire.DefaultMaxMessageBytes
	}
	return limit + 2*wire.DefaultMaxSchemaBytes
}

func bodyTooLarge(err *encoding.TooLargeError) *vgirpc.Error {
	return &vgirpc.Error{
		Code: vgirpc.ResourceExhausted, Type: "RequestTooLargeError", Cause: err,
		Message: "request " + err.Error() + " (VGI-Max-Request-Bytes)",
	}
}

// source is where the Arrow streams of the request come from.
func (q *request) source() io.Reader {
	if q.decoder != nil {
		return q.decoder
	}
	return &q.body
}

// enter begins what needs the server to have started and the session to be
// there.
func (q *request) enter() error {
	if err := q.start(); err != nil {
		return err
	}
	return q.enterSession()
}

// start tells the server of the transport, once. What OnServeStart refuses is
// tried again with the next request.
func (q *request) start() error {
	h := q.h
	if h.started.Load() {
		return nil
	}
	if err := h.server.Start(context.WithoutCancel(q), vgirpc.TransportHTTP); err != nil {
		h.log.LogAttrs(q, slog.LevelError, "HTTP cannot start", slog.Any("error", err))
		return &statusError{http.StatusInternalServerError, vgirpc.Errorf(vgirpc.Internal, "the server could not start to serve")}
	}
	h.started.Store(true)
	return nil
}

// readCall reads the request batch of a call, and enters what it needs.
func (q *request) readCall() error {
	if err := q.announce(); err != nil {
		return err
	}
	if err := q.take(q, q.route.Lifetime()); err != nil {
		return err
	}
	return q.enter()
}

// announce reads to the metadata of the request's one batch.
func (q *request) announce() error {
	if _, err := q.ws.reader.NextStream(); err != nil {
		return q.unreadable(err)
	}
	q.req.Meta, q.noted = q.ws.reader.Announce()
	if err := q.noted; err != nil && !errors.Is(err, io.EOF) && !wire.InStep(err) {
		return q.unreadable(err)
	}
	return nil
}

// mostTrailing is how much is read behind the stream of a body without a length.
const mostTrailing = 64 << 10

// take reads the batch, and the stream to its end. What is wrong with it as a
// request becomes the call's error.
func (q *request) take(ctx context.Context, life wire.Lifetime) error {
	announced := q.req.Meta
	if err := q.req.Read(q.ws.reader, q.noted, life); err != nil {
		return q.unreadable(err)
	}
	if q.r.ContentLength < 0 {
		// What follows the stream is not looked at, but the end of the body is
		// taken: a proxy may not expect an answer before that.
		_, _ = io.CopyN(io.Discard, &q.body, mostTrailing)
	}
	q.delivery.WireIn = q.body.n
	if q.req.Err == nil {
		q.req.Err = q.agree(announced)
	}
	if len(announced) > 0 && !announced.Has(wire.KeyProtocol) && q.protocol != "" {
		// The path has named it: who looks at the metadata finds it there, too.
		q.req.Meta = announced.With(wire.KeyProtocol, q.protocol)
	}
	var err error
	q.release, err = q.req.Fetch(ctx, q.h.offload)
	q.missing = err != nil
	return nil
}

// agree holds the metadata against the path (WIRE_PROTOCOL section 10).
func (q *request) agree(meta wire.Metadata) error {
	if q.protocol == "" {
		return nil
	}
	got, ok := meta.Get(wire.KeyProtocol)
	switch {
	case !ok && q.h.opts.RequireProtocolKey:
		return q.h.server.ProtocolNotSpecified()
	case ok && got != q.protocol:
		return refusal(0, "the path names protocol %s, the metadata %.128q", q.protocol, got).err
	}
	if method, ok := meta.Get(wire.KeyMethod); ok && method != q.method {
		return refusal(0, "the path names method %s, the metadata %.128q", q.method, method).err
	}
	return nil
}

// unreadable is the refusal of a body that cannot be read any further. The rest
// of one that says nothing of its size is read as far as its limit allows: one
// that is too large as well is refused for that.
func (q *request) unreadable(err error) error {
	if stalled(err) {
		q.delivery.WireIn = q.body.n
		return stall(err)
	}
	if q.r.ContentLength < 0 && q.h.opts.MaxRequestBytes > 0 {
		if _, rest := io.Copy(io.Discard, &q.body); rest != nil && !errors.Is(err, rest) {
			err = errors.Join(rest, err)
		}
	}
	q.delivery.WireIn = q.body.n
	if large, ok := errors.AsType[*encoding.TooLargeError](err); ok {
		return &statusError{http.StatusRequestEntityTooLarge, bodyTooLarge(large)}
	}
	if limit, ok := errors.AsType[*wire.LimitError](err); ok {
		return &statusError{http.StatusRequestEntityTooLarge, limit}
	}
	if errors.Is(err, io.EOF) {
		return refusal(http.StatusBadRequest, "the request has no body: want an Arrow IPC stream")
	}
	return &statusError{http.StatusBadRequest, &vgirpc.Error{
		Code: vgirpc.InvalidArgument, Type: "FormatError", Message: err.Error(), Cause: err,
	}}
}

// stalled reports whether reading a body failed because its sender stood still.
func stalled(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// stall is the refusal of a body that stood still.
func stall(err error) *statusError {
	return &statusError{http.StatusRequestTimeout, &vgirpc.Error{
		Code: vgirpc.DeadlineExceeded, Type: "StallError", Cause: err,
		Message: "the request's body stood still for longer than the server waits (ServeOptions.ProgressTimeout): " +
			"send it again, without a pause that long",
	}}
}

// status is that of a call's answer: 200 for whatever a method does, an error
// status for what was not a call of one (WIRE_PROTOCOL section 13).
func (q *request) status(d *vgirpc.Dispatch) int {
	err := d.Err()
	if err == nil || !d.Refused() || q.missing {
		return http.StatusOK
	}
	switch err.Kind {
	case vgirpc.KindProtocolNotSupported, vgirpc.KindMethodNotImplemented:
		return http.StatusNotFound
	case vgirpc.KindSessionLost:
		return http.StatusOK
	}
	if err.Code == vgirpc.ResourceExhausted {
		if err.Retryable() {
			return http.StatusServiceUnavailable
		}
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}
