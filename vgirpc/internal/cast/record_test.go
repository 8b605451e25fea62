package cast

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

func TestRecordReturnsTheBatchItselfWhenNothingIsToDo(t *testing.T) {
	md := arrow.NewMetadata([]string{"k"}, []string{"v"})
	for _, tt := range []struct {
		name string
		want *arrow.Schema
		same bool
	}{
		{"the same schema", schemaOf(optional("v", arrow.LargeListOf(i64))), true},
		{"other metadata", arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.LargeListOf(i64), Nullable: true, Metadata: md}}, &md), true},
		{"another name of the list's child", schemaOf(optional("v", arrow.LargeListOfField(optional("element", i64)))), true},
		{"another nullability", schemaOf(field("v", arrow.LargeListOf(i64))), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := checked(t)
			rec := single(t, fromJSON(t, mem, arrow.LargeListOf(i64), `[[1]]`))
			got, err := record(mem, rec, tt.want)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Release()
			if (got == rec) != tt.same {
				t.Errorf("the result is the batch itself: %t, want %t", got == rec, tt.same)
			}
			if !tt.same && got.Schema() != tt.want {
				t.Errorf("the result has the schema %v", got.Schema())
			}
		})
	}
}

func TestRecordPutsColumnsInOrderAndSharesTheRightOnes(t *testing.T) {
	mem := checked(t)
	a, b, e := fromJSON(t, mem, i32, `[1, 2]`), fromJSON(t, mem, str, `["x", "y"]`), fromJSON(t, mem, enum, `["p", "q"]`)
	meta := arrow.NewMetadata([]string{"k"}, []string{"v"})
	rec := array.NewRecordBatchWithMetadata(schemaOf(optional("b", str), optional("e", enum), optional("a", i32)), []arrow.Array{b, e, a}, 2, meta)
	defer rec.Release()
	want := schemaOf(optional("a", f64), field("b", str), optional("e", enum))
	got, err := record(mem, rec, want)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	if got.Schema() != want || got.Column(1) != b {
		t.Errorf("schema %v; the column b is shared: %t", got.Schema(), got.Column(1) == b)
	}
	var values []string
	for _, c := range got.Columns() {
		values = append(values, valueString(c))
	}
	if diff := cmp.Diff([]string{"[1,2]", `["x","y"]`, `["p","q"]`}, values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if m := got.(arrow.RecordBatchWithMetadata).Metadata(); !m.Equal(meta) {
		t.Errorf("custom metadata = %v, want %v", m, meta)
	}
}

func TestRecordGivesSharedColumnsTheDeclaredType(t *testing.T) {
	named := func(t arrow.DataType) arrow.Field { return optional("element", t) }
	union := func(item arrow.DataType) arrow.DataType {
		return arrow.SparseUnionOf([]arrow.Field{optional("u", item)}, []int8{0})
	}
	for _, tt := range []struct {
		name     string
		from, to arrow.DataType
	}{
		{"list", arrow.ListOf(i64), arrow.ListOfField(named(i64))},
		{"large list", arrow.LargeListOf(i64), arrow.LargeListOfField(named(i64))},
		{"fixed list", arrow.FixedSizeListOf(1, i64), arrow.FixedSizeListOfField(1, named(i64))},
		{"list view", arrow.ListViewOf(i64), arrow.ListViewOfField(named(i64))},
		{"large list view", arrow.LargeListViewOf(i64), arrow.LargeListViewOfField(named(i64))},
		{"in a struct", arrow.StructOf(optional("s", arrow.LargeListOf(str))), arrow.StructOf(optional("s", arrow.LargeListOfField(named(str))))},
		{"in a map", arrow.MapOf(str, arrow.LargeListOf(str)), arrow.MapOf(str, arrow.LargeListOfField(named(str)))},
		{"in a union", union(arrow.LargeListOf(i64)), union(arrow.LargeListOfField(named(i64)))},
		{"in run-end encoding", arrow.RunEndEncodedOf(i32, arrow.LargeListOf(i64)), arrow.RunEndEncodedOf(i32, arrow.LargeListOfField(named(i64)))},
		{
			"in an extension's sibling", arrow.StructOf(optional("x", &mark{arrow.ExtensionBase{Storage: i64}}), optional("l", arrow.LargeListOf(i64))),
			arrow.StructOf(optional("x", &mark{arrow.ExtensionBase{Storage: i64}}), optional("l", arrow.LargeListOfField(named(i64)))),
		},
		{"beside a dictionary", arrow.StructOf(optional("e", enum), optional("l", arrow.LargeListOf(i64))), arrow.StructOf(optional("e", enum), optional("l", arrow.LargeListOfField(named(i64))))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := checked(t)
			column := array.MakeArrayOfNull(mem, tt.from, 3)
			defer column.Release()
			other := fromJSON(t, mem, i32, `[1, 2, 3]`)
			rec := batch(t, []arrow.Field{optional("v", tt.from), field("n", i32)}, column, other)
			want := schemaOf(optional("v", tt.to), field("n", i64))
			got, err := record(mem, rec, want)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Release()
			if dt := got.Column(0).DataType(); dt != tt.to || got.Schema() != want {
				t.Errorf("the column has the type %v", dt)
			}
			if err := array.ValidateFull(got.Column(0)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestANullInAFieldThatAllowsNoneIsFoundInAnEqualSchemaToo(t *testing.T) {
	mem := checked(t)
	rec := batch(t, []arrow.Field{field("v", i64)}, fromJSON(t, mem, i64, `[1, 2, null]`))
	_, err := record(mem, rec, rec.Schema())
	var v *ValueError
	if !errors.As(err, &v) || v.Field != "v" || v.Row != 2 || v.Reason != reasonNull {
		t.Errorf("err = %v, want a ValueError for v in row 2", err)
	}
}

func TestSchemasThatCannotFitAreAMismatchError(t *testing.T) {
	base := schemaOf(field("a", i64), optional("b", str))
	for _, tt := range []struct {
		name      string
		got, want *arrow.Schema
		text      string
	}{
		{"a missing field", schemaOf(field("a", i64)), base, "missing b: string"},
		{"an unexpected field", schemaOf(field("a", i64), field("b", str), field("c", f64)), base, "unexpected c: double not null"},
		{"a wrong name", schemaOf(field("wrong", f64)), schemaOf(field("value", f64)), "missing value: double not null; unexpected wrong: double not null"},
		{"no cast", schemaOf(field("a", str), field("b", str)), base, "expected a: int64, received string"},
		{"more than one fault", schemaOf(field("b", boolT), field("c", i8)), base, "missing a: int64 not null; unexpected c: int8 not null; expected b: string, received bool"},
		{"a name that comes once too often", schemaOf(field("a", i64), field("a", i64)), schemaOf(field("a", i64)), "unexpected a: int64 not null"},
		{"a name that comes once too seldom", schemaOf(field("a", i64)), schemaOf(field("a", i64), field("a", i64)), "missing a: int64 not null"},
		{"zones", schemaOf(field("t", ts(arrow.Second, "UTC"))), schemaOf(field("t", ts(arrow.Second, ""))), "expected t: timestamp[s], received timestamp[s, tz=UTC]"},
		{
			"a precision that decimal128 does not have", schemaOf(field("d", dec(5, 1))), schemaOf(field("d", dec(39, 1))),
			"expected d: decimal128(39, 1), received decimal128(5, 1)",
		},
		{
			"times and dates", schemaOf(field("t", d32), field("u", durS)), schemaOf(field("t", t32s), field("u", t64us)),
			"expected t: time32[s], received date32[day]; expected u: time64[us], received duration[s]",
		},
		{
			"items without a cast", schemaOf(field("l", arrow.ListOf(boolT)), field("m", arrow.MapOf(boolT, i64))), schemaOf(field("l", arrow.ListOf(i64)), field("m", arrow.MapOf(str, i64))),
			"expected l: list<item: int64>, received list<item: bool>; expected m: map<string, int64>, received map<bool, int64>",
		},
		{
			"fixed lists of two lengths", schemaOf(field("l", arrow.FixedSizeListOf(2, i64))), schemaOf(field("l", arrow.FixedSizeListOf(3, i64))),
			"expected l: fixed_size_list<item: int64>[3], received fixed_size_list<item: int64>[2]",
		},
		{
			"structs of other fields", schemaOf(field("s", arrow.StructOf(field("x", i64)))), schemaOf(field("s", arrow.StructOf(field("y", i64)))),
			"expected s: struct<y: int64 not null>, received struct<x: int64 not null>",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Compatible(tt.got, tt.want)
			var mismatch *MismatchError
			if !errors.As(err, &mismatch) {
				t.Fatalf("err = %v, want a MismatchError", err)
			}
			if diff := cmp.Diff("Input schema mismatch: "+tt.text, err.Error()); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
			columns := make([]arrow.Array, tt.got.NumFields())
			for i, f := range tt.got.Fields() {
				columns[i] = array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, 0)
			}
			if _, err := Record(batch(t, tt.got.Fields(), columns...), tt.want); !errors.As(err, &mismatch) {
				t.Errorf("Record gives %v, want a MismatchError as well", err)
			}
		})
	}
}

func TestTheTextsOfErrorsStayShort(t *testing.T) {
	fields := make([]arrow.Field, 1000)
	for i := range fields {
		fields[i] = field(fmt.Sprint(strings.Repeat("x", 1000), i), i64)
	}
	err := Compatible(schemaOf(fields...), schemaOf())
	long := &ValueError{Field: strings.Repeat("x", 1<<20), Received: i64, Expected: i8, Reason: reasonRange}
	if text := long.Error(); len(text) > 500 {
		t.Errorf("the text of a ValueError has %d bytes", len(text))
	}
	if text := err.Error(); len(text) > 3000 || !strings.HasSuffix(text, "; and 992 more") {
		t.Errorf("%d bytes: %.200s", len(text), text)
	}
}

func TestFieldsOfOneNameAreMatchedInOrder(t *testing.T) {
	mem := checked(t)
	rec := batch(t, []arrow.Field{field("a", i32), field("b", i32), field("a", str)},
		fromJSON(t, mem, i32, `[1]`), fromJSON(t, mem, i32, `[2]`), fromJSON(t, mem, str, `["x"]`))
	got, err := record(mem, rec, schemaOf(field("b", i64), field("a", i64), field("a", lstr)))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	if text := valueString(got.Column(1)) + valueString(got.Column(2)); text != `[1]["x"]` {
		t.Errorf("got %s", text)
	}
}

func TestAnEnumHasRoomForAsManyValuesAsItsIndexCounts(t *testing.T) {
	for _, tt := range []struct {
		index arrow.DataType
		most  int
	}{{i8, 128}, {u8, 256}, {i16, 1 << 15}, {u16, 1 << 16}} {
		t.Run(tt.index.Name(), func(t *testing.T) {
			mem := checked(t)
			b := array.NewStringBuilder(mem)
			defer b.Release()
			for i := range tt.most + 1 {
				b.Append(strconv.Itoa(i))
			}
			column := b.NewArray()
			defer column.Release()
			want := schemaOf(optional("v", dictionary(tt.index, str)))
			fits := array.NewSlice(column, 0, int64(tt.most))
			defer fits.Release()
			checkCast(t, mem, single(t, fits), want, fits)
			_, err := record(mem, single(t, column), want)
			var v *ValueError
			if !errors.As(err, &v) || v.Row != tt.most || v.Reason != reasonTooMany {
				t.Errorf("err = %v, want a ValueError in row %d", err, tt.most)
			}
		})
	}
}

// emptyStructs is a list of so many structs of no fields, which take no bytes.
func emptyStructs(t *testing.T, mem memory.Allocator, count int) arrow.Array {
	t.Helper()
	empty := arrow.StructOf()
	structs := array.NewData(empty, count, []*memory.Buffer{nil}, nil, 0, 0)
	defer structs.Release()
	offsets := fromJSON(t, mem, i64, fmt.Sprintf("[0, %d]", count)).Data().Buffers()[1]
	data := array.NewData(arrow.LargeListOf(empty), 1, []*memory.Buffer{nil, offsets}, []arrow.ArrayData{structs}, 0, 0)
	defer data.Release()
	list := array.MakeFromData(data)
	t.Cleanup(list.Release)
	return list
}

func TestRowsWithoutBytesAreCounted(t *testing.T) {
	const many = 1 << 40
	text := `"twenty bytes of text"`
	for _, tt := range []struct {
		name   string
		column func(*testing.T, memory.Allocator) arrow.Array
		to     arrow.DataType
		row    int
	}{
		{"nulls", func(*testing.T, memory.Allocator) arrow.Array { return array.NewNull(many) }, i64, 6},
		{
			"text behind a dictionary",
			func(t *testing.T, mem memory.Allocator) arrow.Array {
				t.Helper()
				return fromJSON(t, mem, enum, "["+strings.Repeat(text+", ", 5)+text+"]")
			},
			str, 4,
		},
		{
			"structs of no fields",
			func(t *testing.T, mem memory.Allocator) arrow.Array {
				t.Helper()
				return emptyStructs(t, mem, 1000)
			},
			arrow.LargeListOfNonNullable(arrow.StructOf()), 0,
		},
		{
			"binary of no size",
			func(t *testing.T, mem memory.Allocator) arrow.Array {
				t.Helper()
				return fromJSON(t, mem, arrow.ListOf(&arrow.FixedSizeBinaryType{}), "[["+strings.Repeat(`"", `, 99)+`""]]`)
			},
			arrow.ListOfNonNullable(&arrow.FixedSizeBinaryType{}), 0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := checked(t)
			src := tt.column(t, mem)
			plan, err := match(schemaOf(optional("v", src.DataType())), schemaOf(optional("v", tt.to)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = plan[0].cast(mem, src, &budget{bytes: 99})
			var v *ValueError
			if !errors.As(err, &v) || v.Reason != reasonTooBig || v.Row != tt.row {
				t.Errorf("err = %v, want a ValueError in row %d because it is too big", err, tt.row)
			}
		})
	}
}

func TestTheLowestDecimalIsOutOfEveryPrecision(t *testing.T) {
	lowest := decimal128.New(math.MinInt64, 0) // -2^127, which a forged batch may hold
	for _, tt := range []struct {
		step, precision int
		reason          string
	}{{0, 38, reasonRange}, {1, 38, reasonRange}, {-1, 38, reasonLoss}, {-38, 38, reasonLoss}} {
		if got, reason := rescale(lowest, tt.step, tt.precision); reason != tt.reason {
			t.Errorf("rescale(-2^127, %d, %d) = %v, %q; want the reason %q", tt.step, tt.precision, got, reason, tt.reason)
		}
	}
}

func TestADecimalBeyondDoubleIsAValueError(t *testing.T) {
	for _, scale := range []int32{-400, math.MinInt32} {
		mem := checked(t)
		b := array.NewDecimal128Builder(mem, dec(5, scale))
		defer b.Release()
		b.Append(decimal128.FromI64(1))
		column := b.NewArray()
		defer column.Release()
		_, err := record(mem, single(t, column), schemaOf(field("v", f64)))
		var v *ValueError
		if !errors.As(err, &v) || v.Reason != reasonRange {
			t.Errorf("scale %d: err = %v, want a ValueError", scale, err)
		}
	}
}

func TestAMillionRowsAreCast(t *testing.T) {
	mem := checked(t)
	b := array.NewInt32Builder(mem)
	defer b.Release()
	for i := range int32(maxReserve + 1) {
		b.Append(i)
	}
	column := b.NewArray()
	defer column.Release()
	got, err := record(mem, single(t, column), schemaOf(field("v", f64)))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	if v := got.Column(0).(*array.Float64).Value(maxReserve); v != maxReserve {
		t.Errorf("the last value is %v", v)
	}
}

// mark is an extension type without parameters.
type mark struct{ arrow.ExtensionBase }

func (*mark) ArrayType() reflect.Type                    { return reflect.TypeFor[markArray]() }
func (*mark) ExtensionName() string                      { return "test.mark" }
func (*mark) Serialize() string                          { return "" }
func (*mark) ExtensionEquals(o arrow.ExtensionType) bool { return o.ExtensionName() == "test.mark" }
func (m *mark) Deserialize(arrow.DataType, string) (arrow.ExtensionType, error) {
	return m, nil
}

type markArray struct{ array.ExtensionArrayBase }

// twoNulls makes a column of nulls. arrow-go's MakeArrayOfNull panics for a type
// that has the null type among its children, builders for others.
func twoNulls(t *testing.T, mem memory.Allocator, dt arrow.DataType) arrow.Array {
	t.Helper()
	if buildable(dt) {
		return fromJSON(t, mem, dt, `[null, null]`)
	}
	column := array.MakeArrayOfNull(mem, dt, 2)
	t.Cleanup(column.Release)
	return column
}

// TestCompatibleAndRecordAgree tries every pair of a list of types on a column
// of nulls, which must not panic, and must be refused by both or by neither.
func TestCompatibleAndRecordAgree(t *testing.T) {
	sorted := arrow.MapOf(str, i64)
	sorted.KeysSorted = true
	types := []arrow.DataType{
		null, boolT, i8, i16, i32, i64, u8, u16, u32, u64, f16, f32, f64, str, lstr, vstr, bin, lbin, vbin, d32, d64,
		t32s, t32ms, t64us, t64ns, durS, durUs, ts(arrow.Second, ""), ts(arrow.Nanosecond, "UTC"), dec(5, 1), dec(38, -3), dec(1, 38),
		&arrow.Decimal256Type{Precision: 5, Scale: 1}, &arrow.Decimal64Type{Precision: 5, Scale: 1}, &arrow.FixedSizeBinaryType{ByteWidth: 3},
		arrow.FixedWidthTypes.MonthInterval, arrow.FixedWidthTypes.DayTimeInterval, arrow.FixedWidthTypes.MonthDayNanoInterval,
		enum, dictionary(u8, lstr), dictionary(i64, i64), dictionary(u64, arrow.ListOf(i64)), &arrow.DictionaryType{IndexType: i8, ValueType: str, Ordered: true},
		arrow.ListOf(i64), arrow.LargeListOf(str), arrow.ListOfNonNullable(enum), arrow.FixedSizeListOf(2, i8), arrow.ListViewOf(i64), arrow.LargeListViewOf(i8),
		arrow.StructOf(), arrow.StructOf(field("a", i64)), arrow.StructOf(field("a", null)), arrow.StructOf(optional("a", arrow.RunEndEncodedOf(i32, i64))),
		arrow.MapOf(str, i64), sorted, arrow.RunEndEncodedOf(i32, i64), arrow.ListOf(dictionary(i8, vstr)),
		arrow.SparseUnionOf([]arrow.Field{optional("a", i64)}, []int8{3}), arrow.DenseUnionOf([]arrow.Field{optional("a", i64)}, []int8{3}),
		&mark{arrow.ExtensionBase{Storage: i64}},
	}
	mem := checked(t)
	for _, from := range types {
		rec := single(t, twoNulls(t, mem, from))
		for _, to := range types {
			want := schemaOf(optional("v", to))
			compatible := Compatible(rec.Schema(), want)
			got, err := record(mem, rec, want)
			if (compatible == nil) != (err == nil) {
				t.Errorf("%s to %s: Compatible gives %v, Record %v", from, to, compatible, err)
			}
			if compatible != nil && schemacmp.EqualTypes(from, to) {
				t.Errorf("%s is not compatible with itself: %v", from, compatible)
			}
			if err != nil {
				continue
			}
			if got.NumRows() != 2 || to.ID() < arrow.SPARSE_UNION && got.Column(0).NullN() != 2 {
				t.Errorf("%s to %s: got %v", from, to, got)
			}
			got.Release()
		}
	}
}
