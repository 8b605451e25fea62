package vgirpc

import (
	"context"
	"errors"
	"io"

	"github.com/vgirpc/vgirpc-go/wire"
)

// ClientObserver watches the calls of a [Client], and may add to what they carry.
// Its methods are called on the goroutine of the call, must not block, and may
// run at once for different calls.
type ClientObserver interface {
	// CallStarted is told of a call before anything of it is sent. The call
	// goes on with the context that it returns: what [WithMetadata] added to
	// that goes along with the request.
	CallStarted(ctx context.Context, m *Method) context.Context
	// CallEnded is told once for each call that was started, with the context
	// that CallStarted returned: of a unary call when its reply was read, of a
	// stream when it has ended, was cancelled or was closed. err is why the call
	// failed, nil when it has not, or when its caller left the stream.
	CallEnded(ctx context.Context, m *Method, err error)
}

// observed is a transport whose calls are watched.
type observed struct {
	Transport

	observers []ClientObserver
}

// CarriesFiles implements [FileCarrier] as the transport below does.
func (t *observed) CarriesFiles() error {
	if c, ok := t.Transport.(FileCarrier); ok {
		return c.CarriesFiles()
	}
	return errNoFiles()
}

// start tells the observers of a call, and returns what they are to be told at
// its end.
func (t *observed) start(ctx context.Context, req *ClientRequest) *observedCall {
	w := &observedCall{observers: t.observers, method: req.Method, contexts: make([]context.Context, len(t.observers))}
	for i, o := range t.observers {
		ctx = o.CallStarted(ctx, req.Method) //nolint:fatcontext // each observer wraps what the one before it returned
		w.contexts[i] = ctx
	}
	req.Batch.Meta = stamp(ctx, req.Batch.Meta)
	return w
}

// observedCall is one call before the eyes of the observers.
type observedCall struct {
	observers []ClientObserver
	method    *Method
	contexts  []context.Context // those that the observers returned
	ended     bool
}

func (w *observedCall) context() context.Context { return w.contexts[len(w.contexts)-1] }

// end tells the observers how the call ended, once.
func (w *observedCall) end(err error) {
	if w.ended {
		return
	}
	w.ended = true
	for i, o := range w.observers {
		o.CallEnded(w.contexts[i], w.method, err)
	}
}

// errCallPanicked is how a call ends whose observer or OnLog panics.
var errCallPanicked = &Error{Code: Internal, Type: "PanicError", Message: "the caller's own code panicked during the call"}

// Call implements [Transport].
func (t *observed) Call(ctx context.Context, req *ClientRequest) (result *wire.Batch, release func(), err error) {
	w := t.start(ctx, req)
	defer w.end(errCallPanicked) // does nothing after the other one
	result, release, err = t.Transport.Call(w.context(), req)
	w.end(err)
	return result, release, err
}

// Open implements [Transport].
func (t *observed) Open(ctx context.Context, req *ClientRequest) (TurnStream, error) {
	w := t.start(ctx, req)
	opened := false
	defer func() {
		if !opened {
			w.end(errCallPanicked)
		}
	}()
	s, err := t.Transport.Open(w.context(), req)
	if err != nil {
		w.end(err)
		return nil, err
	}
	opened = true
	if half, ok := s.(HalfStream); ok {
		return &observedHalves{observedStream{half, w}, half}, nil
	}
	return &observedStream{s, w}, nil
}

// observedStream is a stream whose end is told to the observers.
type observedStream struct {
	TurnStream

	call *observedCall
}

// Unwrap returns the stream that is watched.
func (s *observedStream) Unwrap() TurnStream { return s.TurnStream }

// turnContext is the context of one turn: its end is that of the caller's context
// for the turn, and its values are the call's.
type turnContext struct {
	context.Context //nolint:containedctx // it is a context

	call context.Context //nolint:containedctx // as well
}

// Value asks the call.
func (c turnContext) Value(key any) any { return c.call.Value(key) }

func (s *observedStream) in(ctx context.Context) context.Context {
	return turnContext{ctx, s.call.context()}
}

// saw tells the observers when an error has ended the stream.
func (s *observedStream) saw(err error) error {
	switch {
	case err == nil, errors.Is(err, errSentTwice), errors.Is(err, errNotSent):
	case errors.Is(err, io.EOF):
		s.call.end(nil)
	default:
		s.call.end(err)
	}
	return err
}

// Turn implements [TurnStream].
func (s *observedStream) Turn(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	out, err := s.TurnStream.Turn(s.in(ctx), in)
	return out, s.saw(err)
}

// Cancel implements [TurnStream].
func (s *observedStream) Cancel(ctx context.Context) error {
	err := s.TurnStream.Cancel(s.in(ctx))
	s.call.end(err)
	return err
}

// Close implements [TurnStream].
func (s *observedStream) Close(ctx context.Context) error {
	err := s.TurnStream.Close(s.in(ctx))
	s.call.end(err)
	return err
}

// observedHalves is an [observedStream] that can take a turn in halves.
type observedHalves struct {
	observedStream

	half HalfStream
}

// Send implements [HalfStream].
func (s *observedHalves) Send(ctx context.Context, in *wire.Batch) error {
	return s.saw(s.half.Send(s.in(ctx), in))
}

// Recv implements [HalfStream].
func (s *observedHalves) Recv(ctx context.Context) (*wire.Batch, error) {
	out, err := s.half.Recv(s.in(ctx))
	return out, s.saw(err)
}
