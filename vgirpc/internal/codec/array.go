package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// inlineList maps [N]T to fixed_size_list(N).
type inlineList struct {
	elem codec
	size uintptr // of T
	n    int
}

func (a *inlineList) traits() traits {
	t := a.elem.traits()
	return traits{holds: t.holds, dicts: t.dicts, bits: a.n * t.bits}
}

func (a *inlineList) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	if len(c.Children) != 1 || (at+n)*a.n > c.Children[0].Rows {
		return malformed("a fixed-size list whose elements are missing")
	}
	child := &c.Children[0]
	if stride == a.size*uintptr(a.n) {
		return inItem(a.elem.decode(d, child, at*a.n, n*a.n, dst, a.size))
	}
	for i := range n {
		if err := a.elem.decode(d, child, (at+i)*a.n, a.n, add(dst, i, stride), a.size); err != nil {
			return inItem(err)
		}
	}
	return nil
}

func (a *inlineList) encode(e *Encoder, c *wire.Column, s source) error {
	mark := len(e.runs)
	defer e.pop(mark)
	for _, r := range s.runs {
		if r.p == nil {
			e.push(nil, r.n*a.n)
			continue
		}
		p := unsafe.Add(r.p, s.off)
		if s.stride == a.size*uintptr(a.n) {
			e.push(p, r.n*a.n)
			continue
		}
		for i := range r.n {
			e.push(add(p, i, s.stride), a.n)
		}
	}
	c.Rows, c.Children = s.n, e.cols(1)
	return inItem(a.elem.encode(e, &c.Children[0], source{runs: e.runs[mark:], n: s.n * a.n, stride: a.size}))
}

// sizedList maps []T to fixed_size_list(n).
type sizedList struct {
	elems elements
	n     int
}

func (l *sizedList) traits() traits {
	t := l.elems.codec.traits()
	return traits{holds: t.holds, dicts: t.dicts, bits: l.n * t.bits}
}

func (l *sizedList) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	if len(c.Children) != 1 || (at+n)*l.n > c.Children[0].Rows {
		return malformed("a fixed-size list whose elements are missing")
	}
	child := &c.Children[0]
	p, err := l.elems.room(child, n*l.n)
	if err != nil {
		return err
	}
	if err := l.elems.codec.decode(d, child, at*l.n, n*l.n, p, l.elems.size); err != nil {
		return inItem(err)
	}
	for i := range n {
		*(*sliceHeader)(add(dst, i, stride)) = sliceHeader{add(p, i*l.n, l.elems.size), l.n, l.n}
	}
	return nil
}

func (l *sizedList) encode(e *Encoder, c *wire.Column, s source) error {
	mark := len(e.runs)
	defer e.pop(mark)
	row := 0
	for _, r := range s.runs {
		for i := range r.n {
			if r.p == nil {
				e.push(nil, l.n)
			} else if v := *(*sliceHeader)(unsafe.Add(add(r.p, i, s.stride), s.off)); v.len == l.n {
				e.push(v.data, l.n)
			} else {
				return valueErrorf(row, "%d elements where exactly %d are required", v.len, l.n)
			}
			row++
		}
	}
	c.Rows, c.Children = s.n, e.cols(1)
	return inItem(l.elems.codec.encode(e, &c.Children[0], source{runs: e.runs[mark:], n: s.n * l.n, stride: l.elems.size, lent: true}))
}
