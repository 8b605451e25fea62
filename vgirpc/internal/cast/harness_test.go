package cast

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// checked returns an allocator that fails the test if anything is left on it.
func checked(t *testing.T) *memory.CheckedAllocator {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

// fromJSON builds an array that the test releases at its end.
func fromJSON(t *testing.T, mem memory.Allocator, dt arrow.DataType, json string) arrow.Array {
	t.Helper()
	arr, _, err := array.FromJSON(mem, dt, strings.NewReader(json))
	if err != nil {
		t.Fatalf("%s as %s: %v", json, dt, err)
	}
	t.Cleanup(arr.Release)
	return arr
}

// batch makes a record batch of columns under the fields, which the test
// releases at its end.
func batch(t *testing.T, fields []arrow.Field, columns ...arrow.Array) arrow.RecordBatch {
	t.Helper()
	rows := int64(0)
	if len(columns) > 0 {
		rows = int64(columns[0].Len())
	}
	rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, rows)
	t.Cleanup(rec.Release)
	return rec
}

// single makes a batch of one nullable column v.
func single(t *testing.T, column arrow.Array) arrow.RecordBatch {
	t.Helper()
	return batch(t, []arrow.Field{optional("v", column.DataType())}, column)
}

func schemaOf(fields ...arrow.Field) *arrow.Schema { return arrow.NewSchema(fields, nil) }

func field(name string, t arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: t} }

func optional(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

func dictionary(index, value arrow.DataType) *arrow.DictionaryType {
	return &arrow.DictionaryType{IndexType: index, ValueType: value}
}

func dec(precision, scale int32) *arrow.Decimal128Type {
	return &arrow.Decimal128Type{Precision: precision, Scale: scale}
}

func ts(unit arrow.TimeUnit, zone string) *arrow.TimestampType {
	return &arrow.TimestampType{Unit: unit, TimeZone: zone}
}

// Short names for the types that the tables use most.
var (
	null  = arrow.Null
	i8    = arrow.PrimitiveTypes.Int8
	i16   = arrow.PrimitiveTypes.Int16
	i32   = arrow.PrimitiveTypes.Int32
	i64   = arrow.PrimitiveTypes.Int64
	u8    = arrow.PrimitiveTypes.Uint8
	u16   = arrow.PrimitiveTypes.Uint16
	u32   = arrow.PrimitiveTypes.Uint32
	u64   = arrow.PrimitiveTypes.Uint64
	f16   = arrow.FixedWidthTypes.Float16
	f32   = arrow.PrimitiveTypes.Float32
	f64   = arrow.PrimitiveTypes.Float64
	boolT = arrow.FixedWidthTypes.Boolean
	str   = arrow.BinaryTypes.String
	lstr  = arrow.BinaryTypes.LargeString
	vstr  = arrow.BinaryTypes.StringView
	bin   = arrow.BinaryTypes.Binary
	lbin  = arrow.BinaryTypes.LargeBinary
	vbin  = arrow.BinaryTypes.BinaryView
	d32   = arrow.FixedWidthTypes.Date32
	d64   = arrow.FixedWidthTypes.Date64
	t32s  = arrow.FixedWidthTypes.Time32s
	t32ms = arrow.FixedWidthTypes.Time32ms
	t64us = arrow.FixedWidthTypes.Time64us
	t64ns = arrow.FixedWidthTypes.Time64ns
	durS  = arrow.FixedWidthTypes.Duration_s
	durUs = arrow.FixedWidthTypes.Duration_us
	enum  = dictionary(i16, str)
)
