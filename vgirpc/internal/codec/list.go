package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// sliceHeader is the memory of a slice.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

// aliaser is a codec whose column can be a Go slice without being copied.
type aliaser interface {
	alias(c *wire.Column, at, n int) (unsafe.Pointer, error)
}

// list maps []T to list (O is int32) or large_list (int64).
type list[O offset] struct{ elems elements }

func (l *list[O]) traits() traits {
	t := l.elems.codec.traits()
	_, aliases := l.elems.codec.(aliaser)
	width := int(unsafe.Sizeof(O(0)))
	return traits{holds: t.holds || aliases, dicts: t.dicts, bits: 8 * width, offsets: width}
}

func (l *list[O]) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if n == 0 {
		return nil
	}
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	offs, child, err := l.spans(c, at, n)
	if err != nil {
		return err
	}
	base := offs[0]
	p, err := l.items(d, child, int(base), int(offs[n]-base))
	if err != nil {
		return inItem(err)
	}
	for i := range n {
		k := int(offs[i+1] - offs[i])
		*(*sliceHeader)(add(dst, i, stride)) = sliceHeader{l.cut(p, int(offs[i]-base), k), k, k}
	}
	return nil
}

func (l *list[O]) spans(c *wire.Column, at, n int) ([]O, *wire.Column, error) {
	if len(c.Children) != 1 {
		return nil, nil, malformed("a list of %d columns", len(c.Children))
	}
	child := &c.Children[0]
	offs, err := cells[O](c.Offsets, at, n+1)
	if err == nil {
		err = checkSpans(offs, child.Rows)
	}
	return offs, child, err
}

// items decodes elements at to at+n into memory of their own, or leaves large
// numbers where they are when the batch may be kept.
func (l *list[O]) items(d *reading, c *wire.Column, at, n int) (unsafe.Pointer, error) {
	if a, ok := l.elems.codec.(aliaser); ok && d.owned && uintptr(n)*l.elems.size >= inline {
		return a.alias(c, at, n)
	}
	p, err := l.elems.room(c, n)
	if err != nil || n == 0 {
		return p, err
	}
	return p, l.elems.codec.decode(d, c, at, n, p, l.elems.size)
}

// cut is the address of element i, which is not there when n is 0.
func (l *list[O]) cut(p unsafe.Pointer, i, n int) unsafe.Pointer {
	if n == 0 {
		return unsafe.Pointer(&noElements)
	}
	return add(p, i, l.elems.size)
}

// noElements is where slices without elements point: they are empty, not nil.
var noElements [0]uint64

func (l *list[O]) encode(e *Encoder, c *wire.Column, s source) error {
	mark := len(e.runs)
	defer e.pop(mark)
	p, offs := fresh[O](e, s.n+1)
	c.Rows, c.Offsets = s.n, p
	offs[0] = 0
	total, row := 0, 0
	for _, r := range s.runs {
		for i := range r.n {
			if r.p != nil {
				v := *(*sliceHeader)(unsafe.Add(add(r.p, i, s.stride), s.off))
				if v.len > 0 {
					e.push(v.data, v.len)
					total += v.len
				}
			}
			row++
			offs[row] = O(total)
		}
		if err := checkSize[O](total); err != nil {
			return err
		}
	}
	c.Children = e.cols(1)
	if len(e.runs) == mark {
		e.push(nil, 0)
	}
	err := l.elems.codec.encode(e, &c.Children[0], source{runs: e.runs[mark:], n: total, stride: l.elems.size, lent: true})
	return inItem(err)
}
