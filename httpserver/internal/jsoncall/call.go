package jsoncall

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/internal/arrowjson"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// DefaultLimit bounds a body in bytes where no limit is given.
const DefaultLimit = 4 << 20

// Codec translates the calls of one unary method. It is immutable and safe for
// concurrent use; make it once.
type Codec struct {
	method *vgirpc.Method
	params []vgirpc.Field
	result []vgirpc.Field // one, or none when the method is void
}

// New returns the codec of m. It fails for a stream, and for a type that has
// no form in JSON (unions, run-end encodings, dictionaries of other values than
// text).
func New(m *vgirpc.Method) (*Codec, error) {
	if m.Kind() != vgirpc.KindUnary {
		return nil, fmt.Errorf("jsoncall: %s is a stream: only unary methods can be called with JSON", m)
	}
	c := &Codec{method: m}
	var err error
	if c.params, err = m.ParamFields(); err == nil {
		c.result, err = m.ResultFields()
	}
	if err != nil {
		return nil, fmt.Errorf("jsoncall: %s: %w", m, err)
	}
	for _, fields := range [][]vgirpc.Field{c.params, c.result} {
		for _, f := range fields {
			if err := arrowjson.Supported(f.Type); err != nil {
				return nil, fmt.Errorf("jsoncall: %s: %w", m, arrowjson.Within(f.Name, err))
			}
		}
	}
	return c, nil
}

// Method is the method whose calls the codec translates.
func (c *Codec) Method() *vgirpc.Method { return c.method }

// Params reads a body of at most limit bytes (DefaultLimit when limit is 0 or
// less) into a request batch of one row on the method's own schema, without
// metadata. It belongs to the garbage collector. An empty body stands for an
// empty object. The error is [ErrTooLarge], a [*ParamError], or what reading
// the body failed with.
func (c *Codec) Params(body io.Reader, limit int64) (*wire.Batch, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	data, err := readBody(body, limit)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("{}")
	}
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	args, ok := v.(*arrowjson.Object)
	if !ok {
		return nil, paramError(arrowjson.WrongKind("an object with the parameters", v))
	}
	b, err := row(c.method.ParamsSchema(), c.params, args)
	return b, paramError(err)
}

// row builds a batch of one row from the members of an object.
func row(schema *wire.Schema, fields []vgirpc.Field, args *arrowjson.Object) (*wire.Batch, error) {
	if err := args.Only(len(fields), func(i int) string { return fields[i].Name }); err != nil {
		return nil, err
	}
	columns := make([]arrow.Array, len(fields))
	for i := range fields {
		var err error
		if columns[i], err = column(&fields[i], args); err != nil {
			return nil, arrowjson.Within(fields[i].Name, err)
		}
	}
	rec := array.NewRecordBatch(schema.Arrow(), columns, 1)
	b, err := wire.NewBatch(schema, rec, nil)
	if err != nil {
		return nil, err
	}
	b.Owned = true // by the collector: the arrays are never released
	return b, nil
}

// column is the one value of field f.
func column(f *vgirpc.Field, args *arrowjson.Object) (arrow.Array, error) {
	v, ok := args.Get(f.Name)
	switch {
	case !ok && f.Default == nil:
		return nil, &arrowjson.Error{Kind: arrowjson.KindMissing, Type: f.Type, Reason: "missing"}
	case !ok:
		return f.Default, nil
	}
	if o, ok := v.(*arrowjson.Object); ok && f.PackedSchema != nil {
		packed, err := pack(f, o)
		if err != nil {
			return nil, err
		}
		v = packed
	}
	b := array.NewBuilder(memory.DefaultAllocator, f.Type)
	if err := (arrowjson.ReadOptions{}).Append(b, f.Field, v); err != nil {
		return nil, err
	}
	return b.NewArray(), nil
}

// pack is an object as the IPC stream that f holds, in base64.
func pack(f *vgirpc.Field, o *arrowjson.Object) (string, error) {
	b, err := row(f.PackedSchema, f.Packed, o)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	w := wire.NewWriter(&out)
	if err = w.Open(f.PackedSchema); err == nil {
		err = w.Batch(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return "", &arrowjson.Error{Reason: err.Error()}
	}
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// Result is the value of a result batch as JSON, null for a void method.
func (c *Codec) Result(b *wire.Batch) ([]byte, error) {
	if len(c.result) == 0 {
		return []byte("null"), nil
	}
	if b == nil || b.Rows != 1 || len(b.Cols) != 1 {
		return nil, fmt.Errorf("jsoncall: %s: a result of one row and one column is required", c.method)
	}
	rec, err := b.Record()
	if err != nil {
		return nil, fmt.Errorf("jsoncall: result of %s: %w", c.method, err)
	}
	defer rec.Release()
	out, err := appendMember(nil, &c.result[0], rec.Column(0))
	if err != nil {
		return nil, fmt.Errorf("jsoncall: result of %s: %w", c.method, err)
	}
	return out, nil
}

// written is the form of results: programs in browsers read them.
func written() *arrowjson.WriteOptions { return &arrowjson.WriteOptions{QuoteLarge: true} }

// appendMember writes the first value of a field's column. A packed struct is
// written as an object.
func appendMember(dst []byte, f *vgirpc.Field, col arrow.Array) ([]byte, error) {
	if f.PackedSchema == nil || col.IsNull(0) {
		return written().Append(dst, col, 0)
	}
	rec, err := unpack(col)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	dst = append(dst, '{')
	for i, inner := range rec.Schema().Fields() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(arrowjson.AppendString(dst, inner.Name), ':')
		known := &vgirpc.Field{Field: inner}
		for j := range f.Packed {
			if f.Packed[j].Name == inner.Name {
				known = &f.Packed[j]
			}
		}
		if dst, err = appendMember(dst, known, rec.Column(i)); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// unpack reads the IPC stream of one row that a binary column holds.
func unpack(col arrow.Array) (arrow.RecordBatch, error) {
	values, ok := col.(interface{ Value(i int) []byte })
	if !ok {
		return nil, fmt.Errorf("a packed struct in a column of %v", col.DataType())
	}
	r := wire.NewReader(bytes.NewReader(values.Value(0)), wire.Limits{}, &wire.SchemaCache{})
	defer r.Close()
	if _, err := r.NextStream(); err != nil {
		return nil, fmt.Errorf("packed struct: %w", err)
	}
	b, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("packed struct: %w", err)
	}
	if b.Rows != 1 {
		return nil, fmt.Errorf("packed struct of %d rows", b.Rows)
	}
	return b.Record()
}
