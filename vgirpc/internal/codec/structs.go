package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// member is a field of a Go struct and the column that it travels in.
type member struct {
	name   string
	codec  codec
	column int                  // among its siblings; -1 when there is none
	offset uintptr              // in the struct
	absent func(unsafe.Pointer) // writes the default, where there is no column
}

// members are the fields of a struct, in the order of its columns.
type members []member

func (m members) decode(d *reading, cols []wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if n == 0 {
		return nil
	}
	for i := range m {
		f := &m[i]
		p := unsafe.Add(dst, f.offset)
		if f.column < 0 {
			for j := range n {
				f.absent(add(p, j, stride))
			}
			continue
		}
		if f.column >= len(cols) {
			return malformed("%d columns where more are needed", len(cols))
		}
		if err := f.codec.decode(d, &cols[f.column], at, n, p, stride); err != nil {
			return inField(err, f.name)
		}
	}
	return nil
}

func (m members) encode(e *Encoder, cols []wire.Column, s source) error {
	for i := range m {
		if err := m[i].codec.encode(e, &cols[i], s.field(m[i].offset)); err != nil {
			return inField(err, m[i].name)
		}
	}
	return nil
}

func (m members) traits() traits {
	var all traits
	for i := range m {
		if m[i].column < 0 {
			continue
		}
		t := m[i].codec.traits()
		all.holds = all.holds || t.holds
		all.dicts = all.dicts || t.dicts
		all.bits += t.bits
	}
	return all
}

// structure maps a Go struct to struct<…>.
type structure struct{ members members }

func (s *structure) traits() traits { return s.members.traits() }

func (s *structure) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	return s.members.decode(d, c.Children, at, n, dst, stride)
}

func (s *structure) encode(e *Encoder, c *wire.Column, src source) error {
	c.Rows, c.Children = src.n, e.cols(len(s.members))
	return s.members.encode(e, c.Children, src)
}
