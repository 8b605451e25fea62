package vgirpc

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// Field is one column of a method's contract as a page, a gateway or a command
// line needs it: what the schema says, and what only the Go type knows.
type Field struct {
	arrow.Field
	// Default is a column of one row that stands for the field when it is left
	// out, and nil where it has no default. DefaultText is how it was declared.
	Default     arrow.Array
	DefaultText string
	// Packed lists the fields of a struct that travels as an IPC stream of one
	// row inside a binary column (WIRE_PROTOCOL section 4), PackedSchema is the
	// schema of that stream. Both are nil for everything else.
	Packed       []Field
	PackedSchema *wire.Schema
	// Enum lists the names that the field can have, when its type is an enum.
	Enum []string
}

// Options are what the protocol was declared with.
func (p *Protocol) Options() ProtocolOptions { return p.info }

// ParamsSchema is the schema of a request of m.
func (m *Method) ParamsSchema() *wire.Schema { return m.params.Schema() }

// ResultSchema is the schema of a unary result, nil for void methods and for
// streams.
func (m *Method) ResultSchema() *wire.Schema { return m.resultSchema() }

// HeaderSchema is the schema of a stream's header, nil without one.
func (m *Method) HeaderSchema() *wire.Schema { return m.headerSchema() }

// InputSchema is the schema of an exchange's input, nil when it takes batches
// of any schema, and for all other methods.
func (m *Method) InputSchema() *wire.Schema {
	if m.input == nil {
		return nil
	}
	return m.input.Schema()
}

// OutputSchema is the schema of a stream's output, nil when each call chooses
// one, and for unary methods.
func (m *Method) OutputSchema() *wire.Schema {
	if m.output == nil {
		return nil
	}
	return m.output.Schema()
}

// ParamFields describes the parameters of m in their order. It compiles types:
// call it once and keep what it returns.
func (m *Method) ParamFields() ([]Field, error) { return fieldsOf(m.params) }

// ResultFields describes the result of a unary method: one field, or none when
// the method is void or a stream. As [Method.ParamFields], it is not cheap.
func (m *Method) ResultFields() ([]Field, error) {
	if !m.HasReturn() {
		return nil, nil
	}
	return fieldsOf(m.result)
}

func fieldsOf(plan *codec.Plan) ([]Field, error) {
	var out []Field
	for _, f := range plan.Fields() {
		field := Field{Field: f.Arrow, DefaultText: f.Default, Enum: enumNames(f.Type)}
		if t := packedStruct(f); t != nil {
			inner, err := codec.Compile(t, codec.Row)
			if err != nil {
				return nil, fmt.Errorf("vgirpc: field %s: %w", f.Name, err)
			}
			if field.Packed, err = fieldsOf(inner); err != nil {
				return nil, err
			}
			field.PackedSchema = inner.Schema()
		}
		if f.HasDefault {
			var err error
			if field.Default, err = defaultColumn(f); err != nil {
				return nil, fmt.Errorf("vgirpc: default of field %s: %w", f.Name, err)
			}
		}
		out = append(out, field)
	}
	return out, nil
}

// packedStruct is the struct type whose values f holds as IPC streams, or nil.
func packedStruct(f codec.Field) reflect.Type {
	if id := f.Arrow.Type.ID(); id != arrow.BINARY && id != arrow.LARGE_BINARY {
		return nil
	}
	t := f.Type
	switch t {
	case reflect.TypeFor[*arrow.Schema](), reflect.TypeFor[*wire.Schema]():
		return nil // a schema message, not a row
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

func enumNames(t reflect.Type) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if enum, ok := reflect.TypeAssert[codec.Enum](reflect.New(t)); ok {
		return slices.Clone(enum.EnumNames())
	}
	return nil
}

// defaultColumn encodes the default of f, by way of a struct that has no other
// field: the zero values of f's neighbours need not be encodable.
func defaultColumn(f codec.Field) (arrow.Array, error) {
	token, err := typetoken.Of(f.Arrow.Type)
	if err != nil {
		return nil, err
	}
	nulls := "notnull"
	if f.Arrow.Nullable {
		nulls = "nullable"
	}
	tag := "vgi:" + strconv.Quote("value,type="+token+","+nulls+",default="+strconv.Quote(f.Default))
	t := reflect.StructOf([]reflect.StructField{{Name: "Value", Type: f.Type, Tag: reflect.StructTag(tag)}})
	plan, err := codec.Compile(t, codec.Params)
	if err != nil {
		return nil, err
	}
	value := reflect.New(t).UnsafePointer()
	plan.SetDefault(0, value)
	var enc codec.Encoder
	var b wire.Batch
	if err := plan.Encode(&enc, value, 1, &b); err != nil {
		return nil, err
	}
	rec, err := b.Record()
	if err != nil {
		return nil, err
	}
	return rec.Column(0), nil
}
