package vgirpc

import (
	"fmt"
	"unsafe"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// The plans of package codec work on untyped memory. These functions are the
// only places that hand it to them: T is the type that the plan was compiled
// for, by construction of the methods that hold it.

// decodeParams decodes the parameters of a request.
func decodeParams[P any](m *Method, b *wire.Batch, into *P) error {
	if m.params.Schema().NumFields() == 0 {
		return nil
	}
	if err := m.params.Decode(b, 0, unsafe.Pointer(into)); err != nil {
		return fmt.Errorf("parameters of %s: %w", m, err)
	}
	return nil
}

// encodeOne encodes a result or a header as a batch of one row; of none when it
// has no columns.
func encodeOne[T any](plan *codec.Plan, enc *codec.Encoder, v *T, b *wire.Batch) error {
	if plan.Schema().NumFields() == 0 {
		*b = wire.Batch{Schema: plan.Schema()}
		return nil
	}
	b.Meta = nil
	return plan.Encode(enc, unsafe.Pointer(v), 1, b)
}

// encodeRows encodes rows as one batch.
func encodeRows[T any](plan *codec.Plan, enc *codec.Encoder, rows []T, b *wire.Batch) error {
	return plan.Encode(enc, unsafe.Pointer(unsafe.SliceData(rows)), len(rows), b)
}

// decodeRows decodes a batch into as many rows.
func decodeRows[T any](plan *codec.Plan, b *wire.Batch, rows []T) error {
	return plan.DecodeRows(b, unsafe.Pointer(unsafe.SliceData(rows)), len(rows))
}
