package vgirpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/vgirpc/vgirpc-go/wire"
)

// errClosed answers calls on a transport that is closed or broken.
var errClosed = errors.New("vgirpc: the connection is closed")

// streamTransport carries calls over one byte stream, one at a time.
type streamTransport struct {
	rw   io.ReadWriteCloser
	r    *wire.Reader
	w    *wire.Writer
	turn chan struct{} // holds one token: whoever has it may use r and w

	mu     sync.Mutex
	broken error // why no further call is possible
}

func newStreamTransport(rw io.ReadWriteCloser, limits wire.Limits) *streamTransport {
	t := &streamTransport{rw: rw, r: wire.NewReader(rw, limits, nil), w: wire.NewWriter(rw), turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// acquire waits for the connection to be free. While it is held, the end of ctx
// breaks the connection: a call that is under way cannot be taken back. The
// returned function gives it back.
func (t *streamTransport) acquire(ctx context.Context) (release func(), err error) {
	select {
	case <-t.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := t.failure(); err != nil {
		t.turn <- struct{}{}
		return nil, err
	}
	return func() { t.turn <- struct{}{} }, nil
}

// guard breaks the connection when ctx ends before the returned function is
// called.
func (t *streamTransport) guard(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { _ = t.fail(context.Cause(ctx)) })
}

func (t *streamTransport) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

// fail breaks the connection and returns the first reason for it.
func (t *streamTransport) fail(err error) error {
	t.mu.Lock()
	first := t.broken == nil
	if first {
		if errors.Is(err, io.EOF) || errors.Is(err, wire.ErrTruncated) {
			err = &Error{Code: Unavailable, Type: "ConnectionLost", Message: "the server closed the connection", Cause: err}
		}
		t.broken = err
	}
	err = t.broken
	t.mu.Unlock()
	if first {
		_ = t.rw.Close() // err says why
	}
	return err
}

// Close ends the connection.
func (t *streamTransport) Close() error {
	t.mu.Lock()
	first := t.broken == nil
	if first {
		t.broken = errClosed
	}
	t.mu.Unlock()
	if !first {
		return nil
	}
	return t.rw.Close()
}

// Call implements [Transport].
func (t *streamTransport) Call(ctx context.Context, req *ClientRequest) (*wire.Batch, func(), error) {
	release, err := t.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := t.guard(ctx)
	result, err := t.roundTrip(req)
	if !stop() && err == nil {
		err = t.failure()
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return result, release, nil
}

// roundTrip sends a request and reads its reply to the end.
func (t *streamTransport) roundTrip(req *ClientRequest) (*wire.Batch, error) {
	if err := t.send(req); err != nil {
		return nil, t.fail(err)
	}
	result, err := t.reply(req, wire.Own)
	if err != nil {
		return nil, err
	}
	if err := t.r.Drain(); err != nil {
		return nil, t.fail(err)
	}
	if result == nil {
		return nil, &Error{Code: Internal, Type: "ProtocolError", Message: "the reply of " + req.Method.String() + " has no result batch"}
	}
	return result, nil
}

// send writes a request stream.
func (t *streamTransport) send(req *ClientRequest) error {
	if err := t.w.Open(req.Batch.Schema); err != nil {
		return err
	}
	if err := t.w.Batch(&req.Batch); err != nil {
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
				req.OnLog(b.Meta)
			}
		default:
			return b, nil
		}
	}
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
	return fmt.Errorf("vgirpc: reply: %w", err)
}

// Open implements [Transport].
func (t *streamTransport) Open(ctx context.Context, req *ClientRequest) (TurnStream, error) {
	release, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	s := &byteStream{t: t, req: req, release: release}
	stop := t.guard(ctx)
	err = s.open()
	if !stop() && err == nil {
		err = t.failure()
	}
	if err != nil {
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
	release func()
	input   *wire.Schema // of the input stream, nil until it is open
	started bool         // the output stream has been opened
	ended   bool
}

func (s *byteStream) end() {
	if !s.ended {
		s.ended = true
		s.release()
	}
}

// open sends the request and reads the header.
func (s *byteStream) open() error {
	if err := s.t.send(s.req); err != nil {
		return s.t.fail(err)
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
	req := &ClientRequest{Batch: wire.EmptyBatch(wire.EmptySchema(), wire.Metadata{
		{Key: wire.KeyMethod, Value: wire.MethodTransport}, {Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
	})}
	req.Batch.Rows = 1
	if err := t.send(req); err != nil {
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
	if s.ended {
		return nil, io.EOF
	}
	stop := s.t.guard(ctx)
	out, err := s.exchange(in)
	if !stop() && err == nil {
		err = s.t.failure()
	}
	if err != nil {
		s.end()
	}
	return out, err
}

func (s *byteStream) exchange(in *wire.Batch) (*wire.Batch, error) {
	t := s.t
	if s.input == nil {
		if err := t.w.Open(in.Schema); err != nil {
			return nil, t.fail(err)
		}
		s.input = in.Schema
	}
	if err := errors.Join(t.w.Batch(in), t.w.Flush()); err != nil {
		return nil, t.fail(err)
	}
	first := !s.started
	if first {
		s.started = true
		if _, err := t.r.NextStream(); err != nil {
			return nil, t.fail(err)
		}
	}
	out, err := t.next(s.req, wire.Own)
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
	}
	return nil, err
}

// Cancel implements [TurnStream].
func (s *byteStream) Cancel(ctx context.Context) error {
	if s.ended {
		return nil
	}
	stop := s.t.guard(ctx)
	defer stop()
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

// Close implements [TurnStream].
func (s *byteStream) Close(ctx context.Context) error {
	if s.ended {
		return nil
	}
	stop := s.t.guard(ctx)
	defer stop()
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
	defer s.end()
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
	return nil
}
