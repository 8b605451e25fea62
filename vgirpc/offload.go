package vgirpc

import (
	"context"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Offload moves batches out of band: what is placed travels as a pointer, and
// a pointer that arrives is resolved to the batch it stands for. Every
// transport may use one (WIRE_PROTOCOL section 12). Its methods may be called
// at once.
type Offload interface {
	// Place offers one output cycle on schema: its log batches and its data
	// batch, in the order in which they would be written. It returns what to
	// write instead: the cycle itself when nothing leaves, a single pointer
	// batch, or the cycle with a pointer in the place of its data. uploaded is how many bytes left, 0 when none did. budget
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

// SharedMemory moves the batches of one connection through memory that both ends
// see (WIRE_PROTOCOL section 11). Package shm has one for servers and one for
// clients. As an Offload it keeps everything in place but large data batches,
// and resolves pointers of kind [wire.KindSHM].
type SharedMemory interface {
	Offload
	// Fetch is Resolve for a batch that lives as long as life says: with
	// [wire.Borrow] it is valid until release, and its memory is used again.
	Fetch(pointer *wire.Batch, life wire.Lifetime) (b *wire.Batch, release func(), err error)
	// Request begins a call. On a server it attaches to what the request's
	// metadata names; an error says why that cannot be used. On a client it
	// returns the metadata to send, with the segment's name, and frees what
	// earlier calls left.
	Request(meta wire.Metadata) (wire.Metadata, error)
	// Answers reports whether the answer to the request in progress may be
	// placed. It is then not stored anywhere else.
	Answers() bool
	// Turn frees what was read and released. It is called while its side holds
	// the turn, and only then.
	Turn() error
	// Allocator gives memory for the batch that this side sends next, so that it
	// need not be copied then: or the heap, where that cannot be. It is asked while
	// its side holds the turn. What it gives has no particular contents, and is
	// gone after Built, when an allocator that somebody still has gives the heap.
	Allocator() memory.Allocator
	// Built says that this batch has been sent, or never will be.
	Built()
	// Close detaches.
	Close() error
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

// AnswerWith makes ref the result of the unary call in progress, in place of the
// value that the handler returns.
func (c *Call) AnswerWith(ref ExternalRef) error {
	if c.method.kind != KindUnary || !c.method.HasReturn() {
		return Errorf(FailedPrecondition, "%s has no result to be answered by reference", c.method)
	}
	if err := ref.Validate(); err != nil {
		return err
	}
	c.ref = &ref
	return nil
}

// EncodeResult is the batch that answers a call with value, to be published. It
// refers to the memory of large strings and bytes in value.
func (m *Unary[P, R]) EncodeResult(value R) (*wire.Batch, error) {
	var enc codec.Encoder
	b := new(wire.Batch)
	err := encodeOne(m.result, &enc, &value, b)
	return b, err
}

// Fetch puts what the request's batch points to in its place, when it is a
// pointer to external storage: with the metadata that it was stored with, and
// that of the pointer behind it. What fails becomes the request's Err, and is
// returned. release gives the batch back; it is nil when there was nothing to
// fetch.
func (req *Request) Fetch(ctx context.Context, o Offload) (release func(), err error) {
	if o == nil || req.Err != nil || req.Batch.Kind() != wire.KindExternal {
		return nil, nil //nolint:nilerr,nilnil // nothing to fetch
	}
	return req.take(o.Resolve(ctx, req.Batch, nil, nil))
}

// fetchShared is Fetch for a pointer into shared memory, to a batch that lives as
// long as life says.
func (req *Request) fetchShared(m SharedMemory, life wire.Lifetime) (release func(), err error) {
	if m == nil || req.Err != nil || req.Batch.Kind() != wire.KindSHM {
		return nil, nil //nolint:nilerr,nilnil // nothing to fetch
	}
	return req.take(m.Fetch(req.Batch, life))
}

// take puts what was fetched in the place of the pointer to it.
func (req *Request) take(fetched *wire.Batch, release func(), err error) (func(), error) {
	if err != nil {
		req.Err = err
		return nil, err
	}
	meta := slices.Clone(req.Meta).Without(func(key string) bool {
		switch key {
		case wire.KeyLocation, wire.KeyLocationSHA256, wire.KeySHMOffset, wire.KeySHMLength:
			return true
		}
		return false
	})
	for _, p := range fetched.Meta {
		meta = meta.With(p.Key, p.Value)
	}
	own := *fetched
	own.Meta = meta
	req.Batch, req.Meta = &own, meta
	return release, nil
}

// Place lets one output cycle of the call leave for external storage, where the
// server has one and the cycle is large: [Offload.Place] says more. The cycle of
// a call that has failed stays as it is.
func (d *Dispatch) Place(schema *wire.Schema, cycle []wire.Batch, budget int64) (placed []wire.Batch, uploaded int64, err error) {
	return d.placeIn(d.call.server.opts.Offload, schema, cycle, budget)
}

func (d *Dispatch) placeIn(
	o Offload, schema *wire.Schema, cycle []wire.Batch, budget int64,
) (placed []wire.Batch, uploaded int64, err error) {
	if o == nil || d.err != nil || len(cycle) == 0 {
		return cycle, 0, nil // what failed goes out as it is
	}
	defer func() {
		if p := recover(); p != nil { // in a store of the program's own
			placed, uploaded, err = nil, 0, panicError(p)
		}
	}()
	return o.Place(&d.ctx, schema, cycle, budget)
}

// notHere refuses a batch that is somewhere else, where nobody could fetch it.
func notHere(b *wire.Batch) error {
	if kind := b.Kind(); kind == wire.KindSHM || kind == wire.KindExternal {
		return protocolErrorf("ProtocolError", "a pointer batch (%v), which this server was not set up to resolve", kind)
	}
	return nil
}

// RemoteError is the error that an EXCEPTION batch carries, for transports and
// offloads of other packages: [IsRemote] holds for it.
func RemoteError(meta wire.Metadata) *Error { return remoteError(meta) }
