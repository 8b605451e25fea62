package shm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// DefaultMinBatchBytes is the size from which a batch is worth its region and its
// pointer; below, the connection is faster.
const DefaultMinBatchBytes = 128 << 10

// Options say how a [Channel] moves batches. The zero value has the defaults.
type Options struct {
	// MinBatchBytes is the size in bytes, as [wire.Batch.Bytes] counts it, from
	// which a batch leaves the connection. 128 KiB when 0; negative moves every
	// batch that has rows.
	MinBatchBytes int64
	// ZeroCopy leaves batches where they lie when the segment is sealed. Such a
	// batch, an arrow-go record made from it, retained or not, and a []byte of the
	// tag option borrow are valid until it is released and not a moment longer: to
	// touch them later may end the process, and whoever keeps a value copies it. A
	// client releases a result with the function that CallBatch returned, and a
	// stream's batch by the stream's next use; a handler's is released when it
	// returns. Everything else that is decoded is a copy, as ever. The other side
	// may write to the batch while it is read. Batches of a named segment are
	// always copied. Batches can be built in such a segment, too: see
	// [vgirpc.Call.Allocator].
	ZeroCopy bool
	// Limits bound what a stored batch may be, as on a connection.
	Limits wire.Limits
}

// Validate reports an option that makes no sense, by name.
func (o Options) Validate() error { return o.Limits.Validate() }

// MinBatchVariable is the environment variable from which programs take
// [Options.MinBatchBytes], with [ParseMinBatchBytes].
const MinBatchVariable = "VGI_RPC_SHM_MIN_BATCH_BYTES"

// ParseMinBatchBytes reads the value of [MinBatchVariable]. What is no number means the default, as it does to
// other implementations.
func ParseMinBatchBytes(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return 0
	case n <= 0:
		return -1
	}
	return n
}

// Channel moves the batches of one connection through a segment. It is a
// [vgirpc.Offload] for pointers of kind [wire.KindSHM]. Its methods may be called
// at once.
type Channel struct {
	opts Options

	mu     sync.Mutex
	seg    *Segment         // nil when there is none
	held   map[int64]*lease // regions that this side has to free, by offset
	broken error            // why nothing is placed any more
	spare  *decoder         // memory for the next batch that is borrowed
	site   *site            // where batches are built; nil as long as none was
}

var _ vgirpc.Offload = (*Channel)(nil)

// lease is one region that a peer's pointer has handed to this side.
type lease struct{ released bool }

// NewChannel returns a channel over seg, which stays the caller's.
func NewChannel(seg *Segment, opts Options) (*Channel, error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("shm: %w", err)
	}
	return &Channel{opts: opts, seg: seg}, nil
}

// Segment is the segment in use, nil when there is none.
func (c *Channel) Segment() *Segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seg
}

// Err is why nothing is placed any more: the segment's memory went away, or its
// table is not one. It is nil while all is well. A full segment is no error.
func (c *Channel) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// fit is the segment, if something may be placed in it.
func (c *Channel) fit() *Segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return nil
	}
	return c.seg
}

// Place implements [vgirpc.Offload]. Data batches with rows, and of the size that
// is worth it, are stored and replaced by their pointers; logs and everything
// else stay in the cycle. What does not fit, or cannot be stored, stays as well:
// Place does not fail. placed is cycle itself when nothing left. The caller holds
// the turn.
func (c *Channel) Place(_ context.Context, schema *wire.Schema, cycle []wire.Batch, budget int64) (placed []wire.Batch, moved int64, err error) {
	placed = cycle
	seg := c.fit()
	if seg == nil {
		return cycle, 0, nil
	}
	for i := range cycle {
		n := c.worth(&cycle[i])
		if n < 0 || (budget >= 0 && n > budget-moved) {
			continue
		}
		b := cycle[i]
		b.Schema = schema
		r, err := c.write(seg, &b)
		if err != nil {
			if c.note(err) {
				break
			}
			continue
		}
		if moved == 0 {
			placed = slices.Clone(cycle)
		}
		placed[i] = PointerBatch(schema, r, b.Meta)
		moved += r.Length
	}
	if site := c.building(); site != nil {
		c.faulted(site.clear())
	}
	return placed, moved, nil
}

// write stores a batch: where it was built, or as a copy.
func (c *Channel) write(seg *Segment, b *wire.Batch) (Region, error) {
	if site := c.building(); site != nil && site.seg == seg {
		if r, err := site.finish(b); !errors.Is(err, errNotBuilt) {
			return r, err
		}
	}
	return seg.Write(b)
}

// building is where batches are built, nil as long as none was.
func (c *Channel) building() *site {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.site
}

// Allocator implements [vgirpc.SharedMemory]: memory of the segment, with
// [Options.ZeroCopy] and where the segment is sealed. Elsewhere, when the segment is
// full, and from [Channel.Place] on, it is the Go heap.
func (c *Channel) Allocator() memory.Allocator {
	seg := c.fit()
	if seg == nil || !c.opts.ZeroCopy || !seg.Sealed() {
		return memory.DefaultAllocator
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.site == nil || c.site.seg != seg {
		c.site = &site{seg: seg}
	}
	c.site.begin()
	return c.site
}

// Built implements [vgirpc.SharedMemory].
func (c *Channel) Built() {
	site := c.building()
	if site == nil {
		return
	}
	if offset, left := site.leave(); left {
		c.hold(site.seg, offset, true) // the next turn frees it
	}
}

// worth is the size of a batch that is worth moving, -1 for one that is not.
func (c *Channel) worth(b *wire.Batch) int64 {
	if b.Rows == 0 {
		return -1
	}
	least := c.opts.MinBatchBytes
	if least == 0 {
		least = DefaultMinBatchBytes
	}
	if n := b.Bytes(); n >= least {
		return n
	}
	return -1
}

// note remembers an error that will not go away, and reports whether it is one.
func (c *Channel) note(err error) bool {
	var fault *FaultError
	var bad *SegmentError
	if !errors.As(err, &fault) && !errors.As(err, &bad) && !errors.Is(err, ErrClosed) {
		return false // it is full, or the batch cannot be encoded, and the connection will say so
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
	return true
}

// faulted remembers that memory went away. A pointer that is wrong is the peer's
// mistake, and the segment goes on.
func (c *Channel) faulted(err error) {
	if _, ok := errors.AsType[*FaultError](err); ok {
		c.note(err)
	}
}

// Resolve implements [vgirpc.Offload]. pointer is of kind [wire.KindSHM]; without
// a segment it is refused with FAILED_PRECONDITION, and a pointer that is none
// with INVALID_ARGUMENT. The batch carries the pointer's metadata, with the
// segment's name as its source in place of the region. It is a copy that may be
// kept, unless [Options.ZeroCopy] applies: then it is valid until release. The
// region is freed by the first [Channel.Turn] after its last use: for a copy that
// is now.
func (c *Channel) Resolve(
	_ context.Context, pointer *wire.Batch, expect *wire.Schema, _ func(wire.Metadata),
) (b *wire.Batch, release func(), err error) {
	return c.resolve(pointer, expect, wire.Own)
}

// Fetch implements [vgirpc.SharedMemory]: it is [Channel.Resolve], and with
// [wire.Borrow] the copy is made in memory that is used again once it is
// released. Fresh memory costs several times as much.
func (c *Channel) Fetch(pointer *wire.Batch, life wire.Lifetime) (b *wire.Batch, release func(), err error) {
	return c.resolve(pointer, nil, life)
}

func (c *Channel) resolve(
	pointer *wire.Batch, expect *wire.Schema, life wire.Lifetime,
) (b *wire.Batch, release func(), err error) {
	nothing := func() {}
	if pointer.Kind() != wire.KindSHM {
		return nil, nothing, vgirpc.Errorf(vgirpc.InvalidArgument, "pointer expected, got a batch of kind %q", pointer.Kind().String())
	}
	seg := c.Segment()
	if seg == nil {
		return nil, nothing, vgirpc.Errorf(vgirpc.FailedPrecondition, "pointer into shared memory on a connection that has none: negotiate it first")
	}
	r, err := ParsePointer(pointer.Meta)
	if err != nil {
		return nil, nothing, refusal(seg.named(err))
	}
	if expect != nil {
		if err := sameSchema(expect, pointer.Schema); err != nil {
			return nil, nothing, refusal(err)
		}
	}
	view := c.opts.ZeroCopy && seg.Sealed()
	b, free, err := c.read(seg, r, pointer.Schema, life, view)
	if err != nil {
		c.faulted(err)
		return nil, nothing, refusal(err)
	}
	if expect != nil {
		b.Schema = expect // whoever knows it by its pointer should
	}
	b.Meta = resolved(pointer.Meta, seg.Name())
	l := c.hold(seg, r.Offset, !view)
	return b, sync.OnceFunc(func() {
		free()
		c.release(l)
	}), nil
}

// read returns the batch in region r: where it lies if view says so, a copy
// otherwise.
func (c *Channel) read(seg *Segment, r Region, schema *wire.Schema, life wire.Lifetime, view bool) (*wire.Batch, func(), error) {
	if life == wire.Own && !view {
		return seg.Read(r, schema, c.opts.Limits)
	}
	c.mu.Lock()
	d := c.spare
	c.spare = nil
	c.mu.Unlock()
	if d == nil {
		d = newDecoder(c.opts.Limits)
	}
	b, giveBack, err := d.borrow(seg, r, schema, view)
	if err != nil {
		d.reader.Close()
		return nil, nil, err
	}
	return b, func() {
		giveBack()
		c.keep(d)
	}, nil
}

// keep takes a decoder back for the next batch.
func (c *Channel) keep(d *decoder) {
	d.rest()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spare == nil {
		c.spare = d
		return
	}
	d.reader.Close()
}

// hold remembers a region that is this side's to free, unless the segment went out
// of use while the batch was read: then the other side frees it.
func (c *Channel) hold(seg *Segment, offset int64, released bool) *lease {
	l := &lease{released}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seg != seg {
		return l
	}
	if c.held == nil {
		c.held = map[int64]*lease{}
	}
	c.held[offset] = l
	return l
}

func (c *Channel) release(l *lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.released = true
}

// Turn frees the regions that were read and released. The driver of the
// connection calls it while it holds the turn, and only then. A region that the
// peer has freed itself is no error.
func (c *Channel) Turn() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var failed error
	for offset, l := range c.held {
		if !l.released {
			continue
		}
		delete(c.held, offset)
		if err := c.seg.Free(offset); err != nil && !errors.Is(err, ErrNotAllocated) {
			failed = err
		}
	}
	return failed
}

// forget leaves every region to the other side.
func (c *Channel) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.held)
}

// use replaces the segment.
func (c *Channel) use(seg *Segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seg, c.broken = seg, nil
	clear(c.held)
}

// lent lists the regions in which batches still lie.
func (c *Channel) lent() (offsets []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for offset, l := range c.held {
		if l.released {
			delete(c.held, offset)
		} else {
			offsets = append(offsets, offset)
		}
	}
	return offsets
}
