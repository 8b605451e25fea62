package subprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// New starts a worker process, waits for its first answer, and returns a client
// that calls it. ctx bounds the start alone. Closing the client ends the
// process, and every earlier one that is still being closed, and waits for them.
//
// Errors of the start are [*vgirpc.Error] values of type "WorkerNotStarted",
// "WorkerDied", "WorkerSilent" or "ProtocolError", or the end of ctx.
func New(ctx context.Context, opts Options, client vgirpc.ClientOptions) (*vgirpc.Client, error) {
	t, err := newTransport(ctx, opts, client)
	if err != nil {
		return nil, err
	}
	return vgirpc.NewClientOn(t, client), nil
}

func newTransport(ctx context.Context, opts Options, client vgirpc.ClientOptions) (*transport, error) {
	o, err := opts.valid()
	if err != nil {
		return nil, err
	}
	t := &transport{opts: o, client: client, turn: make(chan struct{}, 1), closed: make(chan struct{})}
	t.giveBack = func() { t.release(); t.turn <- struct{}{} }
	first, err := launch(ctx, o, client)
	if err != nil {
		return nil, err
	}
	t.worker = first
	t.turn <- struct{}{}
	return t, nil
}

// transport carries calls to a worker process, and to its successors. One call
// is under way at a time: whoever has the turn chooses the process, so that
// calls that waited for a process that died have not been sent to it.
type transport struct {
	opts   *Options
	client vgirpc.ClientOptions
	turn   chan struct{}  // holds one token
	closed chan struct{}  // closed by Close
	owned  sync.WaitGroup // starts, and processes that are being closed

	mu        sync.Mutex
	worker    *worker // nil when the last start failed, and during one
	stopStart context.CancelCauseFunc
	isClosed  bool

	// Of whoever has the turn:
	starting chan error // of the start that is under way, nil when none is
	failures int        // workers in a row that were not healthy
	last     error      // why the last start failed
	release  func()     // of the result that the caller holds
	giveBack func()     // releases the result and passes the turn on
}

// acquire waits for the turn and for a process to call.
func (t *transport) acquire(ctx context.Context) (*worker, error) {
	select {
	case <-t.turn:
	case <-t.closed:
		return nil, errClosed
	case <-ctx.Done():
		return nil, vgirpc.ContextError(ctx)
	}
	w, err := t.ready(ctx)
	if err != nil {
		t.turn <- struct{}{}
		return nil, err
	}
	return w, nil
}

// ready is the running worker, started when there is none.
func (t *transport) ready(ctx context.Context) (*worker, error) {
	t.mu.Lock()
	w, isClosed := t.worker, t.isClosed
	t.mu.Unlock()
	if w != nil {
		t.starting = nil // it has succeeded, after the call that asked for it had left
	}
	switch {
	case isClosed:
		return nil, errClosed
	case w != nil && !w.over():
		return w, nil
	case t.opts.Restart.Attempts == 0:
		return nil, w.why()
	}
	if t.starting == nil {
		wait, err := t.count(w)
		if err != nil {
			return nil, err
		}
		if err := t.restart(w, wait); err != nil {
			return nil, err
		}
	}
	return t.started(ctx)
}

// restart begins to start the next process, for when its time has come, and
// lets go of w.
func (t *transport) restart(w *worker, wait time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isClosed {
		return errClosed
	}
	if w != nil {
		t.worker = nil
		t.owned.Go(func() {
			_ = w.transport.Close() // the shared memory goes with its process
			_ = w.process.Close()   // how it ended was told, or is of no interest
		})
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	starting := make(chan error, 1)
	t.starting, t.stopStart = starting, cancel
	t.owned.Go(func() {
		defer cancel(nil)
		starting <- t.startAfter(ctx, wait)
	})
	return nil
}

// startAfter starts a process as the worker to call.
func (t *transport) startAfter(ctx context.Context, wait time.Duration) error {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w, err := launch(ctx, t.opts, t.client)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isClosed {
		_ = w.transport.Close() // with its memory
		w.process.kill()
		return errClosed
	}
	t.worker = w
	return nil
}

// started waits for the start that is under way. It goes on when ctx ends: the
// next call finds it done.
func (t *transport) started(ctx context.Context) (*worker, error) {
	select {
	case err := <-t.starting:
		t.starting = nil
		if err != nil {
			t.last = err
			return nil, err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.worker, nil
	case <-t.closed:
		return nil, errClosed
	case <-ctx.Done():
		return nil, vgirpc.ContextError(ctx)
	}
}

// count takes the end of w, or of a start when w is nil, into account, and
// returns how long to wait before the next start.
func (t *transport) count(w *worker) (time.Duration, error) {
	r := &t.opts.Restart
	ended := time.Now()
	if w != nil {
		t.last = w.why()
		ended = w.endedAt()
	}
	switch {
	case w != nil && w.abandoned:
		// The caller did not want to wait: that says nothing about the worker.
		return 0, nil
	case w != nil && ended.Sub(w.born) >= r.HealthyAfter:
		t.failures = 0
	default:
		t.failures++
	}
	if !r.allows(t.failures) {
		t.failures-- // the next call is told the same
		return 0, givenUp(r.Attempts, t.last)
	}
	return time.Until(ended.Add(r.delay(t.failures))), nil
}

// Call implements [vgirpc.Transport].
func (t *transport) Call(ctx context.Context, req *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	w, err := t.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	returned := false
	defer t.rescue(w, &returned)
	result, release, err := w.transport.Call(ctx, req)
	returned = true
	if err != nil {
		w.failed(ctx, err)
		t.turn <- struct{}{}
		return nil, nil, err
	}
	t.release = release
	return result, t.giveBack, nil
}

// Open implements [vgirpc.Transport].
func (t *transport) Open(ctx context.Context, req *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	w, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	returned := false
	defer t.rescue(w, &returned)
	s, err := w.transport.Open(ctx, req)
	returned = true
	if err != nil {
		w.failed(ctx, err)
		t.turn <- struct{}{}
		return nil, err
	}
	return &stream{TurnStream: s, t: t, w: w}, nil
}

// rescue gives up the worker of a call that a panic of the caller's OnLog has
// left, and passes the turn on.
func (t *transport) rescue(w *worker, returned *bool) {
	if *returned {
		return
	}
	w.abandoned = true
	_ = w.transport.Close() // the panic says more
	t.turn <- struct{}{}
}

// Close implements [vgirpc.Transport]. It returns how the worker ended, when
// that was not well and no call has been told.
func (t *transport) Close() error {
	t.mu.Lock()
	w, first := t.worker, !t.isClosed
	t.isClosed = true
	if first {
		close(t.closed)
		if t.stopStart != nil {
			t.stopStart(errClosed)
		}
	}
	t.mu.Unlock()
	var err error
	if w != nil {
		_ = w.transport.Close() // fails the call in progress; the process says the rest
		if closeErr := w.process.Close(); !w.told.Swap(true) {
			err = closeErr
		}
	}
	t.owned.Wait()
	return err
}

// stream is an open stream, which has the turn.
type stream struct {
	vgirpc.TurnStream
	t     *transport
	w     *worker
	ended bool
}

// Turn implements [vgirpc.TurnStream].
func (s *stream) Turn(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	out, err := s.TurnStream.Turn(ctx, in)
	if err != nil {
		s.end(ctx, err)
	}
	return out, err
}

// Cancel implements [vgirpc.TurnStream].
func (s *stream) Cancel(ctx context.Context) error {
	if s.ended {
		return nil
	}
	err := s.TurnStream.Cancel(ctx)
	s.end(ctx, err)
	return err
}

// Close implements [vgirpc.TurnStream].
func (s *stream) Close(ctx context.Context) error {
	if s.ended {
		return nil
	}
	err := s.TurnStream.Close(ctx)
	s.end(ctx, err)
	return err
}

func (s *stream) end(ctx context.Context, err error) {
	if !s.ended {
		s.ended = true
		s.w.failed(ctx, err)
		s.t.turn <- struct{}{}
	}
}

// worker is a process that has answered, and the transport that calls it.
type worker struct {
	process   *Process
	transport vgirpc.Transport
	born      time.Time
	abandoned bool        // the context of its last call ended
	told      atomic.Bool // a call was told how it ended
}

// failed notes how a call ended; err may be nil.
func (w *worker) failed(ctx context.Context, err error) {
	w.abandoned = ctx.Err() != nil
	if err != nil && !errors.Is(err, io.EOF) && !vgirpc.IsRemote(err) && !w.abandoned {
		w.told.Store(true)
	}
}

// connection is a process to a client that must not wait for its end.
type connection struct{ *Process }

// Close begins to end the process.
func (c connection) Close() error {
	c.shutdown(c.opts.CloseGrace)
	return nil
}

// over reports whether w takes no more calls.
func (w *worker) over() bool { return w.process.closed() || w.process.Err() != nil }

// why is the reason that w is over.
func (w *worker) why() error {
	if err := w.process.Err(); err != nil {
		return err
	}
	return &vgirpc.Error{
		Code: vgirpc.Unavailable, Type: "ConnectionLost",
		Message: fmt.Sprintf("the worker %s was given up during an earlier call", w.process),
	}
}

// endedAt is when w ended, or now when it is still about to.
func (w *worker) endedAt() time.Time {
	select {
	case <-w.process.exited:
		return w.process.exitedAt
	default:
		return time.Now()
	}
}

// errSilent is the cause of the end of a start that took too long.
var errSilent = errors.New("subprocess: the worker is silent")

// launch starts a process and waits for its first answer. A process that gives
// none is gone when launch returns.
func launch(ctx context.Context, o *Options, client vgirpc.ClientOptions) (*worker, error) {
	if o.StartTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.StartTimeout, errSilent)
		defer cancel()
	}
	p, client, discard, err := startShared(ctx, o, client)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, p.interrupt)
	err = vgirpc.Greet(p, client.Limits)
	inTime := stop()
	if inTime && err == nil {
		return &worker{process: p, transport: vgirpc.NewStreamTransport(connection{p}, client), born: time.Now()}, nil
	}
	p.kill()
	discard()
	var typed *vgirpc.Error
	switch {
	case !inTime && errors.Is(context.Cause(ctx), errSilent):
		return nil, silent(o.StartTimeout, p.exit.Stderr)
	case !inTime:
		return nil, vgirpc.ContextError(ctx)
	case errors.As(err, &typed):
		return nil, typed
	default:
		return nil, nonsense(err, p.exit.Stderr)
	}
}
