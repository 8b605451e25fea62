package vgirpc

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/vgirpc/vgirpc-go/wire"
)

// HandleUnary registers the handler of a unary method. It panics when the
// server does not host the method's protocol, or has a handler for it.
func HandleUnary[P, R any](s *Server, m *Unary[P, R], fn func(context.Context, P) (R, error)) {
	s.handle(&handler{method: m.Method, unary: func(ctx context.Context, d *Dispatch, b *wire.Batch) error {
		var params P
		if err := decodeParams(m.Method, b, &params); err != nil {
			d.refused = true
			return err
		}
		result, err := fn(ctx, params)
		if err != nil {
			return err
		}
		return encodeOne(m.result, &d.reply.enc, &result, &d.reply.data)
	}})
}

// NewBuiltin returns the route of a method of the server itself, which a
// transport brings along: its name begins with two underscores, it belongs to no
// protocol, and its records go by the primary one. The transport gives the route
// to [Server.Begin]. The result is a batch with a row for each element. It fails
// for another name, and for those of the core.
func NewBuiltin[P, Row any](s *Server, name string, fn func(context.Context, P) ([]Row, error)) (Route, error) {
	if !strings.HasPrefix(name, "__") || name == wire.MethodTransport || name == wire.MethodDescribe {
		return Route{}, fmt.Errorf("vgirpc: built-in method %q: want a new name that begins with two underscores", name)
	}
	m := newMethod[P](s.order[0].protocol, name, KindUnary, MethodOptions{})
	m.result = rowPlan(m, "result", reflect.TypeFor[Row]())
	h := &handler{method: m, unary: func(ctx context.Context, d *Dispatch, b *wire.Batch) error {
		var params P
		if err := decodeParams(m, b, &params); err != nil {
			d.refused = true
			return err
		}
		rows, err := fn(ctx, params)
		if err != nil {
			return err
		}
		return encodeRows(m.result, &d.reply.enc, rows, &d.reply.data)
	}}
	return Route{s.order[0], h}, nil
}

// StreamOptions describe a stream's handler beyond its functions.
type StreamOptions struct {
	// States lists a value of each state type that opening the stream may
	// return, when its type is an interface. Only they can be stored and
	// resumed, and a stored type is looked up among them alone.
	States []any
}

// HandleProducer registers the handler of a producer method: open starts a
// stream and returns its state. It panics as [HandleUnary] does.
func HandleProducer[P, Row any, S ProducerState[Row]](
	s *Server, m *Producer[P, Row], open func(context.Context, P) (S, error), opts ...StreamOptions,
) {
	handleStream(s, m.Method, single(opts), open, func(state S) openStream { return &producing[Row]{s: state} })
}

// HandleExchange registers the handler of an exchange method whose state takes
// rows. It panics as [HandleUnary] does.
func HandleExchange[P, In, Out any, S ExchangeState[In, Out]](
	s *Server, m *Exchange[P, In, Out], open func(context.Context, P) (S, error), opts ...StreamOptions,
) {
	h := handleStream(s, m.Method, single(opts), open, func(state S) openStream { return &exchanging[In, Out]{s: state} })
	h.rows = true
}

// HandleBatchExchange registers the handler of an exchange method whose state
// takes batches. It panics as [HandleUnary] does.
func HandleBatchExchange[P, In, Out any, S BatchExchangeState[Out]](
	s *Server, m *Exchange[P, In, Out], open func(context.Context, P) (S, error), opts ...StreamOptions,
) {
	handleStream(s, m.Method, single(opts), open, func(state S) openStream { return &exchangingBatches[Out]{s: state} })
}

// HandleHeaderProducer is [HandleProducer] for a method with a header, which
// open returns beside the state.
func HandleHeaderProducer[P, H, Row any, S ProducerState[Row]](
	s *Server, m *HeaderProducer[P, H, Row], open func(context.Context, P) (S, H, error), opts ...StreamOptions,
) {
	HandleProducer(s, &m.Producer, withHeader(m.Method, open), opts...)
}

// HandleHeaderExchange is [HandleExchange] for a method with a header, which
// open returns beside the state.
func HandleHeaderExchange[P, H, In, Out any, S ExchangeState[In, Out]](
	s *Server, m *HeaderExchange[P, H, In, Out], open func(context.Context, P) (S, H, error), opts ...StreamOptions,
) {
	HandleExchange(s, &m.Exchange, withHeader(m.Method, open), opts...)
}

// HandleHeaderBatchExchange is [HandleBatchExchange] for a method with a
// header, which open returns beside the state.
func HandleHeaderBatchExchange[P, H, In, Out any, S BatchExchangeState[Out]](
	s *Server, m *HeaderExchange[P, H, In, Out], open func(context.Context, P) (S, H, error), opts ...StreamOptions,
) {
	HandleBatchExchange(s, &m.Exchange, withHeader(m.Method, open), opts...)
}

// withHeader makes an opening function without a header of one with: the
// header goes into the reply.
func withHeader[P, H, S any](m *Method, open func(context.Context, P) (S, H, error)) func(context.Context, P) (S, error) {
	return func(ctx context.Context, params P) (S, error) {
		state, header, err := open(ctx, params)
		if err != nil {
			return state, err
		}
		r := CallFrom(ctx).dispatch.reply
		var b wire.Batch
		if err := encodeOne(m.header, &r.enc, &header, &b); err != nil {
			return state, err
		}
		r.HeaderSchema = m.header.Schema()
		r.Header = append(r.Header, b)
		return state, nil
	}
}

// handleStream registers a stream's handler with its types erased.
func handleStream[P, S any](
	s *Server, m *Method, opts StreamOptions, open func(context.Context, P) (S, error), wrap func(S) openStream,
) *handler {
	h := &handler{method: m, states: newStateSet[S](m, opts.States, wrap)}
	h.open = func(ctx context.Context, d *Dispatch, b *wire.Batch) error {
		var params P
		if err := decodeParams(m, b, &params); err != nil {
			d.refused = true
			return err
		}
		state, err := open(ctx, params)
		if err != nil {
			return err
		}
		d.stream = wrap(state)
		return nil
	}
	s.handle(h)
	return h
}
