package httpserver

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

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
	if err == nil {
		err = q.fits(int64(w.Pending()))
	}
	if err != nil {
		q.delivery.ResponseState = 0
		w.Discard()
		d.Replace(err, reply)
		if err = errors.Join(q.collect(reply.Schema, reply.Batches), w.Close()); err != nil {
			q.h.log.LogAttrs(q, slog.LevelError, "an error could not be encoded", slog.Any("error", err))
		}
	}
	status := q.status(d)
	if err := d.Err(); err != nil {
		announceError(q.w.Header(), status, err)
		q.refusedByCore(d, status)
	}
	q.leaveSession()
	q.send(status)
	d.End(q.delivery)
}

// fits holds an answer of n bytes against the request's limit.
func (q *request) fits(n int64) error {
	if limit := q.req.Budget.Limit; limit > 0 && n > limit {
		return tooLarge(n, limit, q.method)
	}
	return nil
}

// announceError says in the header that the answer is an error, where the
// status does not, and when to try again, where that helps.
func announceError(out http.Header, status int, err error) {
	if status == http.StatusOK {
		out[headerRPCError] = valueTrue
	}
	if status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
		return
	}
	if info, ok := vgirpc.DetailOf[vgirpc.RetryInfo](err); ok {
		out["Retry-After"] = []string{strconv.Itoa(max(1, int(math.Ceil(info.RetryDelaySeconds))))}
	}
}

// Values of headers that all responses share. Nobody writes to them, and who
// adds to one copies it: it has no room.
var (
	valueArrow = []string{arrowType}
	valueTrue  = []string{"true"}
)

// leastEncoded is the size of the smallest answer that is compressed, in bytes:
// below it the coding costs more than the bytes that it saves.
const leastEncoded = 1 << 10

// send writes out what was collected, in the coding that the client asked for.
func (q *request) send(status int) {
	out := q.w.Header()
	out[headerContentType] = valueArrow
	coding, name := q.h.codings.Negotiate(q.r.Header)
	if q.ws.writer.Pending() < leastEncoded {
		coding = encoding.Identity
	}
	q.sink = sink{q: q, status: status, coding: coding}
	if coding != encoding.Identity {
		out[name] = []string{coding.String()}
		out.Add("Vary", "Accept-Encoding, X-VGI-Accept-Encoding")
	}
	q.ws.writer.Redirect(&q.sink)
	if err := q.ws.writer.Flush(); err != nil {
		q.h.log.LogAttrs(q, slog.LevelDebug, "the client went away", slog.Any("error", err))
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

// countedByServer is the size of a body of which net/http itself states the
// length, at less cost than a header.
const countedByServer = 2048

// header sends the status and the header of a body of n bytes.
func (s *sink) header(n int) {
	s.q.delivery.WireOut = int64(n)
	if n > countedByServer {
		s.q.w.Header()[headerContentLength] = []string{strconv.Itoa(n)}
	}
	s.q.w.WriteHeader(s.status)
}

// refuse answers a request that never became a call, as an Arrow stream with the
// error. The status is 400 when err has none of its own.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, err := statusOf(err)
	out := w.Header()
	batch := h.server.ErrorBatch(err, out[headerRequestID][0])
	var body bytes.Buffer
	writer := wire.NewWriter(&body)
	if err := errors.Join(writer.Open(batch.Schema), writer.Batch(&batch), writer.Close(), writer.Flush()); err != nil {
		h.log.LogAttrs(r.Context(), slog.LevelError, "an error could not be encoded", slog.Any("error", err))
	}
	out[headerContentType] = valueArrow
	out[headerContentLength] = []string{strconv.Itoa(body.Len())}
	announceError(out, status, err)
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the peer may be gone
}
