package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// optional maps *T: a null is nil. With required, a null and a nil are errors.
type optional struct {
	elems    elements // T
	required bool
	offsets  int
}

func (o *optional) traits() traits { return o.elems.codec.traits() }

func (o *optional) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if c.Nulls == 0 || o.required {
		return o.values(d, c, at, n, dst, stride)
	}
	if err := rising(c, at, n, o.offsets); err != nil {
		return err
	}
	for row, end := at, at+n; row < end; {
		from := nextValid(c, row, end)
		for i := row; i < from; i++ {
			*(*unsafe.Pointer)(add(dst, i-at, stride)) = nil
		}
		row = nextNull(c, from, end)
		if row > from {
			if err := o.values(d, c, from, row-from, add(dst, from-at, stride), stride); err != nil {
				return err
			}
		}
	}
	return nil
}

// values decodes rows without nulls. The values of one call lie side by side
// in one piece of memory.
func (o *optional) values(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if n == 0 {
		return nil
	}
	p, err := o.elems.room(c, n)
	if err != nil {
		return err
	}
	if err := o.elems.codec.decode(d, c, at, n, p, o.elems.size); err != nil {
		return err
	}
	for i := range n {
		*(*unsafe.Pointer)(add(dst, i, stride)) = add(p, i, o.elems.size)
	}
	return nil
}

func (o *optional) encode(e *Encoder, c *wire.Column, s source) error {
	mark := len(e.runs)
	defer e.pop(mark)
	nulls, row := 0, 0
	for _, r := range s.runs {
		if r.p == nil {
			e.push(nil, r.n)
			nulls += r.n
			row += r.n
			continue
		}
		for i := range r.n {
			p := *(*unsafe.Pointer)(unsafe.Add(add(r.p, i, s.stride), s.off))
			if p == nil {
				if o.required {
					return nullError(row + i)
				}
				nulls++
			}
			e.push(p, 1)
		}
		row += r.n
	}
	runs := e.runs[mark:]
	if err := o.elems.codec.encode(e, c, source{runs: runs, n: s.n, stride: o.elems.size}); err != nil {
		return err
	}
	if nulls > 0 && !o.required {
		markNulls(e, c, runs, nulls)
	}
	return nil
}

// markNulls gives c a bitmap that marks the rows of absent runs as null.
func markNulls(e *Encoder, c *wire.Column, runs []run, nulls int) {
	c.Nulls, c.Validity = nulls, e.bitmap(c.Rows)
	row := 0
	for _, r := range runs {
		if r.p != nil {
			for i := range r.n {
				setBit(c.Validity, row+i)
			}
		}
		row += r.n
	}
}

// nilable maps a slice, map, interface or special pointer whose column is
// nullable: nil is null.
type nilable struct {
	elem    codec
	size    uintptr
	offsets int
}

func (v *nilable) traits() traits { return v.elem.traits() }

func (v *nilable) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if c.Nulls == 0 {
		return v.elem.decode(d, c, at, n, dst, stride)
	}
	if err := rising(c, at, n, v.offsets); err != nil {
		return err
	}
	for row, end := at, at+n; row < end; {
		from := nextValid(c, row, end)
		for i := row; i < from; i++ {
			v.setNil(add(dst, i-at, stride))
		}
		row = nextNull(c, from, end)
		if row > from {
			if err := v.elem.decode(d, c, from, row-from, add(dst, from-at, stride), stride); err != nil {
				return err
			}
		}
	}
	return nil
}

// setNil clears one value, by its size: a map or pointer, an interface, a
// slice.
func (v *nilable) setNil(p unsafe.Pointer) {
	switch v.size {
	case unsafe.Sizeof(unsafe.Pointer(nil)):
		*(*unsafe.Pointer)(p) = nil
	case unsafe.Sizeof(any(nil)):
		*(*[2]unsafe.Pointer)(p) = [2]unsafe.Pointer{}
	default:
		*(*sliceHeader)(p) = sliceHeader{}
	}
}

func (v *nilable) encode(e *Encoder, c *wire.Column, s source) error {
	mark := len(e.runs)
	defer e.pop(mark)
	nulls := 0
	for _, r := range s.runs {
		if r.p == nil {
			e.push(nil, r.n)
			nulls += r.n
			continue
		}
		for i := range r.n {
			p := unsafe.Add(add(r.p, i, s.stride), s.off)
			if *(*unsafe.Pointer)(p) == nil {
				p = nil
				nulls++
			}
			e.push(p, 1)
		}
	}
	runs := e.runs[mark:]
	if err := v.elem.encode(e, c, source{runs: runs, n: s.n, stride: s.stride}); err != nil {
		return err
	}
	if nulls > 0 {
		markNulls(e, c, runs, nulls)
	}
	return nil
}
