package shm

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire"
)

const (
	// leastBuilt is the size of a buffer that is worth memory of the segment.
	leastBuilt = 4 << 10
	// headRoom is for the schema and the header of the batch, in front of its body.
	headRoom = 32 << 10
)

// errNotBuilt says that a batch was not built in the segment, or cannot be left
// there: it is copied.
var errNotBuilt = errors.New("shm: the batch was not built in the segment")

// A site is memory in which the batch of one turn is built where it will lie: the
// largest gap of the segment, from the first large buffer on. It is a
// [memory.Allocator]; what it gives has no particular contents. Small buffers, what
// the gap has no room for, and whatever is asked for when the turn is over, come
// from the heap.
//
// The region is in the table until finish makes it that of the batch, or clear
// gives it back: both while the turn is held. The mapping stays until leave.
type site struct {
	seg *Segment

	mu     sync.Mutex
	open   bool   // the turn is ours: from begin to clear
	region Region // Length is 0 while nothing is taken
	lent   bool   // the mapping stays
	full   bool   // there was no gap in this turn
	mem    []byte // of the region, from where the body begins
	used   int    // bytes of mem
	last   int    // where the last buffer begins in mem
}

var _ memory.Allocator = (*site)(nil)

// heap is where everything else is built.
var heap = memory.NewGoAllocator()

// begin says that the turn is this side's.
func (s *site) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = true
}

// Allocate implements [memory.Allocator].
func (s *site) Allocate(size int) []byte {
	if size < leastBuilt {
		return heap.Allocate(size)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(size)
	if p := s.cut(size); p != nil {
		return p
	}
	return heap.Allocate(size)
}

// take takes the gap when nothing is taken yet.
func (s *site) take(size int) {
	if !s.open || s.lent || s.full {
		return
	}
	if s.full = s.seg.lend() != nil; s.full {
		return
	}
	r, err := s.seg.widest(headRoom + int64(size) + wire.EndOfStreamBytes + 7)
	if err != nil {
		s.full = true
		s.seg.giveBack()
		return
	}
	s.lent, s.region = true, r
	s.mem = s.seg.lent(r.Offset+headRoom, r.Length-headRoom)
	s.used, s.last = 0, -1
}

// cut takes size bytes off the gap, nil where there are no more.
func (s *site) cut(size int) []byte {
	at := (s.used + alignment - 1) &^ (alignment - 1)
	if s.region.Length == 0 || size > s.room()-at {
		return nil
	}
	s.last, s.used = at, at+size
	return s.mem[at:s.used:s.used]
}

// room is how much of mem a body may take: behind it are padding and the end of the
// stream.
func (s *site) room() int { return len(s.mem) - wire.EndOfStreamBytes - 7 }

// Reallocate implements [memory.Allocator]. The last buffer grows where it is.
func (s *site) Reallocate(size int, b []byte) []byte {
	if p, ok := s.resize(size, b); ok {
		return p
	}
	out := s.Allocate(size)
	copy(out, b)
	return out
}

// resize is Reallocate where nothing need be copied, or the heap does that.
func (s *site) resize(size int, b []byte) (p []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ours := s.find(b)
	switch {
	case !ours && (size < leastBuilt || size <= cap(b)):
		return heap.Reallocate(size, b), true
	case ours && size <= len(b):
		return b[:size], true
	case ours && at == s.last && size <= s.room()-at && s.region.Length > 0:
		s.used = at + size
		return s.mem[at:s.used:s.used], true
	}
	return nil, false
}

// Free implements [memory.Allocator]. It does nothing: what is freed may be of an
// earlier turn, and lie where a buffer of this one does.
func (s *site) Free([]byte) {}

// find is where a buffer begins in mem, and whether it lies there.
func (s *site) find(b []byte) (at int, ours bool) {
	if cap(b) == 0 || len(s.mem) == 0 {
		return 0, false
	}
	from := uintptr(unsafe.Pointer(unsafe.SliceData(s.mem)))
	p := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	if p < from || p-from >= uintptr(len(s.mem)) {
		return 0, false
	}
	return int(p - from), true
}

// finish makes the region that of a batch of which something was built in it: what
// else belongs to the batch is copied behind that, and schema and header in front.
// For any other batch the error is errNotBuilt, and there is room for a copy. The
// caller holds the turn.
func (s *site) finish(b *wire.Batch) (Region, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.region.Length == 0 {
		return Region{}, errNotBuilt
	}
	r, err := s.complete(b)
	if errors.Is(err, errNotBuilt) {
		used := Region{s.region.Offset, headRoom + int64(s.used)}
		if err := s.seg.narrow(s.region.Offset, used); err != nil {
			return Region{}, err
		}
		s.region, s.mem = used, nil
	}
	return r, err
}

func (s *site) complete(b *wire.Batch) (r Region, err error) {
	defer func() {
		if p := recover(); p != nil { // the peer may write while the batch is looked at
			err = segmentErrorf("batch in the segment: %v", p)
		}
	}()
	bare := *b
	bare.Meta = nil
	w := wire.NewWriter(nil)
	defer w.Discard()
	if err := w.Open(b.Schema); err != nil {
		return Region{}, err
	}
	var body int64
	err = w.Header(&bare, func(buffers [][]byte, offsets []int64) (int64, error) {
		var err error
		body, err = s.place(buffers, offsets)
		return body, err
	})
	if errors.Is(err, wire.ErrNotApart) {
		err = errNotBuilt
	}
	if err != nil {
		return Region{}, err
	}
	n := int64(w.Pending())
	if n > headRoom {
		return Region{}, errNotBuilt
	}
	copy(s.mem[body:], endOfStream[:])
	r = Region{s.region.Offset + headRoom - n, n + body + wire.EndOfStreamBytes}
	w.Redirect(&slot{s: s.seg, at: r.Offset, end: r.Offset + n})
	if err := w.Flush(); err != nil {
		return Region{}, err
	}
	if err := s.seg.narrow(s.region.Offset, r); err != nil {
		return Region{}, err
	}
	s.region = Region{} // it is the batch's
	return r, nil
}

// place says where in the body each buffer lies, after those that are elsewhere
// were copied into it, and how long the body is.
func (s *site) place(buffers [][]byte, offsets []int64) (int64, error) {
	size := 0
	for _, p := range buffers {
		size += len(p)
	}
	if s.used > size+size/2 {
		return 0, errNotBuilt // it is mostly what buffers have outgrown
	}
	built := false
	used := (s.used + 7) &^ 7
	for i, p := range buffers {
		if len(p) == 0 {
			continue
		}
		if at, ours := s.find(p); ours && at%8 == 0 && at+len(p) <= s.used {
			offsets[i], built = int64(at), true
			continue
		}
		if len(p) > s.room()-used {
			return 0, errNotBuilt
		}
		offsets[i] = int64(used)
		used += (copy(s.mem[used:], p) + 7) &^ 7
	}
	if !built {
		return 0, errNotBuilt
	}
	return int64(used), nil
}

// clear gives back a region that no batch has got, before the turn is over. The
// caller holds it.
func (s *site) clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	if s.region.Length == 0 {
		return nil
	}
	offset := s.region.Offset
	s.region = Region{}
	if err := s.seg.Free(offset); err != nil {
		return fmt.Errorf("shm: memory that was not used: %w", err)
	}
	return nil
}

// leave ends the use of the memory, after the batch was written. It returns the
// region that is still in the table, if there is one.
func (s *site) leave() (offset int64, left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lent {
		s.seg.giveBack()
	}
	offset, left = s.region.Offset, s.region.Length > 0
	s.region, s.open, s.lent, s.full, s.mem, s.used = Region{}, false, false, false, nil, 0
	return offset, left
}
