package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// block maps [N]byte to fixed_size_binary(N).
type block struct{ size int }

func (b block) traits() traits { return traits{bits: 8 * b.size} }

func (b block) decode(_ *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	if at+n > len(c.Data)/b.size {
		return malformed("%d bytes of values where %d are needed", len(c.Data), (at+n)*b.size)
	}
	for i := range n {
		copy(bytesOf(add(dst, i, stride), b.size), c.Data[(at+i)*b.size:])
	}
	return nil
}

func (b block) encode(e *Encoder, c *wire.Column, s source) error {
	c.Rows, c.Data = s.n, e.bytes(s.n*b.size)
	rest := c.Data
	for _, r := range s.runs {
		for i := range r.n {
			if r.p == nil {
				clear(rest[:b.size])
			} else {
				copy(rest, bytesOf(unsafe.Add(add(r.p, i, s.stride), s.off), b.size))
			}
			rest = rest[b.size:]
		}
	}
	return nil
}

// sizedOctets maps []byte to fixed_size_binary(size).
type sizedOctets struct{ size int }

func (b sizedOctets) traits() traits { return traits{holds: true, bits: 8 * b.size} }

func (b sizedOctets) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	if at+n > len(c.Data)/b.size {
		return malformed("%d bytes of values where %d are needed", len(c.Data), (at+n)*b.size)
	}
	all := octetsOf(d, c.Data[at*b.size:(at+n)*b.size])
	for i := range n {
		*(*[]byte)(add(dst, i, stride)) = all[i*b.size : (i+1)*b.size : (i+1)*b.size]
	}
	return nil
}

func (b sizedOctets) encode(e *Encoder, c *wire.Column, s source) error {
	c.Rows, c.Data = s.n, e.bytes(s.n*b.size)
	row := 0
	for _, r := range s.runs {
		for i := range r.n {
			cell := c.Data[row*b.size : (row+1)*b.size]
			if r.p == nil {
				clear(cell)
			} else if v := *(*[]byte)(unsafe.Add(add(r.p, i, s.stride), s.off)); len(v) == b.size {
				copy(cell, v)
			} else {
				return valueErrorf(row, "%d bytes where exactly %d are required", len(v), b.size)
			}
			row++
		}
	}
	return nil
}

// borrowed reads []byte from the batch's memory even when that is used again.
type borrowed struct{ codec }

func (b borrowed) traits() traits {
	t := b.codec.traits()
	t.holds = false
	return t
}

func (b borrowed) decode(_ *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	return b.codec.decode(ownedReading, c, at, n, dst, stride)
}
