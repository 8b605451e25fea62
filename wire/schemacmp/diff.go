package schemacmp

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// A schema from a peer may be large, so a text about it is cut in both ways.
const (
	maxDifferences = 8   // differences listed before the rest is counted
	maxFieldText   = 200 // bytes of one field's text
)

// Diff says where the schema received differs from the schema expected, for an
// error message, or returns "" if they are [Equal]. It counts fields from zero:
//
//	field 1: expected b: double not null, received b: int64
//
// Fields are compared by position. Types are written as by [TypeString]. The
// text names fields and types, never data, and is at most a few kilobytes long.
func Diff(expected, received *arrow.Schema) string {
	if Equal(expected, received) {
		return ""
	}
	if expected == nil || received == nil {
		return "one of the schemas is missing"
	}
	var lines []string
	more := 0
	for i := range max(expected.NumFields(), received.NumFields()) {
		line := fieldDiff(expected, received, i)
		switch {
		case line == "":
		case len(lines) < maxDifferences:
			lines = append(lines, line)
		default:
			more++
		}
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "; ")
}

func fieldDiff(expected, received *arrow.Schema, i int) string {
	switch {
	case i >= received.NumFields():
		return fmt.Sprintf("field %d: missing %s", i, FieldString(expected.Field(i)))
	case i >= expected.NumFields():
		return fmt.Sprintf("field %d: unexpected %s", i, FieldString(received.Field(i)))
	}
	want, got := expected.Field(i), received.Field(i)
	if equalNamed(want, got) {
		return ""
	}
	return fmt.Sprintf("field %d: expected %s, received %s", i, FieldString(want), FieldString(got))
}

// FieldString writes a field as its name, its type ([TypeString]) and, where no
// nulls are allowed, "not null": "b: double not null". It is cut after 200
// bytes, and is always valid UTF-8.
func FieldString(f arrow.Field) string {
	var p printer
	p.field(f, f.Name)
	return p.String()
}

// TypeString writes a type as Arrow's C++ library and pyarrow do, which is what
// clients and the reference implementation show: "double", "string",
// "list<item: int64 not null>". It is cut after 200 bytes, and is always valid
// UTF-8. It serves people; for anything else there are the tokens of package
// typetoken.
func TypeString(t arrow.DataType) string {
	var p printer
	p.typ(t)
	return p.String()
}

// printer collects the text of one field. It stops descending when the text is
// long enough, so that a deep type costs no more than a wide one.
type printer struct{ text []byte }

func (p *printer) full() bool { return len(p.text) > maxFieldText }

// add appends text, and one byte too many when there is too much of it.
func (p *printer) add(texts ...string) {
	for _, s := range texts {
		p.text = append(p.text, s[:min(len(s), max(0, maxFieldText+1-len(p.text)))]...)
	}
}

// String returns the text, cut when it is too long. What is not UTF-8 goes, a
// character cut in two among it.
func (p *printer) String() string {
	if !p.full() {
		return strings.ToValidUTF8(string(p.text), "\uFFFD")
	}
	return strings.ToValidUTF8(string(p.text[:maxFieldText]), "") + "…"
}

func (p *printer) field(f arrow.Field, name string) {
	p.add(name, ": ")
	p.typ(f.Type)
	if !f.Nullable {
		p.add(" not null")
	}
}

// typ writes t. Its cases are the types whose text in arrow-go differs from the
// one in C++, and those that have children.
func (p *printer) typ(t arrow.DataType) {
	if p.full() {
		return
	}
	switch t := t.(type) {
	case nil:
		p.add("no type")
	case arrow.ExtensionType:
		p.add("extension<", t.ExtensionName(), ">")
	case *arrow.Float16Type:
		p.add("halffloat")
	case *arrow.Float32Type:
		p.add("float")
	case *arrow.Float64Type:
		p.add("double")
	case *arrow.StringType:
		p.add("string")
	case *arrow.LargeStringType:
		p.add("large_string")
	case *arrow.Date32Type:
		p.add("date32[day]")
	case *arrow.Date64Type:
		p.add("date64[ms]")
	case arrow.DecimalType:
		p.add(fmt.Sprintf("decimal%d(%d, %d)", t.BitWidth(), t.GetPrecision(), t.GetScale()))
	case *arrow.DictionaryType, *arrow.RunEndEncodedType:
		p.encoding(t)
	case arrow.NestedType:
		p.nested(t)
	default:
		p.add(t.String())
	}
}

func (p *printer) encoding(t arrow.DataType) {
	switch t := t.(type) {
	case *arrow.DictionaryType:
		p.add("dictionary<values=")
		p.typ(t.ValueType)
		p.add(", indices=")
		p.typ(t.IndexType)
		ordered := "0"
		if t.Ordered {
			ordered = "1"
		}
		p.add(", ordered=", ordered, ">")
	case *arrow.RunEndEncodedType:
		p.add("run_end_encoded<run_ends: ")
		p.typ(t.RunEnds())
		p.add(", values: ")
		p.typ(t.Encoded())
		p.add(">")
	}
}

func (p *printer) nested(t arrow.NestedType) {
	p.add(t.Name(), "<")
	end := ">"
	switch t := t.(type) {
	case *arrow.MapType:
		p.mapping(t)
	case *arrow.FixedSizeListType:
		p.field(t.ElemField(), "item")
		end = fmt.Sprintf(">[%d]", t.Len())
	case arrow.ListLikeType:
		p.field(t.ElemField(), "item")
	default:
		p.children(t)
	}
	p.add(end)
}

func (p *printer) mapping(t *arrow.MapType) {
	p.typ(t.KeyType())
	p.add(", ")
	p.typ(t.ItemType())
	if !t.ItemField().Nullable {
		p.add(" not null")
	}
	if t.KeysSorted {
		p.add(", keys_sorted")
	}
}

func (p *printer) children(t arrow.NestedType) {
	union, isUnion := t.(arrow.UnionType)
	for i, f := range t.Fields() {
		if i > 0 {
			p.add(", ")
		}
		if p.full() {
			return
		}
		p.field(f, f.Name)
		if isUnion {
			p.add(fmt.Sprintf("=%d", union.TypeCodes()[i]))
		}
	}
}
