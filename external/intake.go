package external

import (
	"errors"
	"io"

	"github.com/vgirpc/vgirpc-go/wire"
)

// How the memory of an object grows, in bytes: what is announced and never
// comes must not cost memory.
const (
	firstGrowth = 1 << 20
	growth      = 16
)

// intake is one object's bytes, counted by a budget. The zero value with or
// without a budget is ready.
type intake struct {
	budget  *wire.Budget
	buf     []byte
	held    int64
	refused error // by the budget
}

// fill replaces m's bytes by all of r, at most limit. hint is how many to
// expect, 0 when that is not known.
func (m *intake) fill(r io.Reader, hint, limit int64) error {
	m.drop()
	for {
		if len(m.buf) == cap(m.buf) {
			if err := m.grow(hint, limit); err != nil {
				return err
			}
		}
		n, err := r.Read(m.buf[len(m.buf):cap(m.buf)])
		m.buf = m.buf[:len(m.buf)+n]
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
	buf := make([]byte, len(m.buf), next)
	copy(buf, m.buf)
	m.buf = buf
	return nil
}

// drop gives everything back.
func (m *intake) drop() {
	m.budget.Release(m.held)
	m.buf, m.held = nil, 0
}
