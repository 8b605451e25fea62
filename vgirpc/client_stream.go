package vgirpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// errClosed answers calls on a transport that its owner has closed.
var errClosed = &Error{Code: Unavailable, Type: "ConnectionClosed", Message: "the client was closed"}

// streamTransport carries calls over one byte stream, one at a time.
type streamTransport struct {
	rw      io.ReadWriteCloser
	closeRW func() error // once
	closing sync.WaitGroup
	r       *wire.Reader
	w       *wire.Writer
	shm     *sideChannel  // nil without
	turn    chan struct{} // holds one token: whoever has it may use r, w and shm
	release func()        // gives the token back

	askedFiles bool // the server was asked whether calls may bring files
	mostFiles  int  // how many one may bring

	mu     sync.Mutex
	broken *Error        // why no further call is possible
	over   chan struct{} // closed when broken is set
}

// NewStreamTransport returns a transport that carries calls over a byte stream,
// one at a time, with the Limits and the SharedMemory of opts. It owns rw. Reads
// of rw must end when it is closed.
func NewStreamTransport(rw io.ReadWriteCloser, opts ClientOptions) Transport {
	t := &streamTransport{
		rw: rw, closeRW: sync.OnceValue(rw.Close), turn: make(chan struct{}, 1), over: make(chan struct{}),
		r: wire.NewReader(rw, opts.Limits, nil), w: wire.NewWriter(rw), shm: newSideChannel(opts.SharedMemory),
	}
	t.release = func() {
		t.shm.giveBack()
		t.turn <- struct{}{}
	}
	t.release()
	return t
}

// acquire waits for the connection to be free. t.release gives it back.
func (t *streamTransport) acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return ContextError(ctx)
	}
	select {
	case <-t.turn:
	case <-t.over:
		return t.failure()
	case <-ctx.Done():
		return ContextError(ctx)
	}
	if err := t.failure(); err != nil {
		t.release()
		return err
	}
	return nil
}

// guard breaks the connection when ctx ends before the returned function is
// called: what is under way cannot be taken back. That function tells the error
// of the call from that of the connection.
func (t *streamTransport) guard(ctx context.Context) (stop func(error) error) {
	if ctx.Done() == nil {
		return func(err error) error { return err }
	}
	inTime := context.AfterFunc(ctx, func() {
		_ = t.fail(&Error{
			Code: Unavailable, Type: "ConnectionLost",
			Message: "the connection was given up when the context of a call on it ended (" + ctx.Err().Error() + ")",
		})
	})
	return func(err error) error {
		if inTime() || IsRemote(err) {
			return err
		}
		return ContextError(ctx)
	}
}

// ContextError is the error of a call whose context has ended, for transports:
// CANCELLED or DEADLINE_EXCEEDED, with the context's error and its cause in the
// chain.
func ContextError(ctx context.Context) *Error {
	err := ctx.Err()
	e := &Error{Code: CodeOf(err), Type: "Cancelled", Message: err.Error(), Cause: err}
	if e.Code == DeadlineExceeded {
		e.Type = "DeadlineExceeded"
	}
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		e.Cause = fmt.Errorf("%w: %w", err, cause)
		e.Message = e.Cause.Error()
	}
	return e
}

// failure is why no call is possible, or nil.
func (t *streamTransport) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		return nil
	}
	return t.broken
}

// fail breaks the connection for a reason, and returns that as the error of the
// call that found it. When the connection was broken already, that is the error.
func (t *streamTransport) fail(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken != nil {
		return t.broken
	}
	lost := transportError(err)
	t.broken = lost
	if lost.Code != Unavailable {
		t.broken = &Error{
			Code: Unavailable, Type: "ConnectionLost", Message: "the connection was given up during an earlier call: " + lost.Message,
		}
	}
	close(t.over)
	t.closing.Go(func() { _ = t.closeRW() }) // the error says why; closing may take its time
	return lost
}

// transportError is what was found while reading or writing, as the error of the
// call.
func transportError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	var limit *wire.LimitError
	var busy *wire.BusyError
	var format *wire.FormatError
	var schema *codec.SchemaError
	var value *codec.ValueError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, wire.ErrTruncated):
		// io.EOF is the good end of a stream: no error may be taken for it.
		return &Error{Code: Unavailable, Type: "ConnectionLost", Message: "the server closed the connection", Cause: io.ErrUnexpectedEOF}
	case errors.As(err, &limit):
		return &Error{Code: ResourceExhausted, Type: "LimitError", Message: "reply: " + err.Error(), Cause: err}
	case errors.As(err, &busy):
		return &Error{Code: ResourceExhausted, Type: "BusyError", Message: "reply: " + err.Error(), Cause: err}
	case errors.As(err, &format):
		return &Error{Code: Internal, Type: "FormatError", Message: "reply: " + err.Error(), Cause: err}
	case errors.As(err, &schema), errors.As(err, &value):
		return &Error{Code: Internal, Type: "TypeError", Message: "reply: " + err.Error(), Cause: err}
	}
	return &Error{Code: Unavailable, Type: "ConnectionLost", Message: "the connection is lost: " + err.Error(), Cause: err}
}

// Close ends the connection, and waits until it is closed.
func (t *streamTransport) Close() error {
	t.mu.Lock()
	first := t.broken == nil
	if first {
		t.broken = errClosed
		close(t.over)
	}
	t.mu.Unlock()
	err := t.closeRW()
	t.closing.Wait()
	err = errors.Join(err, t.shm.close())
	if !first {
		return nil
	}
	return err
}

// Call implements [Transport].
func (t *streamTransport) Call(ctx context.Context, req *ClientRequest) (*wire.Batch, func(), error) {
	if err := t.acquire(ctx); err != nil {
		return nil, nil, err
	}
	stop := t.guard(ctx)
	result, err := t.roundTrip(req)
	if err = stop(err); err != nil {
		t.release()
		return nil, nil, err
	}
	return result, t.release, nil
}

// roundTrip sends a request and reads its reply to the end.
func (t *streamTransport) roundTrip(req *ClientRequest) (*wire.Batch, error) {
	if err := t.request(req, true); err != nil {
		return nil, err
	}
	result, err := t.reply(req, wire.Own)
	if err != nil {
		return nil, err
	}
	if err := t.r.Drain(); err != nil {
		return nil, t.fail(err)
	}
	t.shm.holdTurn()
	if result == nil {
		return nil, &Error{Code: Internal, Type: "ProtocolError", Message: "the reply of " + req.Method.String() + " has no result batch"}
	}
	return result, nil
}

// request sends a request. Its batch may go through shared memory where placed
// says so: the server answers it before anything else is sent. Files that cannot
// go along are an error which leaves the connection as it is.
func (t *streamTransport) request(req *ClientRequest, placed bool) error {
	if len(req.Files) > 0 {
		return t.requestWith(req, placed)
	}
	if t.shm == nil {
		return t.sent(t.send(&req.Batch))
	}
	if err := t.shm.negotiate(t); err != nil {
		return t.fail(err)
	}
	batch := t.shm.request(&req.Batch, placed)
	return t.sent(t.send(&batch))
}

// sent is the error of what was to be sent.
func (t *streamTransport) sent(err error) error {
	if err != nil {
		return t.fail(err)
	}
	return nil
}

// send writes a request stream.
func (t *streamTransport) send(batch *wire.Batch) error {
	if err := t.w.Open(batch.Schema); err != nil {
		return err
	}
	if err := t.w.Batch(batch); err != nil {
		return err
	}
	if err := t.w.Close(); err != nil {
		return err
	}
	return t.w.Flush()
}

// reply opens the next stream from the server and reads to its first data
// batch. The batch is nil when there is none.
func (t *streamTransport) reply(req *ClientRequest, life wire.Lifetime) (*wire.Batch, error) {
	if _, err := t.r.NextStream(); err != nil {
		return nil, t.fail(err)
	}
	b, err := t.next(req, life)
	if errors.Is(err, io.EOF) {
		return nil, nil //nolint:nilnil // as documented
	}
	return b, err
}

// next reads to the next data batch of the open stream, telling of logs on the
// way. It returns io.EOF at the end of the stream. After an error batch the
// stream has been read to its end.
func (t *streamTransport) next(req *ClientRequest, life wire.Lifetime) (*wire.Batch, error) {
	for {
		_, err := t.r.Announce()
		if err == io.EOF { //nolint:errorlint // the end of the stream, by identity
			return nil, io.EOF
		}
		var b *wire.Batch
		if err == nil {
			b, err = t.r.Take(life)
		}
		if err != nil {
			return nil, t.unreadable(err)
		}
		switch b.Kind() {
		case wire.KindError:
			err := remoteError(b.Meta)
			if drainErr := t.r.Drain(); drainErr != nil {
				return nil, t.fail(drainErr)
			}
			return nil, err
		case wire.KindLog:
			if req.OnLog != nil {
				t.tell(req.OnLog, b.Meta)
			}
		case wire.KindSHM:
			fetched, err := t.shm.fetch(b, life)
			if err == nil {
				return fetched, nil
			}
			if drainErr := t.r.Drain(); drainErr != nil {
				return nil, t.fail(drainErr)
			}
			return nil, err
		default:
			return b, nil
		}
	}
}

// tell hands a log message to the caller. When he panics, nobody reads the rest of
// the answer and nobody gives the turn back: the connection is given up, so that
// other calls fail instead of waiting.
func (t *streamTransport) tell(onLog func(wire.Metadata), meta wire.Metadata) {
	told := false
	defer func() {
		if !told {
			_ = t.fail(&Error{Code: Unavailable, Type: "ConnectionLost", Message: "the connection was given up when OnLog panicked"})
		}
	}()
	onLog(meta)
	told = true
}

// unreadable handles a batch that this side refuses: the connection goes on
// where the framing held.
func (t *streamTransport) unreadable(err error) error {
	if !wire.InStep(err) {
		return t.fail(err)
	}
	if drainErr := t.r.Drain(); drainErr != nil {
		return t.fail(drainErr)
	}
	return transportError(err)
}

// Open implements [Transport].
func (t *streamTransport) Open(ctx context.Context, req *ClientRequest) (TurnStream, error) {
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	s := &byteStream{t: t, req: req}
	stop := t.guard(ctx)
	if err := stop(s.open()); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// byteStream is an open stream on a byte-stream connection, which it holds.
type byteStream struct {
	t       *streamTransport
	req     *ClientRequest
	header  *wire.Batch
	input   *wire.Schema // of the input stream, nil until it is open
	started bool         // the output stream has been opened
	sent    bool         // an input was sent, and its answer not read
	ended   bool
}

func (s *byteStream) end() {
	if !s.ended {
		s.ended = true
		s.t.shm.built()
		s.t.release()
	}
}

// open sends the request and reads the header.
func (s *byteStream) open() error {
	if err := s.t.request(s.req, s.req.Method.HasHeader()); err != nil {
		return err
	}
	if !s.req.Method.HasHeader() {
		return nil
	}
	header, err := s.t.reply(s.req, wire.Own)
	if err != nil {
		return s.refused(err)
	}
	if header == nil {
		return s.refused(&Error{Code: Internal, Type: "ProtocolError", Message: "the header of " + s.req.Method.String() + " is missing"})
	}
	if err := s.t.r.Drain(); err != nil {
		return s.t.fail(err)
	}
	s.header = header
	return nil
}

// refused brings the connection back in step after a call that failed before
// its first output.
func (s *byteStream) refused(err error) error {
	if s.t.failure() != nil {
		return err
	}
	if s.input == nil {
		s.input = wire.EmptySchema()
		if werr := s.t.w.Open(s.input); werr != nil {
			return s.t.fail(werr)
		}
	}
	if werr := s.closeInput(); werr != nil {
		return s.t.fail(werr)
	}
	if berr := s.t.barrier(); berr != nil {
		return s.t.fail(berr)
	}
	return err
}

// barrier makes sure that the next reply belongs to the next call: servers
// other than ours may take the input stream of a refused call for a request,
// and answer it. The reply to a capability request cannot be mistaken.
func (t *streamTransport) barrier() error {
	ask := CapabilityRequest()
	if err := t.send(&ask); err != nil {
		return err
	}
	for {
		if _, err := t.r.NextStream(); err != nil {
			return err
		}
		b, err := t.r.Next()
		found := err == nil && b.Meta.Has(wire.KeyTransportSHM)
		if err := t.r.Drain(); err != nil {
			return err
		}
		if found {
			return nil
		}
	}
}

func (s *byteStream) closeInput() error {
	if !s.t.w.IsOpen() {
		return nil
	}
	return errors.Join(s.t.w.Close(), s.t.w.Flush())
}

// Header implements [TurnStream].
func (s *byteStream) Header() *wire.Batch { return s.header }

// Turn implements [TurnStream].
func (s *byteStream) Turn(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	if err := s.mine(ctx); err != nil {
		return nil, err
	}
	stop := s.t.guard(ctx)
	var out *wire.Batch
	err := s.send(in)
	if err == nil {
		out, err = s.receive()
	}
	if err = stop(err); err != nil {
		s.end()
		return nil, err
	}
	return out, nil
}

// mine reports why the caller cannot send an input now.
func (s *byteStream) mine(ctx context.Context) error {
	switch {
	case s.ended:
		return io.EOF
	case s.sent:
		return errSentTwice
	case ctx.Err() != nil:
		return s.abandon(ctx)
	}
	return nil
}

// Send implements [HalfStream].
func (s *byteStream) Send(ctx context.Context, in *wire.Batch) error {
	if err := s.mine(ctx); err != nil {
		return err
	}
	stop := s.t.guard(ctx)
	err := stop(s.send(in))
	if err != nil {
		s.end()
	}
	s.sent = err == nil
	return err
}

// Recv implements [HalfStream].
func (s *byteStream) Recv(ctx context.Context) (*wire.Batch, error) {
	switch {
	case s.ended:
		return nil, io.EOF
	case !s.sent:
		return nil, errNotSent
	}
	s.sent = false
	stop := s.t.guard(ctx)
	out, err := s.receive()
	if err = stop(err); err != nil {
		s.end()
		return nil, err
	}
	return out, nil
}

// cancelGrace is how long a server has to end a stream that its caller has left,
// before the connection is given up.
const cancelGrace = 5 * time.Second

// abandon ends the stream when ctx has ended while the turn is the caller's: the
// server is told, and the connection stays.
func (s *byteStream) abandon(ctx context.Context) error {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer cancel()
	_ = s.Cancel(grace) // the caller is told of his context
	return ContextError(ctx)
}

// send writes an input batch.
func (s *byteStream) send(in *wire.Batch) error {
	t := s.t
	if s.input == nil {
		if err := t.w.Open(in.Schema); err != nil {
			return t.fail(err)
		}
		s.input = in.Schema
	}
	if t.shm != nil {
		placed := t.shm.input(in)
		in = &placed
	}
	err := errors.Join(t.w.Batch(in), t.w.Flush())
	t.shm.built()
	if err != nil {
		return t.fail(err)
	}
	return nil
}

// Allocator is that of [ExchangeStream.Allocator].
func (s *byteStream) Allocator() memory.Allocator {
	if s.ended || s.sent {
		return memory.DefaultAllocator // the turn is not ours
	}
	return s.t.shm.allocator()
}

// receive reads the answer to an input batch.
func (s *byteStream) receive() (*wire.Batch, error) {
	t := s.t
	first := !s.started
	if first {
		s.started = true
		if _, err := t.r.NextStream(); err != nil {
			return nil, t.fail(err)
		}
	}
	out, err := t.next(s.req, s.req.Output)
	switch {
	case err == nil:
		return out, nil
	case first && IsRemote(err):
		return nil, s.refused(err)
	}
	if t.failure() == nil {
		if werr := s.closeInput(); werr != nil {
			return nil, t.fail(werr)
		}
		t.shm.holdTurn()
	}
	return nil, err
}

// Cancel implements [TurnStream].
func (s *byteStream) Cancel(ctx context.Context) error {
	if s.ended {
		return nil
	}
	defer s.end()
	stop := s.t.guard(ctx)
	return stop(s.cancel())
}

func (s *byteStream) cancel() error {
	if s.sent { // the turn is the server's: its answer is not wanted
		s.sent = false
		if _, err := s.receive(); err != nil {
			return ended(err)
		}
	}
	if s.input == nil {
		s.input = wire.EmptySchema()
		if in := s.req.Method.input; in != nil {
			s.input = in.Schema()
		}
		if err := s.t.w.Open(s.input); err != nil {
			return s.t.fail(err)
		}
	}
	b := wire.EmptyBatch(s.input, wire.Metadata{{Key: wire.KeyCancel, Value: "1"}})
	if err := s.t.w.Batch(&b); err != nil {
		return s.t.fail(err)
	}
	return s.finish()
}

// ended is the error of a stream that its caller has left: that it is over
// already is none.
func ended(err error) error {
	if errors.Is(err, io.EOF) || IsRemote(err) {
		return nil
	}
	return err
}

// Close implements [TurnStream].
func (s *byteStream) Close(ctx context.Context) error {
	if s.ended {
		return nil
	}
	defer s.end()
	stop := s.t.guard(ctx)
	return stop(s.close())
}

func (s *byteStream) close() error {
	if s.input == nil {
		s.input = wire.EmptySchema()
		if err := s.t.w.Open(s.input); err != nil {
			return s.t.fail(err)
		}
	}
	return s.finish()
}

// finish ends the input stream and reads the output stream to its end.
func (s *byteStream) finish() error {
	if err := s.closeInput(); err != nil {
		return s.t.fail(err)
	}
	if !s.started {
		s.started = true
		if _, err := s.t.r.NextStream(); err != nil {
			return s.t.fail(err)
		}
		// A call that was refused shows only now.
		if _, err := s.t.next(s.req, wire.Borrow); IsRemote(err) {
			return s.refused(err)
		}
	}
	if err := s.t.r.Drain(); err != nil {
		return s.t.fail(err)
	}
	s.t.shm.holdTurn()
	return nil
}
