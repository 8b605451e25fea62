package vgirpc

import (
	"context"
	"errors"

	"github.com/vgirpc/vgirpc-go/wire"
)

// resolver is a transport whose results, headers and outputs are never pointers:
// what they stand for is fetched (WIRE_PROTOCOL section 12).
type resolver struct {
	Transport

	offload Offload
}

// Call implements [Transport].
func (t resolver) Call(ctx context.Context, req *ClientRequest) (*wire.Batch, func(), error) {
	b, release, err := t.Transport.Call(ctx, req)
	if err != nil || b.Kind() != wire.KindExternal {
		return b, release, err
	}
	defer release()
	return t.offload.Resolve(ctx, b, nil, req.OnLog)
}

// Open implements [Transport].
func (t resolver) Open(ctx context.Context, req *ClientRequest) (TurnStream, error) {
	s, err := t.Transport.Open(ctx, req)
	if err != nil {
		return nil, err
	}
	r := &resolvedStream{TurnStream: s, offload: t.offload, onLog: req.OnLog, header: s.Header(), free: func() {}}
	if r.header == nil || r.header.Kind() != wire.KindExternal {
		return r, nil
	}
	if r.header, r.free, err = t.offload.Resolve(ctx, r.header, nil, req.OnLog); err != nil {
		return nil, errors.Join(err, s.Cancel(ctx))
	}
	return r, nil
}

// resolvedStream is a stream whose batches are never pointers.
type resolvedStream struct {
	TurnStream

	offload Offload
	onLog   func(wire.Metadata)
	header  *wire.Batch
	free    func() // gives back the last batch that was resolved
}

// Unwrap returns the stream as the transport carries it.
func (s *resolvedStream) Unwrap() TurnStream { return s.TurnStream }

// Header implements [TurnStream].
func (s *resolvedStream) Header() *wire.Batch { return s.header }

// Turn implements [TurnStream].
func (s *resolvedStream) Turn(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	s.free()
	s.free = func() {}
	pointer, err := s.TurnStream.Turn(ctx, in)
	if err != nil || pointer.Kind() != wire.KindExternal {
		return pointer, err
	}
	b, free, err := s.offload.Resolve(ctx, pointer, nil, s.onLog)
	if err != nil {
		_ = s.TurnStream.Cancel(ctx) // err says why
		return nil, err
	}
	s.free = free
	if inner, ok := s.TurnStream.(ResolvedStream); ok {
		inner.Resolved(b)
	}
	return b, nil
}

// Cancel implements [TurnStream].
func (s *resolvedStream) Cancel(ctx context.Context) error {
	s.free()
	return s.TurnStream.Cancel(ctx)
}

// Close implements [TurnStream].
func (s *resolvedStream) Close(ctx context.Context) error {
	s.free()
	return s.TurnStream.Close(ctx)
}

// ResolvedStream is a [TurnStream] that has to see what a pointer stood for: its
// server may have stored the stream's state with the batch.
type ResolvedStream interface {
	TurnStream
	// Resolved is told of the batch that the pointer of the last turn stood for,
	// and may change its metadata.
	Resolved(b *wire.Batch)
}
