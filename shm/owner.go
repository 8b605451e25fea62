package shm

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// DefaultSize is the size of a segment, header included, in bytes.
const DefaultSize = 64 << 20

// OwnerOptions describe the segment of a client. The zero value has the defaults.
type OwnerOptions struct {
	Options

	// Size is the size of the segment in bytes, header included. 64 MiB when 0.
	// Memory is taken as it is used.
	Size int64
	// Anonymous makes a segment without a name, which only a server that receives
	// its descriptor can attach ([KeyDescriptor]). [Client] offers such a segment
	// anyway where it can, and with Anonymous no other.
	Anonymous bool
	// Named makes [Client] offer a named segment alone.
	Named bool
}

// Validate reports an option that makes no sense, by name.
func (o OwnerOptions) Validate() error {
	if o.Anonymous && o.Named {
		return errors.New("shm: OwnerOptions.Anonymous and Named exclude each other")
	}
	return o.Options.Validate()
}

// Owner is the client's side of one connection: it creates the segment, and tells
// the server of it once the server has said that it can use it.
type Owner struct {
	*Channel

	seg *Segment
}

// NewOwner creates a segment.
func NewOwner(opts OwnerOptions) (*Owner, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if opts.Size == 0 {
		opts.Size = DefaultSize
	}
	var seg *Segment
	var err error
	if opts.Anonymous {
		seg, err = CreateAnonymous(opts.Size)
	} else {
		seg, err = Create("", opts.Size)
	}
	if err != nil {
		return nil, err
	}
	c, err := NewChannel(seg, opts.Options)
	if err != nil {
		seg.discard()
		return nil, err
	}
	return &Owner{Channel: c, seg: seg}, nil
}

var _ vgirpc.SharedMemory = (*Owner)(nil)

// Request is [Owner.Begin] and [Owner.Advertise].
func (o *Owner) Request(meta wire.Metadata) (wire.Metadata, error) {
	if err := o.Begin(); err != nil {
		return meta, err
	}
	return o.Advertise(meta), nil
}

// Answers is always true: a server is told of the segment with each request.
func (o *Owner) Answers() bool { return true }

// Advertise returns the metadata of a request, meta, with the segment's name and
// size: the server may place its answer there. Nothing is added once the segment
// is broken ([Channel.Err]).
func (o *Owner) Advertise(meta wire.Metadata) wire.Metadata {
	if o.Err() != nil {
		return meta
	}
	out := make(wire.Metadata, 0, len(meta)+2)
	out = append(out, meta...)
	return append(out,
		wire.Pair{Key: wire.KeySHMSegmentName, Value: o.seg.Name()},
		wire.Pair{Key: wire.KeySHMSegmentSize, Value: strconv.FormatInt(o.seg.Size(), 10)})
}

// Begin frees everything in which no batch of the caller's lies: what was read,
// and what a call that was given up left behind. It comes before each call, while
// no other is in progress.
func (o *Owner) Begin() error {
	if err := o.Err(); err != nil {
		return err
	}
	if err := o.seg.Keep(o.lent()...); err != nil {
		o.note(err)
		return fmt.Errorf("shm: freeing what earlier calls left: %w", err)
	}
	return nil
}

// Close removes the segment. Batches that lie in it stay valid until they are
// released. It may be called again.
func (o *Owner) Close() error { return errors.Join(o.seg.Unlink(), o.seg.Close()) }
