package typetoken_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// tag is an extension type with a name and storage chosen by the test.
type tag struct {
	arrow.ExtensionBase
	name string
}

func newTag(name string, storage arrow.DataType) *tag {
	return &tag{ExtensionBase: arrow.ExtensionBase{Storage: storage}, name: name}
}

func (*tag) ArrayType() reflect.Type { return reflect.TypeFor[array.ExtensionArrayBase]() }
func (t *tag) ExtensionName() string { return t.name }
func (*tag) Serialize() string       { return "" }
func (t *tag) ExtensionEquals(o arrow.ExtensionType) bool {
	return t.name == o.ExtensionName() && arrow.TypeEqual(t.Storage, o.StorageType())
}

func (t *tag) Deserialize(storage arrow.DataType, _ string) (arrow.ExtensionType, error) {
	return newTag(t.name, storage), nil
}

// alien is a data type that Arrow does not define.
type alien struct{ arrow.NullType }

func field(name string, t arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: t} }

func optional(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

// marked is a field whose metadata names an extension.
func marked(name string, t arrow.DataType, extension string) arrow.Field {
	return arrow.Field{Name: name, Type: t, Metadata: arrow.NewMetadata(
		[]string{"other", "ARROW:extension:name"}, []string{"x", extension})}
}

func sortedMap(key, item arrow.DataType) *arrow.MapType {
	m := arrow.MapOf(key, item)
	m.KeysSorted = true
	return m
}

func TestOfSpellsEveryRowOfTheTable(t *testing.T) {
	i8, i64, f64 := arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float64
	utf8 := arrow.BinaryTypes.String
	fields := []arrow.Field{field("a", arrow.PrimitiveTypes.Int32), optional("b", utf8)}
	for _, tt := range []struct {
		want string
		in   arrow.DataType
	}{
		{"null", arrow.Null},
		{"bool", arrow.FixedWidthTypes.Boolean},
		{"int8", i8},
		{"int16", arrow.PrimitiveTypes.Int16},
		{"int32", arrow.PrimitiveTypes.Int32},
		{"int64", i64},
		{"uint8", arrow.PrimitiveTypes.Uint8},
		{"uint16", arrow.PrimitiveTypes.Uint16},
		{"uint32", arrow.PrimitiveTypes.Uint32},
		{"uint64", arrow.PrimitiveTypes.Uint64},
		{"float16", arrow.FixedWidthTypes.Float16},
		{"float32", arrow.PrimitiveTypes.Float32},
		{"float64", f64},
		{"decimal128(38,9)", &arrow.Decimal128Type{Precision: 38, Scale: 9}},
		{"decimal128(5,-2)", &arrow.Decimal128Type{Precision: 5, Scale: -2}},
		{"decimal256(38,9)", &arrow.Decimal256Type{Precision: 38, Scale: 9}},
		{"utf8", utf8},
		{"large_utf8", arrow.BinaryTypes.LargeString},
		{"utf8_view", arrow.BinaryTypes.StringView},
		{"binary", arrow.BinaryTypes.Binary},
		{"large_binary", arrow.BinaryTypes.LargeBinary},
		{"binary_view", arrow.BinaryTypes.BinaryView},
		{"fixed_size_binary(16)", &arrow.FixedSizeBinaryType{ByteWidth: 16}},
		{"date32", arrow.FixedWidthTypes.Date32},
		{"date64", arrow.FixedWidthTypes.Date64},
		{"time32(s)", arrow.FixedWidthTypes.Time32s},
		{"time32(ms)", arrow.FixedWidthTypes.Time32ms},
		{"time64(us)", arrow.FixedWidthTypes.Time64us},
		{"time64(ns)", arrow.FixedWidthTypes.Time64ns},
		{"timestamp(s)", &arrow.TimestampType{Unit: arrow.Second}},
		{"timestamp(ms)", &arrow.TimestampType{Unit: arrow.Millisecond}},
		{"timestamp(us,tz=UTC)", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
		{"timestamp(us,tz=+00:00)", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "+00:00"}},
		{"timestamp(ns,tz=America/New_York)", &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "America/New_York"}},
		{"duration(s)", arrow.FixedWidthTypes.Duration_s},
		{"duration(ns)", arrow.FixedWidthTypes.Duration_ns},
		{"interval_months", arrow.FixedWidthTypes.MonthInterval},
		{"interval_day_time", arrow.FixedWidthTypes.DayTimeInterval},
		{"interval_month_day_nano", arrow.FixedWidthTypes.MonthDayNanoInterval},
		{"list<item?:int64>", arrow.ListOf(i64)},
		{"list<item:int64>", arrow.ListOfNonNullable(i64)},
		{"list<item?:int64>", arrow.ListOfField(optional("element", i64))},
		{"large_list<item?:int64>", arrow.LargeListOfField(optional("x", i64))},
		{"list_view<item:utf8>", arrow.ListViewOfNonNullable(utf8)},
		{"large_list_view<item?:utf8>", arrow.LargeListViewOf(utf8)},
		{"fixed_size_list(4)<item?:int64>", arrow.FixedSizeListOf(4, i64)},
		{"struct<a:int32,b?:utf8>", arrow.StructOf(fields...)},
		{"struct<>", arrow.StructOf()},
		{"map<key:utf8,value?:int64>", arrow.MapOf(utf8, i64)},
		{"map<key:utf8,value:int64>", arrow.MapOfFields(field("k", utf8), field("v", i64))},
		{"map<key:utf8,value?:int64>,keys_sorted", sortedMap(utf8, i64)},
		{"dense_union<7=a:int32,9=b?:utf8>", arrow.DenseUnionOf(fields, []int8{7, 9})},
		{"sparse_union<0=a:int32,1=b?:utf8>", arrow.SparseUnionOf(fields, []int8{0, 1})},
		{"dictionary<index:int16,value:utf8>", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: utf8}},
		{"dictionary<index:int8,value:utf8>,ordered", &arrow.DictionaryType{IndexType: i8, ValueType: utf8, Ordered: true}},
		{"run_end_encoded<run_ends:int64,values:float64>", arrow.RunEndEncodedOf(i64, f64)},
		{"extension(geo.point)<binary>", newTag("geo.point", arrow.BinaryTypes.Binary)},
		{
			"list<item?:struct<m?:map<key:utf8,value?:list<item?:int8>>>>",
			arrow.ListOf(arrow.StructOf(optional("m", arrow.MapOf(utf8, arrow.ListOf(i8))))),
		},
	} {
		t.Run(tt.want, func(t *testing.T) {
			got, err := typetoken.Of(tt.in)
			if err != nil || got != tt.want {
				t.Errorf("Of(%s) = %q, %v; want %q", tt.in, got, err, tt.want)
			}
		})
	}
}

func TestOfFieldKnowsAnExtensionInBothShapes(t *testing.T) {
	uuid := &arrow.FixedSizeBinaryType{ByteWidth: 16}
	const token = "extension(arrow.uuid)<fixed_size_binary(16)>"
	for _, tt := range []struct {
		name, want string
		in         arrow.Field
	}{
		{"a registered type", token, field("id", newTag("arrow.uuid", uuid))},
		{"storage with the name in the metadata", token, marked("id", uuid, "arrow.uuid")},
		{"a registered type whose metadata names it again", token, marked("id", newTag("arrow.uuid", uuid), "arrow.uuid")},
		{"other metadata", "fixed_size_binary(16)", arrow.Field{Type: uuid, Metadata: arrow.NewMetadata([]string{"k"}, []string{"v"})}},
		{"in a list", "list<item:" + token + ">", field("ids", arrow.ListOfField(marked("item", uuid, "arrow.uuid")))},
		{"in a struct", "struct<id:" + token + ">", field("s", arrow.StructOf(marked("id", uuid, "arrow.uuid")))},
		{"in a map", "map<key:" + token + ",value:utf8>", field("m", arrow.MapOfFields(
			marked("key", uuid, "arrow.uuid"), field("value", arrow.BinaryTypes.String)))},
		{"in a union", "dense_union<3=id:" + token + ">", field("u", arrow.DenseUnionOf(
			[]arrow.Field{marked("id", uuid, "arrow.uuid")}, []int8{3}))},
		{"over a dictionary", "extension(e)<dictionary<index:int8,value:utf8>>", marked("d", &arrow.DictionaryType{
			IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String,
		}, "e")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := typetoken.OfField(tt.in)
			if err != nil || got != tt.want {
				t.Errorf("OfField = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestATypeWithoutATokenIsATypedError(t *testing.T) {
	d64 := &arrow.Decimal64Type{Precision: 6, Scale: 2}
	time32us := &arrow.Time32Type{Unit: arrow.Microsecond}
	time64s := &arrow.Time64Type{Unit: arrow.Second}
	noUnit := &arrow.DurationType{Unit: arrow.TimeUnit(9)}
	nameless, hollow, other := newTag("", arrow.Null), newTag("x", nil), new(alien)
	for _, tt := range []struct {
		name string
		in   arrow.DataType
		want arrow.DataType
	}{
		{"decimal32", &arrow.Decimal32Type{Precision: 6, Scale: 2}, nil},
		{"decimal64", d64, d64},
		{"time32 in microseconds", time32us, time32us},
		{"time64 in seconds", time64s, time64s},
		{"a unit that Arrow does not have", noUnit, noUnit},
		{"an extension without a name", nameless, nameless},
		{"an extension without storage", hollow, hollow},
		{"a type that Arrow does not define", other, other},
		{"a dictionary without an index type", &arrow.DictionaryType{ValueType: arrow.Null}, nil},
		{"deep in lists", arrow.ListOf(arrow.LargeListOf(d64)), d64},
		{"in a struct", arrow.StructOf(field("a", arrow.Null), field("b", d64)), d64},
		{"in a map key", arrow.MapOf(d64, arrow.Null), d64},
		{"in a map value", arrow.MapOf(arrow.Null, d64), d64},
		{"in a union", arrow.SparseUnionOf([]arrow.Field{field("a", d64)}, []int8{0}), d64},
		{"in a dictionary", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: d64}, d64},
		{"as storage", newTag("x", d64), d64},
		{"no type", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, err := typetoken.Of(tt.in)
			var unsupported *typetoken.UnsupportedTypeError
			if token != "" || !errors.As(err, &unsupported) || err.Error() == "" {
				t.Fatalf("Of = %q, %v; want an UnsupportedTypeError", token, err)
			}
			if tt.want != nil && unsupported.Type != tt.want {
				t.Errorf("the error names %v, want %v", unsupported.Type, tt.want)
			}
		})
	}
	t.Run("a field whose metadata gives an empty name", func(t *testing.T) {
		_, err := typetoken.OfField(marked("id", arrow.Null, ""))
		if unsupported := new(typetoken.UnsupportedTypeError); !errors.As(err, &unsupported) {
			t.Errorf("err = %v, want an UnsupportedTypeError", err)
		}
	})
}
