package httpserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

const slogError = slog.LevelError

func errorAttr(err error) slog.Attr { return slog.Any("error", err) }

// collect writes a stream's batches behind what is collected already.
func (q *request) collect(schema *wire.Schema, batches []wire.Batch) error {
	w := q.ws.writer
	if !w.IsOpen() {
		if err := w.Open(schema); err != nil {
			return err
		}
	}
	for i := range batches {
		if err := w.Batch(&batches[i]); err != nil {
			return err
		}
	}
	return nil
}

// deliver sends the answer of a call: what was collected, or an error in its
// place when that failed or is larger than it may be.
func (q *request) deliver(d *vgirpc.Dispatch, reply *vgirpc.Reply, err error) {
	w := q.ws.writer
	if err == nil && w.IsOpen() {
		err = w.Close()
	}
	if n := int64(w.Pending()); err == nil && q.budget.Limit > 0 && n > q.budget.Limit {
		err = tooLarge(n, q.budget.Limit, q.method)
	}
	if err != nil {
		q.delivery.ResponseState = 0
		w.Discard()
		d.Replace(err, reply)
		if err = errors.Join(q.collect(reply.Schema, reply.Batches), w.Close()); err != nil {
			q.h.log.LogAttrs(q, slogError, "an error could not be encoded", errorAttr(err))
		}
	}
	status := statusOf(d)
	if d.Err() != nil {
		if status == http.StatusOK {
			q.w.Header()[headerRPCError] = []string{"true"}
		}
		retryAfter(q.w.Header(), status, d.Err())
	}
	q.leaveSession()
	q.send(status)
	d.End(q.delivery)
}

// retryAfter repeats in a header when to try again.
func retryAfter(out http.Header, status int, err error) {
	if status != http.StatusServiceUnavailable {
		return
	}
	if info, ok := vgirpc.DetailOf[vgirpc.RetryInfo](err); ok {
		out["Retry-After"] = []string{strconv.Itoa(max(1, int(info.RetryDelaySeconds)))}
	}
}

var arrowTypeHeader = []string{arrowType}

// send writes out what was collected, in the coding that the client asked for.
func (q *request) send(status int) {
	out := q.w.Header()
	out[headerContentType] = arrowTypeHeader
	coding, name := q.h.codings.Negotiate(q.r.Header)
	if q.h.codings.Advertised() != "" {
		out["Vary"] = append(out["Vary"], "Accept-Encoding, X-VGI-Accept-Encoding")
	}
	sink := sink{q: q, status: status, coding: coding}
	if coding != encoding.Identity {
		out[name] = []string{coding.String()}
	}
	q.ws.writer.Redirect(&sink)
	if err := q.ws.writer.Flush(); err != nil {
		q.h.log.LogAttrs(q, slog.LevelDebug, "the client went away", errorAttr(err))
	}
	q.delivery.HTTPStatus = status
}

// sink takes the collected answer in one piece and sends it.
type sink struct {
	q      *request
	status int
	coding encoding.Coding
}

// Write sends an answer that is one slice.
func (s *sink) Write(p []byte) (int, error) {
	if s.coding != encoding.Identity {
		return len(p), s.encoded(net.Buffers{p})
	}
	s.header(len(p))
	return s.q.w.Write(p)
}

// WriteBuffers sends an answer that is many slices.
func (s *sink) WriteBuffers(parts net.Buffers) (int64, error) {
	var n int64
	for _, p := range parts {
		n += int64(len(p))
	}
	if s.coding != encoding.Identity {
		return n, s.encoded(parts)
	}
	s.header(int(n))
	for _, p := range parts {
		if _, err := s.q.w.Write(p); err != nil {
			return 0, fmt.Errorf("response: %w", err)
		}
	}
	return n, nil
}

// encoded sends the answer compressed.
func (s *sink) encoded(parts net.Buffers) error {
	ws := s.q.ws
	ws.coded = s.q.h.codings.EncodeParts(ws.coded[:0], s.coding, parts)
	s.header(len(ws.coded))
	_, err := s.q.w.Write(ws.coded)
	return err
}

// header sends the status and the header of a body of n bytes.
func (s *sink) header(n int) {
	s.q.delivery.WireOut = int64(n)
	s.q.w.Header()["Content-Length"] = []string{strconv.Itoa(n)}
	s.q.w.WriteHeader(s.status)
}

// refuse answers a request that never became a call, as an Arrow stream with the
// error.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	if refused, ok := errors.AsType[*statusError](err); ok {
		status, err = refused.status, refused.err
	}
	out := w.Header()
	batch := h.server.ErrorBatch(err, out[headerRequestID][0])
	var body buffer
	writer := wire.NewWriter(&body)
	if err := errors.Join(writer.Open(batch.Schema), writer.Batch(&batch), writer.Close(), writer.Flush()); err != nil {
		h.log.LogAttrs(r.Context(), slogError, "an error could not be encoded", errorAttr(err))
	}
	out[headerContentType] = arrowTypeHeader
	out["Content-Length"] = []string{strconv.Itoa(len(body))}
	if status == http.StatusOK {
		out[headerRPCError] = []string{"true"}
	}
	retryAfter(out, status, err)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the peer may be gone
}

// buffer collects what is written.
type buffer []byte

// Write appends p.
func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
