package external

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"

	"github.com/vgirpc/vgirpc-go/wire"
)

// How the memory of an object grows, in bytes: what is announced and never
// comes must not cost memory.
const (
	firstGrowth = 1 << 20
	growth      = 16
)

// piece is how much is read or copied at once, in bytes: the caches hold it until
// it is hashed. A copy of 1 MiB or more would go around them.
const piece = 512 << 10

// intake is one object's bytes, counted by a budget, with their digest. The zero
// value with or without a budget is ready.
type intake struct {
	budget  *wire.Budget
	spares  *spares // nil without
	buf     []byte
	memory  []byte // in which buf lies
	held    int64
	refused error // by the budget
	verify  bool  // take the digest
	digest  digest
}

// fill replaces m's bytes by all of r, at most limit. hint is how many to
// expect, 0 when that is not known. The digest is taken meanwhile, and finished
// by sum.
func (m *intake) fill(r io.Reader, hint, limit int64) error {
	m.drop()
	m.memory = m.spares.take(min(hint+1, limit+1))
	for {
		if len(m.buf) == cap(m.buf) {
			if err := m.grow(hint, limit); err != nil {
				return err
			}
		}
		n, err := r.Read(m.buf[len(m.buf):min(cap(m.buf), len(m.buf)+piece)])
		m.buf = m.buf[:len(m.buf)+n]
		if m.verify {
			m.digest.upTo(m.buf, err != nil)
		}
		switch {
		case int64(len(m.buf)) > limit:
			return errTooLong
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// sum waits for the digest of m's bytes.
func (m *intake) sum() []byte {
	m.digest.finish()
	return m.digest.sum
}

// grow makes room: all that is expected when enough of it has come, twice as
// much otherwise. There is always room for one byte more than expected, or the
// end would be seen only after another growth.
func (m *intake) grow(hint, limit int64) error {
	have := int64(cap(m.buf))
	next := max(2*have, 4<<10)
	if hint > 0 {
		next = max(next, min(hint+1, max(firstGrowth, growth*have)))
	}
	next = max(min(next, limit+1), have+1)
	if err := m.budget.Acquire(next - have); err != nil {
		m.refused = err
		return err
	}
	m.held += next - have
	if int64(cap(m.memory)) < next {
		memory := make([]byte, next)
		copy(memory, m.buf)
		m.memory = memory
	}
	m.buf = m.memory[:len(m.buf):next]
	return nil
}

// done forgets the bytes, of which nobody has a part. What they held stays
// counted until drop.
func (m *intake) done() {
	m.digest.finish() // which reads them
	m.spares.give(m.memory)
	m.buf, m.memory = nil, nil
}

// drop gives everything back.
func (m *intake) drop() {
	m.done()
	m.budget.Release(m.held)
	m.held, m.digest = 0, digest{}
}

// inParallel is how much is worth hashing while more comes, in bytes.
const inParallel = 256 << 10

// digest is the SHA-256 of bytes that are still arriving, taken by a goroutine
// once there are many. Its zero value is that of none.
type digest struct {
	hash   hash.Hash
	done   int // bytes that were handed over
	pieces chan []byte
	ended  chan struct{}
	sum    []byte // when it is finished
}

// upTo takes the bytes that have come to arrived since the last time, when they
// are worth it or the last. Nobody changes them before finish.
func (d *digest) upTo(arrived []byte, last bool) {
	if d.hash == nil {
		d.hash = sha256.New()
	}
	piece := arrived[d.done:]
	switch {
	case len(piece) >= inParallel:
		d.start()
		d.pieces <- piece
	case last && d.pieces != nil:
		d.pieces <- piece
	case last:
		_, _ = d.hash.Write(piece) // it never fails
	default:
		return
	}
	d.done = len(arrived)
}

func (d *digest) start() {
	if d.pieces != nil {
		return
	}
	d.pieces, d.ended = make(chan []byte, 1024), make(chan struct{})
	go func(h hash.Hash, pieces <-chan []byte, ended chan<- struct{}) {
		for p := range pieces {
			_, _ = h.Write(p) // it never fails
		}
		close(ended)
	}(d.hash, d.pieces, d.ended)
}

// finish waits for the goroutine, and leaves the digest in sum: nil of nothing.
// It may be called again.
func (d *digest) finish() {
	if d.pieces != nil {
		close(d.pieces)
		<-d.ended
		d.pieces = nil
	}
	if d.hash != nil && d.sum == nil {
		d.sum = d.hash.Sum(nil)
	}
}

// Which memory is kept for the next object, in bytes: fresh memory costs as much
// as hashing what comes into it, and giants are not worth keeping.
const (
	leastSpare = 1 << 20
	mostSpare  = 128 << 20
)

// spares keeps memory for objects until the collector wants it. Nil keeps none.
type spares struct{ pool sync.Pool }

// take returns memory without bytes, with room for n where there is such a
// spare; or else nil.
func (s *spares) take(n int64) []byte {
	if s == nil || n < leastSpare {
		return nil
	}
	p, ok := s.pool.Get().(*[]byte)
	if !ok {
		return nil
	}
	if int64(cap(*p)) < n {
		s.pool.Put(p)
		return nil
	}
	return (*p)[:0]
}

// give keeps memory that nobody uses any more.
func (s *spares) give(p []byte) {
	if s != nil && cap(p) >= leastSpare && cap(p) <= mostSpare {
		s.pool.Put(&p)
	}
}
