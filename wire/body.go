package wire

import (
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Sizes at which the memory of a message body is handled differently, in bytes.
const (
	// smallBody is read into connection memory even for a caller that keeps
	// values: copying them costs less than fresh memory.
	smallBody = 4 << 10
	// firstGrowth is how much of a body must have arrived before memory for
	// all of it is taken: a forged length costs no more than that.
	firstGrowth = 1 << 20
	// growth is the factor by which memory may exceed what has arrived then.
	growth = 16
	// largeBody and larger is kept between calls only within keptBodies.
	largeBody = 1 << 20
	// keptBodies bounds the large bodies that all connections of a Budget keep.
	keptBodies = 256 << 20
	// keepFor is how many smaller messages a buffer outlives its last use.
	keepFor = 16
)

// body is the memory of one message, lent to batches. It counts the buffers of
// arrow-go records made from it: while one lives, the memory is not used again.
// It is heap memory on purpose: a record kept without being retained reads
// garbage, but never memory that is gone.
type body struct {
	buf  []byte
	refs atomic.Int64
}

// Free is called by arrow-go when a buffer over the body is released; it is
// the reason why a body is a memory.Allocator.
func (b *body) Free([]byte) { b.refs.Add(-1) }

// Allocate serves arrow-go when it grows a buffer.
func (b *body) Allocate(n int) []byte { return memory.DefaultAllocator.Allocate(n) }

// Reallocate copies to memory of its own: a body never grows.
func (b *body) Reallocate(n int, old []byte) []byte {
	out := memory.DefaultAllocator.Allocate(n)
	copy(out, old)
	b.Free(old)
	return out
}

// bodyStore is one connection's memory for borrowed bodies: one buffer that
// grows, and goes when large messages stop coming.
type bodyStore struct {
	cur  *body
	kept int64 // bytes of cur counted by the budget
	idle int   // messages since cur's size was last needed

	budget *Budget
}

// find returns the store's memory when it can take n bytes, or nil.
func (s *bodyStore) find(n int) *body {
	b := s.cur
	if b == nil || b.refs.Load() != 0 || n > cap(b.buf) {
		return nil
	}
	if cap(b.buf) > 64<<10 && n < cap(b.buf)/4 {
		if s.idle++; s.idle >= keepFor {
			s.drop()
			return nil
		}
	} else {
		s.idle = 0
	}
	b.buf = b.buf[:n]
	return b
}

// set makes buf the store's memory and lends it.
func (s *bodyStore) set(buf []byte) *body {
	s.drop()
	s.cur = &body{buf: buf}
	if n := int64(cap(buf)); n >= largeBody && s.budget.keep(n) {
		s.kept = n
	}
	return s.cur
}

// settle gives large memory back after a call, unless it may be kept.
func (s *bodyStore) settle() {
	if s.cur != nil && cap(s.cur.buf) >= largeBody && s.kept == 0 {
		s.drop()
	}
}

// drop leaves the memory to the collector.
func (s *bodyStore) drop() {
	s.budget.unkeep(s.kept)
	s.cur, s.kept, s.idle = nil, 0, 0
}
