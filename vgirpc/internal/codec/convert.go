package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// converted maps values that are stored in another form: A is a cell of the
// column, G the Go type.
type converted[G any, A fixed] struct {
	load  func(A) (G, string) // a reason when the cell has no value in Go
	store func(G) (A, string) // a reason when the value has no cell
}

func (converted[G, A]) traits() traits { return traits{bits: 8 * int(unsafe.Sizeof(*new(A)))} }

func (v converted[G, A]) decode(_ *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	values, err := cells[A](c.Data, at, n)
	if err != nil {
		return err
	}
	for i := range values {
		g, reason := v.load(values[i])
		if reason != "" {
			return valueErrorf(at+i, "%s", reason)
		}
		*(*G)(add(dst, i, stride)) = g
	}
	return nil
}

func (v converted[G, A]) encode(e *Encoder, c *wire.Column, s source) error {
	c.Rows = s.n
	data, out := fresh[A](e, s.n)
	c.Data = data
	row := 0
	for _, r := range s.runs {
		if r.p == nil {
			clear(out[row : row+r.n])
			row += r.n
			continue
		}
		p := unsafe.Add(r.p, s.off)
		for i := range r.n {
			cell, reason := v.store(*(*G)(add(p, i, s.stride)))
			if reason != "" {
				return valueErrorf(row, "%s", reason)
			}
			out[row] = cell
			row++
		}
	}
	return nil
}

// integer maps a Go integer to an Arrow integer of another width or sign.
type integer struct {
	from, to intKind // Go, Arrow
}

// intKind is the memory of an integer.
type intKind struct {
	size   uintptr
	signed bool
	name   string
}

// number is any 64-bit integer, signed or not.
type number struct {
	bits uint64
	neg  bool
}

func (k intKind) load(p unsafe.Pointer) number {
	var u uint64
	switch k.size {
	case 1:
		u = uint64(*(*uint8)(p))
	case 2:
		u = uint64(*(*uint16)(p))
	case 4:
		u = uint64(*(*uint32)(p))
	default:
		u = *(*uint64)(p)
	}
	if !k.signed {
		return number{bits: u}
	}
	shift := 64 - 8*k.size
	i := int64(u<<shift) >> shift
	return number{bits: uint64(i), neg: i < 0}
}

// store writes v when it fits.
func (k intKind) store(p unsafe.Pointer, v number) bool {
	bits := 8 * k.size
	switch {
	case k.signed && v.neg:
		if int64(v.bits) < -1<<(bits-1) {
			return false
		}
	case v.neg:
		return false
	case k.signed:
		if v.bits > 1<<(bits-1)-1 {
			return false
		}
	case bits < 64 && v.bits>>bits != 0:
		return false
	}
	switch k.size {
	case 1:
		*(*uint8)(p) = uint8(v.bits)
	case 2:
		*(*uint16)(p) = uint16(v.bits)
	case 4:
		*(*uint32)(p) = uint32(v.bits)
	default:
		*(*uint64)(p) = v.bits
	}
	return true
}

func (v integer) traits() traits { return traits{bits: 8 * int(v.to.size)} }

func (v integer) decode(_ *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	if at+n > len(c.Data)/int(v.to.size) {
		return malformed("%d bytes of values where %d are needed", len(c.Data), (at+n)*int(v.to.size))
	}
	size := int(v.to.size)
	p := unsafe.Pointer(unsafe.SliceData(aligned(c.Data[at*size:(at+n)*size], v.to.size)))
	for i := range n {
		if !v.from.store(add(dst, i, stride), v.to.load(add(p, i, v.to.size))) {
			return valueErrorf(at+i, "a number outside the range of %s", v.from.name)
		}
	}
	return nil
}

func (v integer) encode(e *Encoder, c *wire.Column, s source) error {
	c.Rows, c.Data = s.n, e.bytes(s.n*int(v.to.size))
	out := unsafe.Pointer(unsafe.SliceData(c.Data))
	row := 0
	for _, r := range s.runs {
		for i := range r.n {
			var value number
			if r.p != nil {
				value = v.from.load(unsafe.Add(add(r.p, i, s.stride), s.off))
			}
			if !v.to.store(add(out, row, v.to.size), value) {
				return valueErrorf(row, "a number outside the range of %s", v.to.name)
			}
			row++
		}
	}
	return nil
}
