package schemacmp_test

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// tag is an extension type with a name and a parameter chosen by the test.
type tag struct {
	arrow.ExtensionBase
	name, param string
}

func newTag(name, param string, storage arrow.DataType) *tag {
	return &tag{ExtensionBase: arrow.ExtensionBase{Storage: storage}, name: name, param: param}
}

func (*tag) ArrayType() reflect.Type                      { return reflect.TypeFor[array.ExtensionArrayBase]() }
func (t *tag) ExtensionName() string                      { return t.name }
func (t *tag) Serialize() string                          { return t.param }
func (t *tag) ExtensionEquals(o arrow.ExtensionType) bool { return t.param == o.(*tag).param }
func (t *tag) Deserialize(storage arrow.DataType, param string) (arrow.ExtensionType, error) {
	return newTag(t.name, param, storage), nil
}

var (
	i32  = arrow.PrimitiveTypes.Int32
	i64  = arrow.PrimitiveTypes.Int64
	f64  = arrow.PrimitiveTypes.Float64
	text = arrow.BinaryTypes.String
)

func field(name string, t arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: t} }

func optional(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

// noted is a nullable field with metadata.
func noted(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true, Metadata: arrow.NewMetadata([]string{"k"}, []string{"v"})}
}

func schema(fields ...arrow.Field) *arrow.Schema { return arrow.NewSchema(fields, nil) }

func sorted(m *arrow.MapType) *arrow.MapType {
	m.KeysSorted = true
	return m
}

// zoned is a timestamp that has looked its zone up, which arrow-go caches.
func zoned() *arrow.TimestampType {
	t := &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	if _, err := t.GetZone(); err != nil {
		panic(err)
	}
	return t
}

func TestEqualTypesSeesWhatArrowCountsAndNothingElse(t *testing.T) {
	fields := []arrow.Field{field("a", i64), optional("b", text)}
	valuesNotNull := arrow.RunEndEncodedOf(i32, f64)
	valuesNotNull.ValueNullable = false
	dict := func(index, value arrow.DataType, ordered bool) arrow.DataType {
		return &arrow.DictionaryType{IndexType: index, ValueType: value, Ordered: ordered}
	}
	for _, tt := range []struct {
		name string
		a, b arrow.DataType
		want bool
	}{
		{"the same primitive", i64, &arrow.Int64Type{}, true},
		{"two primitives", i64, i32, false},
		{"no type", nil, i64, false},
		{"no types", nil, nil, true},
		{"widths of binary", &arrow.FixedSizeBinaryType{ByteWidth: 2}, &arrow.FixedSizeBinaryType{ByteWidth: 3}, false},
		{"scales of decimals", &arrow.Decimal128Type{Precision: 5, Scale: 1}, &arrow.Decimal128Type{Precision: 5, Scale: 2}, false},
		{"the same decimals", &arrow.Decimal256Type{Precision: 5, Scale: 1}, &arrow.Decimal256Type{Precision: 5, Scale: 1}, true},
		{"units of time", arrow.FixedWidthTypes.Time64us, arrow.FixedWidthTypes.Time64ns, false},
		{"a timestamp with a cached zone", zoned(), &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, true},
		{"zones that mean the same", zoned(), &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "+00:00"}, false},
		{"names of list children", arrow.ListOf(i64), arrow.ListOfField(noted("element", i64)), true},
		{"names of large list children", arrow.LargeListOf(i64), arrow.LargeListOfField(noted("element", i64)), true},
		{"names of fixed list children", arrow.FixedSizeListOf(2, i64), arrow.FixedSizeListOfField(2, noted("element", i64)), true},
		{"names of list view children", arrow.ListViewOf(i64), arrow.ListViewOfField(noted("element", i64)), true},
		{"names of large list view children", arrow.LargeListViewOf(i64), arrow.LargeListViewOfField(noted("element", i64)), true},
		{"nullability of list children", arrow.ListOf(i64), arrow.ListOfNonNullable(i64), false},
		{"nullability of large list children", arrow.LargeListOf(i64), arrow.LargeListOfNonNullable(i64), false},
		{"kinds of list", arrow.ListOf(i64), arrow.LargeListOf(i64), false},
		{"lengths of fixed lists", arrow.FixedSizeListOf(2, i64), arrow.FixedSizeListOf(3, i64), false},
		{"names deep in lists", arrow.ListOf(arrow.LargeListOf(i64)), arrow.ListOf(arrow.LargeListOfField(optional("x", i64))), true},
		{"types deep in lists", arrow.ListOf(arrow.ListOf(i64)), arrow.ListOf(arrow.ListOf(i32)), false},
		{"metadata of map children", arrow.MapOf(text, i64), arrow.MapOfFields(field("k", text), noted("v", i64)), true},
		{"nullability of map values", arrow.MapOf(text, i64), arrow.MapOfFields(field("k", text), field("v", i64)), false},
		{"sorted keys", arrow.MapOf(text, i64), sorted(arrow.MapOf(text, i64)), false},
		{"types of keys", arrow.MapOf(text, i64), arrow.MapOf(arrow.BinaryTypes.Binary, i64), false},
		{"a map and its list", arrow.MapOf(text, i64), arrow.ListOf(arrow.MapOf(text, i64).Elem()), false},
		{"metadata of struct fields", arrow.StructOf(optional("a", i64)), arrow.StructOf(noted("a", i64)), true},
		{"names of struct fields", arrow.StructOf(field("a", i64)), arrow.StructOf(field("b", i64)), false},
		{"nullability of struct fields", arrow.StructOf(field("a", i64)), arrow.StructOf(optional("a", i64)), false},
		{"order of struct fields", arrow.StructOf(fields...), arrow.StructOf(fields[1], fields[0]), false},
		{"count of struct fields", arrow.StructOf(fields...), arrow.StructOf(fields[0]), false},
		{"the same union", arrow.DenseUnionOf(fields, []int8{0, 1}), arrow.DenseUnionOf(fields, []int8{0, 1}), true},
		{"type codes", arrow.DenseUnionOf(fields, []int8{0, 1}), arrow.DenseUnionOf(fields, []int8{0, 2}), false},
		{"union modes", arrow.DenseUnionOf(fields, []int8{0, 1}), arrow.SparseUnionOf(fields, []int8{0, 1}), false},
		{"the same dictionary", dict(i32, text, false), dict(i32, text, false), true},
		{"dictionary indices", dict(i32, text, false), dict(i64, text, false), false},
		{"dictionary values", dict(i32, text, false), dict(i32, i64, false), false},
		{"names in dictionary values", dict(i32, arrow.ListOf(i64), false), dict(i32, arrow.ListOfField(optional("x", i64)), false), true},
		{"ordered dictionaries", dict(i32, text, false), dict(i32, text, true), false},
		{"nullability of run-end encoded values", arrow.RunEndEncodedOf(i32, f64), valuesNotNull, true},
		{"run ends", arrow.RunEndEncodedOf(i32, f64), arrow.RunEndEncodedOf(i64, f64), false},
		{"the same extension", newTag("x", "p", i64), newTag("x", "p", i64), true},
		{"names of extensions", newTag("x", "p", i64), newTag("y", "p", i64), false},
		{"storage of extensions", newTag("x", "p", i64), newTag("x", "p", i32), false},
		{"parameters of extensions", newTag("x", "p", i64), newTag("x", "q", i64), false},
		{"an extension and its storage", newTag("x", "p", i64), i64, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := schemacmp.EqualTypes(tt.a, tt.b); got != tt.want {
				t.Errorf("EqualTypes(%v, %v) = %t, want %t", tt.a, tt.b, got, tt.want)
			}
			if got := schemacmp.EqualTypes(tt.b, tt.a); got != tt.want {
				t.Errorf("EqualTypes(%v, %v) = %t, want %t", tt.b, tt.a, got, tt.want)
			}
		})
	}
}

func TestDiffIsEmptyExactlyForEqualSchemas(t *testing.T) {
	md := arrow.NewMetadata([]string{"k"}, []string{"v"})
	ab := schema(field("a", i64), field("b", f64))
	for _, tt := range []struct {
		name               string
		expected, received *arrow.Schema
		want               string
	}{
		{"the same", ab, schema(field("a", i64), field("b", f64)), ""},
		{"no fields", schema(), schema(), ""},
		{"metadata", schema(optional("a", i64)), arrow.NewSchema([]arrow.Field{noted("a", i64)}, &md), ""},
		{"names of children", schema(field("a", arrow.ListOf(i64))), schema(field("a", arrow.ListOfField(optional("x", i64)))), ""},
		{"no schemas", nil, nil, ""},
		{"one schema", ab, nil, "one of the schemas is missing"},
		{"a type and nullability", ab, schema(field("a", i64), optional("b", i64)), "field 1: expected b: double not null, received b: int64"},
		{"nullability", schema(optional("a", i64)), schema(field("a", i64)), "field 0: expected a: int64, received a: int64 not null"},
		{"a name", schema(field("a", i64)), schema(field("A", i64)), "field 0: expected a: int64 not null, received A: int64 not null"},
		{"a missing field", ab, schema(field("a", i64)), "field 1: missing b: double not null"},
		{"an unexpected field", schema(field("a", i64)), schema(field("a", i64), optional("b", text)), "field 1: unexpected b: string"},
		{
			"the order", ab, schema(field("b", f64), field("a", i64)),
			"field 0: expected a: int64 not null, received b: double not null; field 1: expected b: double not null, received a: int64 not null",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, schemacmp.Diff(tt.expected, tt.received)); diff != "" {
				t.Errorf("Diff (-want +got):\n%s", diff)
			}
			if got := schemacmp.Equal(tt.expected, tt.received); got != (tt.want == "") {
				t.Errorf("Equal = %t beside the difference %q", got, tt.want)
			}
		})
	}
}

func TestTypeStringWritesTypesLikePyarrow(t *testing.T) {
	for _, tt := range []struct {
		want string
		in   arrow.DataType
	}{
		{"null", arrow.Null},
		{"bool", arrow.FixedWidthTypes.Boolean},
		{"halffloat", arrow.FixedWidthTypes.Float16},
		{"float", arrow.PrimitiveTypes.Float32},
		{"large_string", arrow.BinaryTypes.LargeString},
		{"date32[day]", arrow.FixedWidthTypes.Date32},
		{"date64[ms]", arrow.FixedWidthTypes.Date64},
		{"timestamp[us, tz=UTC]", zoned()},
		{"decimal128(20, 4)", &arrow.Decimal128Type{Precision: 20, Scale: 4}},
		{"fixed_size_binary[8]", &arrow.FixedSizeBinaryType{ByteWidth: 8}},
		{"list<item: double not null>", arrow.ListOfField(field("element", f64))},
		{"large_list_view<item: string>", arrow.LargeListViewOf(text)},
		{"fixed_size_list<item: int64>[3]", arrow.FixedSizeListOf(3, i64)},
		{"struct<a: int64 not null, b: string>", arrow.StructOf(field("a", i64), optional("b", text))},
		{"map<string, int64>", arrow.MapOf(text, i64)},
		{"map<string, int64 not null, keys_sorted>", sorted(arrow.MapOfFields(field("k", text), field("v", i64)))},
		{"sparse_union<a: int64=0, b: string=5>", arrow.SparseUnionOf([]arrow.Field{optional("a", i64), optional("b", text)}, []int8{0, 5})},
		{"dictionary<values=string, indices=int16, ordered=1>", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: text, Ordered: true}},
		{"run_end_encoded<run_ends: int32, values: double>", arrow.RunEndEncodedOf(i32, f64)},
		{"extension<x>", newTag("x", "", i64)},
		{"no type", nil},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if got := schemacmp.TypeString(tt.in); got != tt.want {
				t.Errorf("TypeString = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTheTextsStayShortAndValidWhateverAPeerSends(t *testing.T) {
	deep := i64
	for range 100_000 {
		deep = arrow.ListOf(deep)
	}
	wide := make([]arrow.Field, 10_000)
	for i := range wide {
		wide[i] = field(strings.Repeat("é", 300), deep)
	}
	for _, tt := range []struct {
		name     string
		received *arrow.Schema
		limit    int
	}{
		{"a deep type", schema(field("a", deep)), 300},
		{"a long name", schema(field(strings.Repeat("é", 1<<20), i64)), 300},
		{"a name that is not UTF-8", schema(field("\xff\xfe", i64)), 300},
		{"many fields", schema(wide...), 2500},
		{"many fields in a struct", schema(field("s", arrow.StructOf(wide...))), 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := schemacmp.Diff(schema(field("b", i64)), tt.received)
			if len(got) > tt.limit || !utf8.ValidString(got) {
				t.Errorf("Diff has %d bytes, valid UTF-8: %t; want at most %d: %.400q", len(got), utf8.ValidString(got), tt.limit, got)
			}
		})
	}
	if got := schemacmp.Diff(schema(), schema(wide...)); !strings.HasSuffix(got, "; and 9992 more") {
		t.Errorf("Diff ends in %q and should count the rest", got[len(got)-30:])
	}
}
