package vgirpc

import (
	"context"
	"io"
	"iter"
	"slices"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// callMemory is the memory that a request needs. Unary calls use it again.
type callMemory struct {
	enc codec.Encoder
	req ClientRequest
}

// prepare encodes the parameters of a call.
func prepare[P any](ctx context.Context, c *Client, m *Method, params *P, mem *callMemory) error {
	c.request(ctx, m, &mem.req)
	if err := encodeOne(m.params, &mem.enc, params, &mem.req.Batch); err != nil {
		return err
	}
	mem.req.Batch.Rows = 1
	mem.req.Batch.Meta = stamp(ctx, m.RequestMetadata())
	var err error
	mem.req.Files, err = filesOf(ctx, c.transport)
	return err
}

// RequestMetadata is the metadata of every request of m (WIRE_PROTOCOL section
// 5). It is shared: who adds to it gets a copy, and nobody changes it.
func (m *Method) RequestMetadata() wire.Metadata { return m.requestMeta }

// newRequestMetadata is the metadata of requests of a method.
func newRequestMetadata(p *Protocol, name string) wire.Metadata {
	meta := wire.Metadata{
		{Key: wire.KeyMethod, Value: name},
		{Key: wire.KeyProtocol, Value: p.name},
		{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
	}
	if p.version != "" {
		meta = append(meta, wire.Pair{Key: wire.KeyProtocolVersion, Value: p.version})
	}
	return slices.Clip(meta)
}

// Call calls the method and returns its result.
func (m *Unary[P, R]) Call(ctx context.Context, c *Client, params P) (R, error) {
	var result R
	mem := c.memory()
	defer c.giveBack(mem)
	if err := prepare(ctx, c, m.Method, &params, mem); err != nil {
		return result, err
	}
	b, release, err := c.transport.Call(ctx, &mem.req)
	if err != nil {
		return result, err
	}
	defer release()
	return result, decodeOne(m.result, b, &result)
}

// decodeOne decodes a result or header that the peer sent on its own schema.
func decodeOne[T any](plan *codec.Plan, b *wire.Batch, into *T) error {
	if plan.Schema().NumFields() == 0 {
		return nil
	}
	if err := here(b); err != nil {
		return err
	}
	if b.Rows != 1 {
		return &Error{Code: Internal, Type: "ProtocolError", Message: "reply batch does not have exactly one row"}
	}
	bound, err := plan.Bind(b.Schema)
	if err != nil {
		return transportError(err)
	}
	if err := bound.Decode(b, 0, unsafe.Pointer(into)); err != nil {
		return transportError(err)
	}
	return nil
}

// here reports a batch that is somewhere else.
func here(b *wire.Batch) error {
	switch b.Kind() {
	case wire.KindExternal:
		return Errorf(FailedPrecondition, "the answer is in external storage: set ClientOptions.Offload to fetch it")
	case wire.KindSHM:
		return Errorf(FailedPrecondition, "the answer is in shared memory: set ClientOptions.SharedMemory to use it")
	default:
		return nil
	}
}

// Pending is a unary call that is under way.
type Pending[R any] struct {
	done   chan struct{}
	result R
	err    error
}

// Start begins a call and returns at once; [Pending.Wait] collects its result,
// and has to be called. Calls that were started run in any order, on a byte
// stream one after the other. The end of ctx ends the call.
func (m *Unary[P, R]) Start(ctx context.Context, c *Client, params P) *Pending[R] {
	p := &Pending[R]{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.result, p.err = m.Call(ctx, c, params)
	}()
	return p
}

// Wait returns the result of the call when it is there. It may be called again.
func (p *Pending[R]) Wait() (R, error) {
	<-p.done
	return p.result, p.err
}

// Open starts the stream and returns it. It must be closed, which ranging over
// it does. A server's refusal arrives with the first batch, or, for a method
// with a header, here.
func (m *Producer[P, Row]) Open(ctx context.Context, c *Client, params P) (*ProducerStream[Row], error) {
	s, err := openStreamOf(ctx, c, m.Method, &params)
	if err != nil {
		return nil, err
	}
	return &ProducerStream[Row]{ctx: ctx, s: s, m: m.Method}, nil
}

// OpenHeader is [Producer.Open], and returns the stream's header.
func (m *HeaderProducer[P, H, Row]) OpenHeader(ctx context.Context, c *Client, params P) (*ProducerStream[Row], H, error) {
	var header H
	s, err := m.Open(ctx, c, params)
	if err == nil {
		if err = decodeOne(m.header, s.s.Header(), &header); err != nil {
			_ = s.Close() // err says why
		}
	}
	return s, header, err
}

func openStreamOf[P any](ctx context.Context, c *Client, m *Method, params *P) (TurnStream, error) {
	mem := new(callMemory) // the stream keeps it
	if err := prepare(ctx, c, m, params, mem); err != nil {
		return nil, err
	}
	if out := m.output; out != nil && !out.Borrows() {
		mem.req.Output = wire.Own // rows refer to the memory of their batch
	}
	return c.transport.Open(ctx, &mem.req)
}

// ProducerStream is an open producer stream on the caller's side. It is not safe
// for concurrent use.
type ProducerStream[Row any] struct {
	ctx  context.Context //nolint:containedctx // the call's, for the iterators
	s    TurnStream
	m    *Method
	tick wire.Metadata
	got  wire.Metadata
}

// SetMetadata sets the custom metadata of the ticks that follow.
func (s *ProducerStream[Row]) SetMetadata(meta wire.Metadata) { s.tick = meta }

// Metadata is the custom metadata of the last batch.
func (s *ProducerStream[Row]) Metadata() wire.Metadata { return s.got }

// Stream is the stream as the transport carries it.
func (s *ProducerStream[Row]) Stream() TurnStream { return s.s }

// All ranges over the rows of each batch until the stream ends. Leaving the
// loop early cancels the stream. An error is the last element.
func (s *ProducerStream[Row]) All() iter.Seq2[[]Row, error] {
	return func(yield func([]Row, error) bool) {
		for b, err := range s.Batches() {
			var rows []Row
			if err == nil {
				rows, err = rowsOf[Row](s.m.output, b)
			}
			if !yield(rows, err) || err != nil {
				return
			}
		}
	}
}

// Batches ranges over the batches until the stream ends. A batch is valid for
// one round of the loop. Leaving the loop early cancels the stream. An error is
// the last element.
func (s *ProducerStream[Row]) Batches() iter.Seq2[*wire.Batch, error] {
	return func(yield func(*wire.Batch, error) bool) {
		left := true // also when the loop's body panics
		defer func() {
			if left {
				grace, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), cancelGrace)
				defer cancel()
				_ = s.s.Cancel(grace) // best effort: the caller has left
			}
		}()
		for {
			tick := wire.EmptyBatch(wire.EmptySchema(), s.tick)
			b, err := s.s.Turn(s.ctx, &tick)
			if err == io.EOF { //nolint:errorlint // the end of the stream, by identity
				left = false
				return
			}
			if err == nil {
				s.got = b.Meta
			}
			if !yield(b, err) {
				return
			}
			if err != nil {
				left = false
				return
			}
		}
	}
}

// Cancel tells the server to stop producing.
func (s *ProducerStream[Row]) Cancel() error { return s.s.Cancel(s.ctx) }

// Close ends the stream. Closing again does nothing.
func (s *ProducerStream[Row]) Close() error { return s.s.Close(s.ctx) }

// rowsOf decodes a batch into rows.
func rowsOf[Row any](plan *codec.Plan, b *wire.Batch) ([]Row, error) {
	if plan == nil {
		return nil, Errorf(FailedPrecondition, "the stream's rows are Dynamic: range over Batches")
	}
	if err := here(b); err != nil {
		return nil, err
	}
	bound, err := plan.Bind(b.Schema)
	if err == nil {
		err = plan.RowsBound(b)
	}
	if err != nil {
		return nil, transportError(err)
	}
	rows := make([]Row, b.Rows)
	if err := bound.DecodeRows(b, unsafe.Pointer(unsafe.SliceData(rows)), len(rows)); err != nil {
		return nil, transportError(err)
	}
	return rows, nil
}

// Open starts the stream and returns it. The caller closes it.
func (m *Exchange[P, In, Out]) Open(ctx context.Context, c *Client, params P) (*ExchangeStream[In, Out], error) {
	s, err := openStreamOf(ctx, c, m.Method, &params)
	if err != nil {
		return nil, err
	}
	return &ExchangeStream[In, Out]{ctx: ctx, s: s, m: m.Method}, nil
}

// OpenHeader is [Exchange.Open], and returns the stream's header.
func (m *HeaderExchange[P, H, In, Out]) OpenHeader(ctx context.Context, c *Client, params P) (*ExchangeStream[In, Out], H, error) {
	var header H
	s, err := m.Open(ctx, c, params)
	if err == nil {
		if err = decodeOne(m.header, s.s.Header(), &header); err != nil {
			_ = s.Close() // err says why
		}
	}
	return s, header, err
}

// ExchangeStream is an open exchange stream on the caller's side: every input
// is answered with one output. It is not safe for concurrent use.
type ExchangeStream[In, Out any] struct {
	ctx  context.Context //nolint:containedctx // the call's, for Close and Cancel
	s    TurnStream
	m    *Method
	enc  codec.Encoder
	in   wire.Batch
	sent bool // in waits for a transport that takes turns whole
	meta wire.Metadata
	got  wire.Metadata
}

// SetMetadata sets the custom metadata of the inputs that follow.
func (s *ExchangeStream[In, Out]) SetMetadata(meta wire.Metadata) { s.meta = meta }

// Metadata is the custom metadata of the last answer.
func (s *ExchangeStream[In, Out]) Metadata() wire.Metadata { return s.got }

// Stream is the stream as the transport carries it.
func (s *ExchangeStream[In, Out]) Stream() TurnStream { return s.s }

// Exchange sends rows as one batch and returns the rows of the answer. It returns
// io.EOF when the stream is over, by whomever it was ended.
func (s *ExchangeStream[In, Out]) Exchange(ctx context.Context, rows ...In) ([]Out, error) {
	if err := s.encode(rows); err != nil {
		return nil, err
	}
	out, err := s.ExchangeBatch(ctx, &s.in)
	if err != nil {
		return nil, err
	}
	return rowsOf[Out](s.m.output, out)
}

// encode makes the batch of rows to send.
func (s *ExchangeStream[In, Out]) encode(rows []In) error {
	switch {
	case s.m.input == nil:
		return Errorf(FailedPrecondition, "the input of %s is Dynamic: send batches", s.m)
	case s.sent:
		return errSentTwice
	}
	s.enc.Reset()
	s.in = wire.Batch{}
	if err := encodeRows(s.m.input, &s.enc, rows, &s.in); err != nil {
		return err
	}
	s.in.Meta = s.meta
	return nil
}

// Send sends rows as one batch, and [ExchangeStream.Recv] returns the rows of the
// answer. They alternate. Over HTTP the rows are sent by Recv.
func (s *ExchangeStream[In, Out]) Send(ctx context.Context, rows ...In) error {
	if err := s.encode(rows); err != nil {
		return err
	}
	return s.SendBatch(ctx, &s.in)
}

// Recv returns the rows of the answer to what was sent.
func (s *ExchangeStream[In, Out]) Recv(ctx context.Context) ([]Out, error) {
	out, err := s.RecvBatch(ctx)
	if err != nil {
		return nil, err
	}
	return rowsOf[Out](s.m.output, out)
}

// ExchangeBatch sends a batch and returns the answer, which is valid until the
// next use of the stream.
func (s *ExchangeStream[In, Out]) ExchangeBatch(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	if s.sent {
		return nil, errSentTwice
	}
	out, err := s.s.Turn(ctx, in)
	if err == nil {
		s.got = out.Meta
	}
	return out, err
}

// Allocator gives memory to build the next input in: where batches go through shared
// memory and are not copied, that memory, so that the input need not be copied to be
// sent; elsewhere, and between a Send and its Recv, the Go heap. It has no particular
// contents. A batch that was built there is gone when it has been sent, or the
// attempt has failed, or the stream has ended: to touch it later may end the process,
// and whoever sends it again builds it again. An arrow-go builder keeps its
// allocator: each input wants a new one. The server sees what is written there at
// once, and may write there too.
func (s *ExchangeStream[In, Out]) Allocator() memory.Allocator {
	for stream := s.s; !s.sent; {
		if building, ok := stream.(interface{ Allocator() memory.Allocator }); ok {
			return building.Allocator()
		}
		wrapped, ok := stream.(interface{ Unwrap() TurnStream })
		if !ok {
			break
		}
		stream = wrapped.Unwrap()
	}
	return memory.DefaultAllocator
}

// SendBatch is [ExchangeStream.Send] for a batch, which must stay as it is until
// the answer was received.
func (s *ExchangeStream[In, Out]) SendBatch(ctx context.Context, in *wire.Batch) error {
	if s.sent {
		return errSentTwice
	}
	if half, ok := s.s.(HalfStream); ok {
		return half.Send(ctx, in)
	}
	s.in, s.sent = *in, true
	return nil
}

// RecvBatch is [ExchangeStream.Recv] for a batch, which is valid until the next
// use of the stream.
func (s *ExchangeStream[In, Out]) RecvBatch(ctx context.Context) (out *wire.Batch, err error) {
	if half, ok := s.s.(HalfStream); ok {
		out, err = half.Recv(ctx)
	} else if s.sent {
		s.sent = false
		out, err = s.s.Turn(ctx, &s.in)
	} else {
		err = errNotSent
	}
	if err == nil {
		s.got = out.Meta
	}
	return out, err
}

// Cancel tells the server to stop, and closes the stream.
func (s *ExchangeStream[In, Out]) Cancel() error { return s.s.Cancel(s.ctx) }

// Close ends the stream. Closing again does nothing.
func (s *ExchangeStream[In, Out]) Close() error { return s.s.Close(s.ctx) }
