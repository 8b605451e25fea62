package observability

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// The texts are what pyarrow 26 prints for these types.
func TestTypesReadAsInTheReference(t *testing.T) {
	nullable := func(name string, t arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: t, Nullable: true}
	}
	mapOf := func(sorted bool) arrow.DataType {
		m := arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64)
		m.KeysSorted = sorted
		return m
	}
	int64s, str := arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String
	union := []arrow.Field{nullable("a", arrow.PrimitiveTypes.Int32), {Name: "b", Type: str}}
	for _, tt := range []struct {
		want string
		typ  arrow.DataType
	}{
		{"null", arrow.Null},
		{"bool", arrow.FixedWidthTypes.Boolean},
		{"int8", arrow.PrimitiveTypes.Int8},
		{"uint64", arrow.PrimitiveTypes.Uint64},
		{"halffloat", arrow.FixedWidthTypes.Float16},
		{"float", arrow.PrimitiveTypes.Float32},
		{"double", arrow.PrimitiveTypes.Float64},
		{"string", str},
		{"large_string", arrow.BinaryTypes.LargeString},
		{"string_view", arrow.BinaryTypes.StringView},
		{"binary", arrow.BinaryTypes.Binary},
		{"large_binary", arrow.BinaryTypes.LargeBinary},
		{"binary_view", arrow.BinaryTypes.BinaryView},
		{"fixed_size_binary[8]", &arrow.FixedSizeBinaryType{ByteWidth: 8}},
		{"date32[day]", arrow.FixedWidthTypes.Date32},
		{"date64[ms]", arrow.FixedWidthTypes.Date64},
		{"time32[s]", arrow.FixedWidthTypes.Time32s},
		{"time64[us]", arrow.FixedWidthTypes.Time64us},
		{"timestamp[us]", &arrow.TimestampType{Unit: arrow.Microsecond}},
		{"timestamp[us, tz=UTC]", arrow.FixedWidthTypes.Timestamp_us},
		{"timestamp[ns, tz=Europe/Berlin]", &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "Europe/Berlin"}},
		{"duration[us]", arrow.FixedWidthTypes.Duration_us},
		{"month_day_nano_interval", arrow.FixedWidthTypes.MonthDayNanoInterval},
		{"decimal32(5, 2)", &arrow.Decimal32Type{Precision: 5, Scale: 2}},
		{"decimal128(20, 4)", &arrow.Decimal128Type{Precision: 20, Scale: 4}},
		{"decimal256(40, -3)", &arrow.Decimal256Type{Precision: 40, Scale: -3}},
		{"list<item: int64>", arrow.ListOf(int64s)},
		{"list<item: int64 not null>", arrow.ListOfNonNullable(int64s)},
		{"list<x: string>", arrow.ListOfField(nullable("x", str))},
		{"large_list<item: int64>", arrow.LargeListOf(int64s)},
		{"fixed_size_list<item: int64>[3]", arrow.FixedSizeListOf(3, int64s)},
		{"list_view<item: int32>", arrow.ListViewOf(arrow.PrimitiveTypes.Int32)},
		{"large_list_view<item: int32>", arrow.LargeListViewOf(arrow.PrimitiveTypes.Int32)},
		{"struct<>", arrow.StructOf()},
		{"struct<a: int64 not null, b: list<item: string>>", arrow.StructOf(arrow.Field{Name: "a", Type: int64s}, nullable("b", arrow.ListOf(str)))},
		{"map<string, int64>", mapOf(false)},
		{"map<string, int64, keys_sorted>", mapOf(true)},
		{"dictionary<values=string, indices=int16, ordered=0>", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: str}},
		{"dictionary<values=string, indices=int32, ordered=1>", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: str, Ordered: true}},
		{"dense_union<a: int32=3, b: string not null=7>", arrow.DenseUnionOf(union, []arrow.UnionTypeCode{3, 7})},
		{"sparse_union<a: int32=0, b: string not null=1>", arrow.SparseUnionOf(union, []arrow.UnionTypeCode{0, 1})},
		{"run_end_encoded<run_ends: int32, values: string>", arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, str)},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if got := string(appendType(nil, tt.typ)); got != tt.want {
				t.Errorf("%v reads %q", tt.typ, got)
			}
		})
	}
}
