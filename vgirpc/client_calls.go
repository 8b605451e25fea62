package vgirpc

import (
	"context"
	"errors"
	"io"
	"iter"
	"unsafe"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// prepare encodes the parameters of a call.
func prepare[P any](ctx context.Context, c *Client, m *Method, params *P) (*ClientRequest, error) {
	req := c.request(ctx, m)
	var enc codec.Encoder
	if err := encodeOne(m.params, &enc, params, &req.Batch); err != nil {
		return nil, err
	}
	req.Batch.Rows = 1
	req.Batch.Meta = m.RequestMetadata()
	return req, nil
}

// RequestMetadata is the metadata of every request of m (WIRE_PROTOCOL section
// 5).
func (m *Method) RequestMetadata() wire.Metadata {
	meta := make(wire.Metadata, 0, 4)
	meta = append(meta,
		wire.Pair{Key: wire.KeyMethod, Value: m.name},
		wire.Pair{Key: wire.KeyProtocol, Value: m.protocol.name},
		wire.Pair{Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
	)
	if m.protocol.version != "" {
		meta = append(meta, wire.Pair{Key: wire.KeyProtocolVersion, Value: m.protocol.version})
	}
	return meta
}

// Call calls the method and returns its result.
func (m *Unary[P, R]) Call(ctx context.Context, c *Client, params P) (R, error) {
	var result R
	req, err := prepare(ctx, c, m.Method, &params)
	if err != nil {
		return result, err
	}
	b, release, err := c.transport.Call(ctx, req)
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
	if b.Rows != 1 {
		return &Error{Code: Internal, Type: "ProtocolError", Message: "reply batch does not have exactly one row"}
	}
	bound, err := plan.Bind(b.Schema)
	if err != nil {
		return err
	}
	return bound.Decode(b, 0, unsafe.Pointer(into))
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
			err = errors.Join(err, s.Close())
		}
	}
	return s, header, err
}

func openStreamOf[P any](ctx context.Context, c *Client, m *Method, params *P) (TurnStream, error) {
	req, err := prepare(ctx, c, m, params)
	if err != nil {
		return nil, err
	}
	return c.transport.Open(ctx, req)
}

// ProducerStream is an open producer stream on the caller's side. It is not safe
// for concurrent use.
type ProducerStream[Row any] struct {
	ctx context.Context //nolint:containedctx // the call's, for the iterators
	s   TurnStream
	m   *Method
}

// All ranges over the rows of each batch until the stream ends. Leaving the
// loop early cancels the stream. An error is the last element.
func (s *ProducerStream[Row]) All() iter.Seq2[[]Row, error] {
	return func(yield func([]Row, error) bool) {
		for b, err := range s.Batches() {
			var rows []Row
			if err == nil {
				rows, err = rowsOf[Row](s.m.output, b)
			}
			if !yield(rows, err) {
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
		tick := wire.EmptyBatch(wire.EmptySchema(), nil)
		for {
			b, err := s.s.Turn(s.ctx, &tick)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(b, err) {
				_ = s.s.Cancel(context.WithoutCancel(s.ctx)) // best effort: the caller has left
				return
			}
			if err != nil {
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
	bound, err := plan.Bind(b.Schema)
	if err != nil {
		return nil, err
	}
	if err := plan.RowsBound(b); err != nil {
		return nil, err
	}
	rows := make([]Row, b.Rows)
	return rows, bound.DecodeRows(b, unsafe.Pointer(unsafe.SliceData(rows)), len(rows))
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
			err = errors.Join(err, s.Close())
		}
	}
	return s, header, err
}

// ExchangeStream is an open exchange stream on the caller's side: every input
// is answered with one output. It is not safe for concurrent use.
type ExchangeStream[In, Out any] struct {
	ctx context.Context //nolint:containedctx // the call's, for Close and Cancel
	s   TurnStream
	m   *Method
	enc codec.Encoder
}

// Exchange sends rows as one batch and returns the rows of the answer.
func (s *ExchangeStream[In, Out]) Exchange(ctx context.Context, rows ...In) ([]Out, error) {
	if s.m.input == nil {
		return nil, Errorf(FailedPrecondition, "the input of %s is Dynamic: use ExchangeBatch", s.m)
	}
	s.enc.Reset()
	var in wire.Batch
	if err := encodeRows(s.m.input, &s.enc, rows, &in); err != nil {
		return nil, err
	}
	out, err := s.s.Turn(ctx, &in)
	if err != nil {
		return nil, err
	}
	return rowsOf[Out](s.m.output, out)
}

// ExchangeBatch sends a batch and returns the answer, which is valid until the
// next use of the stream.
func (s *ExchangeStream[In, Out]) ExchangeBatch(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	return s.s.Turn(ctx, in)
}

// Cancel tells the server to stop, and closes the stream.
func (s *ExchangeStream[In, Out]) Cancel() error { return s.s.Cancel(s.ctx) }

// Close ends the stream. Closing again does nothing.
func (s *ExchangeStream[In, Out]) Close() error { return s.s.Close(s.ctx) }
