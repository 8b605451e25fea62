package codec

import (
	"math"
	"reflect"
	"sync/atomic"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// Level says what a struct-typed field is.
type Level uint8

const (
	// Params is the level of parameters and results: a struct is a binary
	// column holding an IPC stream of one row (WIRE_PROTOCOL section 4).
	Params Level = iota
	// Row is the level of stream rows, headers, and the inside of a struct
	// parameter: a struct is struct<…>.
	Row
	// state is Row for [CompileState].
	state
)

// Plan maps a Go type T to the columns of a schema. It is immutable and safe
// for concurrent use.
//
// Every pointer given to a plan must point to values of its type T.
type Plan struct {
	typ    reflect.Type
	what   string // a column of it in error texts
	fields []field
	schema *wire.Schema
	void   bool

	own     *Binding // to schema
	bound   [boundSchemas]atomic.Pointer[Binding]
	next    atomic.Uint32
	checked atomic.Pointer[wire.Schema] // the last schema that passed Check
	size    uintptr                     // of T
	streams *streams
	level   Level
}

// boundSchemas is how many foreign schemas a plan remembers.
const boundSchemas = 4

// Compile makes the plan of a struct type. It fails with a [*CompileError] that
// names type, field and what to do.
func Compile(t reflect.Type, level Level) (*Plan, error) {
	return compilePlan(t, min(level, Row))
}

// CompileResult makes the plan of a unary result: one column "result" for any
// type, or no column for struct{}. The options of a field's tag, without the
// name, may be given: "type=decimal128(20,4)".
func CompileResult(t reflect.Type, options ...string) (*Plan, error) {
	return compileResult(t, options)
}

// Untyped is the plan of columns without a Go type: it has a schema, by default
// an empty one, and neither encodes nor decodes.
func Untyped(schema *wire.Schema) *Plan {
	if schema == nil {
		schema = wire.EmptySchema()
	}
	return &Plan{schema: schema}
}

// Schema is the schema of the columns that the plan makes.
func (p *Plan) Schema() *wire.Schema { return p.schema }

// Message is the plan's schema as an IPC message, nil for no plan.
func (p *Plan) Message() []byte {
	if p == nil {
		return nil
	}
	return p.schema.Message()
}

// Borrows reports whether decoded values never refer to the batch's memory,
// but for fields that are declared borrow: the body may then be read into
// memory that is used again (wire.Borrow) without costing a copy.
func (p *Plan) Borrows() bool { return !p.own.traits.holds }

// Field describes one field of a plan's type.
type Field struct {
	Name       string // of the column
	GoName     string
	Type       reflect.Type
	Arrow      arrow.Field
	Default    string // text after default=
	HasDefault bool
}

// Fields describes the fields in the order of their columns.
func (p *Plan) Fields() []Field {
	out := make([]Field, len(p.fields))
	for i, f := range p.fields {
		out[i] = Field{f.name, f.goName, f.typ, f.arrow, f.tag.def, f.tag.hasDef}
	}
	return out
}

// SetDefault writes the default of field i into dst, a T, and reports whether
// it has one.
func (p *Plan) SetDefault(i int, dst unsafe.Pointer) bool {
	f := &p.fields[i]
	if f.absent == nil {
		return false
	}
	f.absent(unsafe.Add(dst, f.offset))
	return true
}

// Check holds s to the exact contract of parameters: number, order, names,
// types and nullability of the columns. Metadata does not count, nor do the
// names of list and map children. The error is a [*SchemaError].
func (p *Plan) Check(s *wire.Schema) error {
	if s == p.schema || s == p.checked.Load() {
		return nil
	}
	if !schemacmp.Equal(p.schema.Arrow(), s.Arrow()) {
		return &SchemaError{What: p.what, Diff: schemacmp.Diff(p.schema.Arrow(), s.Arrow())}
	}
	p.checked.Store(s)
	return nil
}

// Decode reads one row of b into dst, a T. Columns are found by name when b has
// another schema than the plan (see [Plan.Bind]). Values are errors of type
// [*ValueError], contradictions in the batch of type [*wire.FormatError]; dst
// may then be partly written.
//
// Strings and bytes belong to the caller: they alias the batch when it is
// owned, and are copies otherwise, except in fields declared borrow.
func (p *Plan) Decode(b *wire.Batch, row int, dst unsafe.Pointer) (err error) {
	defer recovered(&err)
	binding, err := p.bind(b.Schema)
	if err != nil {
		return err
	}
	return binding.decode(b, row, 1, dst)
}

// DecodeRows reads the first n rows of b into n contiguous values at dst, as
// [Plan.Decode] does. The caller has asked [Plan.RowsBound].
func (p *Plan) DecodeRows(b *wire.Batch, dst unsafe.Pointer, n int) (err error) {
	defer recovered(&err)
	binding, err := p.bind(b.Schema)
	if err != nil {
		return err
	}
	return binding.decode(b, 0, n, dst)
}

// Encode makes b a batch of n rows from n contiguous values at src, on memory
// of e: it sets Schema, Rows and Cols and keeps Meta. What lies behind slices
// and strings of 32 KiB and more may be aliased by b; it must not change until
// b has been written. A void result makes a batch without rows.
func (p *Plan) Encode(e *Encoder, src unsafe.Pointer, n int, b *wire.Batch) error {
	if err := p.encode(e, src, n, b); err != nil {
		return p.explain(err)
	}
	return nil
}

func (p *Plan) encode(e *Encoder, src unsafe.Pointer, n int, b *wire.Batch) error {
	*b = wire.Batch{Schema: p.schema, Meta: b.Meta}
	if p.void {
		return nil
	}
	if n < 0 || n > math.MaxInt32 {
		return valueErrorf(-1, "%d rows in one batch", n)
	}
	mark := len(e.runs)
	b.Rows, b.Cols = n, e.cols(len(p.own.members))
	err := p.own.members.encode(e, b.Cols, e.values(src, n, p.size))
	e.pop(mark)
	return err
}

// RowsBound refuses a batch whose rows would take much more memory as values
// of T than the batch itself: a forged message can announce two billion rows
// of a column that has no bytes. Ask it before making room for b.Rows values.
func (p *Plan) RowsBound(b *wire.Batch) error {
	if b.Rows <= maxBareRows {
		return nil
	}
	size := columnsBytes(b.Cols)
	if b.Rows/64 > size || uint64(b.Rows)*uint64(p.size) > growth*uint64(size) {
		return &wire.FormatError{
			Where: "record batch", InStep: true,
			Reason: "too many rows for the bytes that it carries: send less at once",
		}
	}
	return nil
}
