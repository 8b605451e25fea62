package vgirpc

import (
	"context"
	"strings"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Offload moves batches out of band: what is placed travels as a pointer, and
// a pointer that arrives is resolved to the batch it stands for. Every
// transport may use one (WIRE_PROTOCOL section 12). Its methods may be called
// at once.
type Offload interface {
	// Place offers one output cycle on schema: its log batches and its data
	// batch, in the order in which they would be written. It returns what to
	// write instead, which is the cycle itself when nothing leaves, or a single
	// pointer batch. uploaded is how many bytes left, 0 when none did. budget
	// bounds them; a negative budget is unbounded. A cycle over it is refused
	// before anything leaves, with an error of code RESOURCE_EXHAUSTED. The
	// batches are borrowed.
	Place(ctx context.Context, schema *wire.Schema, cycle []wire.Batch, budget int64) (placed []wire.Batch, uploaded int64, err error)

	// Resolve returns the batch that pointer, of kind [wire.KindExternal],
	// stands for. Its schema must be equal to expect; nil asks for the
	// pointer's own. Every log batch that travelled with it is given to onLog,
	// in order, before Resolve returns; nil drops them. An EXCEPTION batch
	// becomes the error of that call. The result is valid until release is
	// called; release is never nil, and may be called again.
	Resolve(ctx context.Context, pointer *wire.Batch, expect *wire.Schema, onLog func(wire.Metadata)) (b *wire.Batch, release func(), err error)
}

// ExternalRef names an object that was published before the call whose result
// it is: an Arrow IPC stream of the method's result schema with exactly one
// batch of one row. It is answered as a pointer, whatever the threshold and
// with or without storage, and never inlined (WIRE_PROTOCOL section 12,
// "Pre-published references").
//
// Whoever returns one owns the object's life and decides who may read it.
type ExternalRef struct {
	Location string // URL of the object
	SHA256   string // 64 lowercase hex digits over the uncompressed stream; "" sends none
}

// Validate reports a reference that must not be sent.
func (r ExternalRef) Validate() error {
	if r.Location == "" {
		return Errorf(InvalidArgument, "external reference without a location")
	}
	if r.SHA256 != "" && (len(r.SHA256) != 64 || strings.Trim(r.SHA256, "0123456789abcdef") != "") {
		return Errorf(InvalidArgument, "digest of an external reference: want 64 lowercase hex digits")
	}
	return nil
}

// Pointer is the zero-row batch on schema that stands for the object.
func (r ExternalRef) Pointer(schema *wire.Schema) wire.Batch {
	meta := wire.Metadata{{Key: wire.KeyLocation, Value: r.Location}}
	if r.SHA256 != "" {
		meta = append(meta, wire.Pair{Key: wire.KeyLocationSHA256, Value: r.SHA256})
	}
	return wire.EmptyBatch(schema, meta)
}

// RemoteError is the error that an EXCEPTION batch carries, for transports and
// offloads of other packages: [IsRemote] holds for it.
func RemoteError(meta wire.Metadata) *Error { return remoteError(meta) }
