package codec

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// Binding is a plan applied to batches of one schema. It is immutable and safe
// for concurrent use.
type Binding struct {
	plan    *Plan
	schema  *wire.Schema
	members members
	traits  traits
}

// Bind resolves the columns of s by name, at every depth (WIRE_PROTOCOL section
// 14, "Decoding is tolerant"): columns that T does not know are ignored, and
// absent ones take their default. A column without default that is absent, or
// has another type, is a [*SchemaError]. Text may come in any layout of text,
// and bytes in any of binary. The plan remembers the last few schemas.
func (p *Plan) Bind(s *wire.Schema) (*Binding, error) { return p.bind(s) }

func (p *Plan) bind(s *wire.Schema) (*Binding, error) {
	if s == p.schema {
		return p.own, nil
	}
	for i := range p.bound {
		if b := p.bound[i].Load(); b != nil && b.schema == s {
			return b, nil
		}
	}
	if s == nil {
		return nil, &SchemaError{What: p.what, Diff: "the batch has no schema"}
	}
	b, err := p.newBinding(s)
	if err != nil {
		return nil, err
	}
	p.bound[p.next.Add(1)%boundSchemas].Store(b)
	return b, nil
}

func (p *Plan) newBinding(s *wire.Schema) (*Binding, error) {
	if p.own != nil && schemacmp.Equal(p.schema.Arrow(), s.Arrow()) {
		return &Binding{p, s, p.own.members, p.own.traits}, nil
	}
	c := compiler{level: p.level, streams: p.streams}
	members, err := c.members(p.typ, p.fields, s.Arrow().Fields())
	if err != nil {
		if compile, ok := errors.AsType[*CompileError](err); ok {
			return nil, &SchemaError{What: p.what, Diff: compile.Error()}
		}
		return nil, err
	}
	return &Binding{p, s, members, members.traits()}, nil
}

// Decode is [Plan.Decode] for a batch of the binding's schema.
func (b *Binding) Decode(batch *wire.Batch, row int, dst unsafe.Pointer) (err error) {
	defer recovered(&err)
	return b.decode(batch, row, 1, dst)
}

// DecodeRows is [Plan.DecodeRows] for a batch of the binding's schema.
func (b *Binding) DecodeRows(batch *wire.Batch, dst unsafe.Pointer, n int) (err error) {
	defer recovered(&err)
	return b.decode(batch, 0, n, dst)
}

func (b *Binding) decode(batch *wire.Batch, row, n int, dst unsafe.Pointer) error {
	if len(b.members) == 0 {
		return nil
	}
	if row < 0 || n < 0 || row+n > batch.Rows {
		return valueErrorf(-1, "rows %d to %d of a batch of %d", row, row+n, batch.Rows)
	}
	d := newReading(batch.Owned, b.traits.dicts)
	if err := b.members.decode(d, batch.Cols, row, n, dst, b.plan.size); err != nil {
		return b.plan.explain(err)
	}
	return nil
}

// explain says of what kind the columns are that err is about.
func (p *Plan) explain(err error) error {
	if value, ok := errors.AsType[*ValueError](err); ok {
		value.What = singular(p.what)
	}
	return err
}

func singular(what string) string {
	switch what {
	case "parameters":
		return "parameter"
	case "result":
		return "result"
	}
	return "field"
}

// tolerates reports whether values of type got can be read where want is
// declared. Structs are compared field by field later, by whoever decodes them.
func tolerates(want, got arrow.DataType) bool {
	if schemacmp.EqualTypes(want, got) || (isText(want) && isText(got)) || (isBytes(want) && isBytes(got)) {
		return true
	}
	switch want := want.(type) {
	case *arrow.StructType:
		return got.ID() == arrow.STRUCT
	case *arrow.MapType:
		got, ok := got.(*arrow.MapType)
		return ok && tolerates(want.KeyType(), got.KeyType()) && tolerates(want.ItemType(), got.ItemType())
	case *arrow.FixedSizeListType:
		got, ok := got.(*arrow.FixedSizeListType)
		return ok && want.Len() == got.Len() && tolerates(want.Elem(), got.Elem())
	case *arrow.ListType:
		got, ok := got.(*arrow.ListType)
		return ok && tolerates(want.Elem(), got.Elem())
	case *arrow.LargeListType:
		got, ok := got.(*arrow.LargeListType)
		return ok && tolerates(want.Elem(), got.Elem())
	}
	return false
}

func isText(t arrow.DataType) bool {
	if d, ok := t.(*arrow.DictionaryType); ok {
		return isText(d.ValueType)
	}
	return t.ID() == arrow.STRING || t.ID() == arrow.LARGE_STRING
}

func isBytes(t arrow.DataType) bool {
	return t.ID() == arrow.BINARY || t.ID() == arrow.LARGE_BINARY
}

// columnOf finds the column of a name; two of one name are an error.
func columnOf(columns []arrow.Field, name string) (int, error) {
	at := -1
	for i := range columns {
		if columns[i].Name != name {
			continue
		}
		if at >= 0 {
			return -1, fmt.Errorf("two columns are called %s", name)
		}
		at = i
	}
	return at, nil
}
