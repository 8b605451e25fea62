package cast

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// goodCast is a column, and what becomes of it.
type goodCast struct {
	name string
	from arrow.DataType
	in   string // JSON
	to   arrow.DataType
	want string // JSON
}

func goodScalars() []goodCast {
	return []goodCast{
		{"int32 to double", i32, `[1, null, -3]`, f64, `[1, null, -3]`},
		{"int64 to double", i64, `[9007199254740992, -9007199254740992]`, f64, `[9007199254740992, -9007199254740992]`},
		{"int64 to float", i64, `[16777216, -16777216]`, f32, `[16777216, -16777216]`},
		{"float to double", f32, `[1.5, null, 0.25]`, f64, `[1.5, null, 0.25]`},
		{"double to float rounds", f64, `[0.1, 1e-300]`, f32, `[0.1, 0]`},
		{"infinities and NaN stay", f64, `["NaN", "Inf", "-Inf"]`, f32, `["NaN", "Inf", "-Inf"]`},
		{"half to double", f16, `[1.5, 65504]`, f64, `[1.5, 65504]`},
		{"half to float", f16, `[1.5, null]`, f32, `[1.5, null]`},
		{"half to int", f16, `[2, null]`, i8, `[2, null]`},
		{"double to int64", f64, `[-9223372036854775808, 1152921504606846976]`, i64, `[-9223372036854775808, 1152921504606846976]`},
		{"minus zero to unsigned", f64, `[-0.0, 255]`, u8, `[0, 255]`},
		{"decimal to a larger scale", dec(5, 1), `["1.5", null, "-0.1"]`, dec(10, 4), `["1.5000", null, "-0.1000"]`},
		{"decimal to a smaller scale", dec(5, 2), `["2.00", "-7.00"]`, dec(5, 0), `["2", "-7"]`},
		{"decimal to the largest scale", dec(6, 1), `["-99999.9", "0.0"]`, dec(38, 33), `["-99999.9", "0"]`},
		{"decimal to double", dec(5, 1), `["0.3", "-12.5", null]`, f64, `[0.3, -12.5, null]`},
		{"date32 to date64", d32, `[1, -1, null]`, d64, `[86400000, -86400000, null]`},
		{"date64 to date32", d64, `[86400000, -86400000]`, d32, `[1, -1]`},
		{"timestamp to a finer unit", ts(arrow.Second, "UTC"), `[1, null]`, ts(arrow.Microsecond, "UTC"), `[1000000, null]`},
		{"timestamp to a coarser unit", ts(arrow.Nanosecond, ""), `[-2000000000]`, ts(arrow.Second, ""), `[-2]`},
		{"duration to a finer unit", durS, `[-3]`, durUs, `[-3000000]`},
		{"duration to a coarser unit", durUs, `[3000000]`, durS, `[3]`},
		{"time32 to time64", t32s, `[86399]`, t64us, `[86399000000]`},
		{"time64 to time32", t64ns, `[1000000]`, t32ms, `[1]`},
		{"time32 to time32", t32s, `[60]`, t32ms, `[60000]`},
		{"null to int", null, `[null, null]`, i64, `[null, null]`},
		{"null to text", null, `[null]`, str, `[null]`},
		{"null to an enum", null, `[null]`, enum, `[null]`},
		{"null to a list", null, `[null]`, arrow.ListOf(i64), `[null]`},
		{"null to a struct", null, `[null]`, arrow.StructOf(field("a", i64)), `[null]`},
		{"null to a map", null, `[null]`, arrow.MapOf(str, i64), `[null]`},
	}
}

func goodTexts() []goodCast {
	out := []goodCast{
		{"enum to text", enum, `["a", null, "b", "a"]`, str, `["a", null, "b", "a"]`},
		{"dictionary to large text", dictionary(u32, str), `["a", "b"]`, lstr, `["a", "b"]`},
		{"dictionary to binary", dictionary(i8, str), `["a"]`, bin, `["YQ=="]`},
		{"dictionary to another index", dictionary(i32, str), `["a", null, "a"]`, enum, `["a", null, "a"]`},
		{"dictionary of ints to double", dictionary(i8, i64), `[7, null, 7]`, f64, `[7, null, 7]`},
		{"dictionary of decimals", dictionary(i8, dec(5, 1)), `["1.5"]`, dec(6, 2), `["1.50"]`},
		{"text to enum", str, `["a", null, "b", "a"]`, enum, `["a", null, "b", "a"]`},
		{"large text to enum", lstr, `["a", ""]`, enum, `["a", ""]`},
		{"binary to enum", bin, `["YQ==", ""]`, enum, `["a", ""]`},
	}
	layouts := []struct {
		dt   arrow.DataType
		json string
	}{
		{str, `["", null, "é twelve or more bytes"]`},
		{lstr, `["", null, "é twelve or more bytes"]`},
		{vstr, `["", null, "é twelve or more bytes"]`},
		{bin, `["", null, "w6kgdHdlbHZlIG9yIG1vcmUgYnl0ZXM="]`},
		{lbin, `["", null, "w6kgdHdlbHZlIG9yIG1vcmUgYnl0ZXM="]`},
		{vbin, `["", null, "w6kgdHdlbHZlIG9yIG1vcmUgYnl0ZXM="]`},
	}
	for _, from := range layouts {
		for _, to := range layouts {
			out = append(out, goodCast{from.dt.Name() + " to " + to.dt.Name(), from.dt, from.json, to.dt, to.json})
		}
	}
	return append(out, goodCast{"bytes that are not text", bin, `["/w=="]`, vbin, `["/w=="]`})
}

func goodContainers() []goodCast {
	pair := func(a, b arrow.DataType) arrow.DataType { return arrow.StructOf(optional("a", a), optional("b", b)) }
	sorted := arrow.MapOf(str, i64)
	sorted.KeysSorted = true
	intervals := []arrow.Field{optional("m", arrow.FixedWidthTypes.MonthInterval), optional("d", arrow.FixedWidthTypes.DayTimeInterval), optional("n", arrow.FixedWidthTypes.MonthDayNanoInterval)}
	const intervalJSON = `{"m": {"months": 3}, "d": {"days": 1, "milliseconds": 2}, "n": {"months": 1, "days": 2, "nanoseconds": 3}`
	plain := arrow.StructOf(optional("t", boolT), optional("f", &arrow.FixedSizeBinaryType{ByteWidth: 1}), optional("h", f16),
		optional("d", &arrow.Decimal256Type{Precision: 50, Scale: 1}), optional("e", arrow.StructOf()), optional("n", i32))
	wide := arrow.StructOf(append(plain.Fields()[:5:5], optional("n", i64))...)
	const plainJSON = `[{"t": true, "f": "YQ==", "h": 1.5, "d": "2.5", "e": {}, "n": 1}, {}]`
	return []goodCast{
		{"list items", arrow.ListOf(i64), `[[1, null], null, [], [3]]`, arrow.ListOf(i8), `[[1, null], null, [], [3]]`},
		{"list to large list", arrow.ListOf(i64), `[[1], null]`, arrow.LargeListOf(f64), `[[1], null]`},
		{"large list to list", arrow.LargeListOf(i64), `[[1], null]`, arrow.ListOf(i64), `[[1], null]`},
		{"fixed list to list", arrow.FixedSizeListOf(2, i64), `[[1, 2], null, [3, 4]]`, arrow.ListOf(i64), `[[1, 2], null, [3, 4]]`},
		{"fixed list items", arrow.FixedSizeListOf(2, i64), `[[1, 2], null, [3, 4]]`, arrow.FixedSizeListOf(2, i8), `[[1, 2], null, [3, 4]]`},
		{"items declared not null", arrow.ListOf(i64), `[[1], null]`, arrow.ListOfNonNullable(i64), `[[1], null]`},
		{"items declared nullable", arrow.ListOfNonNullable(i64), `[[1], null]`, arrow.ListOf(i64), `[[1], null]`},
		{"list of enums", arrow.ListOf(str), `[["a", "b"], ["a"]]`, arrow.ListOf(enum), `[["a", "b"], ["a"]]`},
		{"lists in lists", arrow.ListOf(arrow.ListOf(i8)), `[[[1], null], []]`, arrow.ListOf(arrow.LargeListOf(i16)), `[[[1], null], []]`},
		{"list of nothing", arrow.ListOf(null), `[[null, null], []]`, arrow.ListOf(i64), `[[null, null], []]`},
		{"struct fields", pair(i64, str), `[{"a": 1, "b": "x"}, null, {"a": null, "b": "y"}]`, pair(i8, lstr), `[{"a": 1, "b": "x"}, null, {"a": null, "b": "y"}]`},
		{
			"struct fields in another order", arrow.StructOf(optional("b", str), optional("a", i64)), `[{"a": 1, "b": "x"}]`,
			pair(i64, str), `[{"a": 1, "b": "x"}]`,
		},
		{
			"intervals that stay", arrow.StructOf(append(intervals, optional("x", i8))...), `[` + intervalJSON + `, "x": 1}, null]`,
			arrow.StructOf(append(intervals[:3:3], optional("x", i16))...), `[` + intervalJSON + `, "x": 1}, null]`,
		},
		{"siblings that stay", plain, plainJSON, wide, plainJSON},
		{"map values", arrow.MapOf(str, i64), `[[{"key": "a", "value": 1}], null, []]`, arrow.MapOf(str, i8), `[[{"key": "a", "value": 1}], null, []]`},
		{"map keys", arrow.MapOf(str, i64), `[[{"key": "a", "value": null}]]`, arrow.MapOf(lstr, i64), `[[{"key": "a", "value": null}]]`},
		{"sorted map to map", sorted, `[[{"key": "a", "value": 1}]]`, arrow.MapOf(str, i64), `[[{"key": "a", "value": 1}]]`},
		{
			"everything at once", arrow.ListOf(pair(arrow.MapOf(enum, i8), dec(3, 1))), `[[{"a": [{"key": "k", "value": 1}], "b": "1.5"}], null]`,
			arrow.ListOf(pair(arrow.MapOf(str, f64), f64)), `[[{"a": [{"key": "k", "value": 1}], "b": 1.5}], null]`,
		},
	}
}

func TestCastsKeepEveryValue(t *testing.T) {
	for _, cases := range [][]goodCast{goodScalars(), goodTexts(), goodContainers()} {
		for _, tt := range cases {
			t.Run(tt.name, func(t *testing.T) {
				mem := checked(t)
				want := schemaOf(optional("v", tt.to))
				column, wanted := fromJSON(t, mem, tt.from, tt.in), fromJSON(t, mem, tt.to, tt.want)
				for from := range int64(column.Len() + 1) { // as it is, and sliced
					rec := single(t, column).NewSlice(from, int64(column.Len()))
					expected := array.NewSlice(wanted, from, int64(column.Len()))
					checkCast(t, mem, rec, want, expected)
					rec.Release()
					expected.Release()
				}
			})
		}
	}
}

func checkCast(t *testing.T, mem memory.Allocator, rec arrow.RecordBatch, want *arrow.Schema, expected arrow.Array) {
	t.Helper()
	if err := Compatible(rec.Schema(), want); err != nil {
		t.Fatalf("Compatible: %v", err)
	}
	got, err := record(mem, rec, want)
	if err != nil {
		t.Fatalf("Record: %v", err)
	}
	defer got.Release()
	if !schemacmp.Equal(got.Schema(), want) || got.NumRows() != rec.NumRows() {
		t.Errorf("the result has the schema %v and %d rows", got.Schema(), got.NumRows())
	}
	if err := array.ValidateFull(got.Column(0)); err != nil {
		t.Errorf("the result is invalid: %v", err)
	}
	// Dictionaries may differ in their entries and mean the same.
	equal := array.Equal(got.Column(0), expected) || got.Column(0).String() == expected.String()
	if text := valueString(got.Column(0)); !equal && text != valueString(expected) {
		t.Errorf("got %s, want %s", text, valueString(expected))
	}
}

func valueString(arr arrow.Array) string {
	text, err := arr.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func TestAValueThatCannotBeKeptIsAValueError(t *testing.T) {
	notNull := arrow.StructOf(field("a", i64))
	inner := optional("v", arrow.ListOf(arrow.StructOf(optional("x", arrow.MapOf(str, i64)))))
	for _, tt := range []struct {
		name   string
		from   arrow.DataType
		in     string
		to     arrow.Field
		reason string
		row    int
		field  string
	}{
		{"an int above the range", i64, `[0, 128]`, optional("v", i8), reasonRange, 1, "v"},
		{"an int below the range", i64, `[-129]`, optional("v", i8), reasonRange, 0, "v"},
		{"a negative as unsigned", i8, `[null, -1]`, optional("v", u64), reasonRange, 1, "v"},
		{"an int beyond double", i64, `[9007199254740993]`, optional("v", f64), reasonLoss, 0, "v"},
		{"an int beyond double that is even", i64, `[9007199254740994]`, optional("v", f64), reasonLoss, 0, "v"},
		{"an int beyond float", i32, `[-16777218]`, optional("v", f32), reasonLoss, 0, "v"},
		{"a fraction as int", f64, `[1, 1.5]`, optional("v", i64), reasonLoss, 1, "v"},
		{"NaN as int", f32, `["NaN"]`, optional("v", i64), reasonLoss, 0, "v"},
		{"infinity as int", f64, `["-Inf"]`, optional("v", i64), reasonRange, 0, "v"},
		{"2^63 as int64", f64, `[9223372036854775808]`, optional("v", i64), reasonRange, 0, "v"},
		{"2^64 as uint64", f64, `[18446744073709551616]`, optional("v", u64), reasonRange, 0, "v"},
		{"a double beyond float", f64, `[1e39]`, optional("v", f32), reasonRange, 0, "v"},
		{"a decimal that loses a digit", dec(5, 2), `["1.50", "1.55"]`, optional("v", dec(5, 1)), reasonLoss, 1, "v"},
		{"a decimal beyond the precision", dec(5, 0), `["99999"]`, optional("v", dec(4, 0)), reasonRange, 0, "v"},
		{"a decimal beyond the scale's room", dec(10, 1), `["-999999999.9"]`, optional("v", dec(38, 30)), reasonRange, 0, "v"},
		{"a decimal whose scale leaves no digit", dec(5, 0), `["10"]`, optional("v", dec(5, -39)), reasonLoss, 0, "v"},
		{"a decimal whose scale leaves no room", dec(5, 0), `["1"]`, optional("v", dec(3, 3)), reasonRange, 0, "v"},
		{"part of a day", d64, `[86400001]`, optional("v", d32), reasonLoss, 0, "v"},
		{"part of a second", ts(arrow.Microsecond, ""), `[-1]`, optional("v", ts(arrow.Second, "")), reasonLoss, 0, "v"},
		{"a timestamp out of range", ts(arrow.Second, ""), `[9223372036854775]`, optional("v", ts(arrow.Nanosecond, "")), reasonRange, 0, "v"},
		{"a duration out of range", durS, `[-9223372036854775]`, optional("v", durUs), reasonRange, 0, "v"},
		{"a time out of range", t32s, `[2147484]`, optional("v", t32ms), reasonRange, 0, "v"},
		{"bytes that are not text", bin, `["YQ==", "/w=="]`, optional("v", str), reasonUTF8, 1, "v"},
		{"bytes that are not an enum", lbin, `["/w=="]`, optional("v", enum), reasonUTF8, 0, "v"},
		{"a null where none may be", i64, `[1, null]`, field("v", i64), reasonNull, 1, "v"},
		{"a null where none may be, and a cast", i32, `[1, null]`, field("v", i64), reasonNull, 1, "v"},
		{"the null type where no null may be", null, `[null, null]`, field("v", i64), reasonNull, 0, "v"},
		{"an item", arrow.ListOf(i64), `[[], [1, 300]]`, optional("v", arrow.ListOf(i8)), reasonRange, 1, "v.item"},
		{"a null item", arrow.ListOf(i64), `[[1], [null]]`, optional("v", arrow.ListOfNonNullable(i64)), reasonNull, 1, "v.item"},
		{"a null item of the null type", arrow.ListOf(null), `[[], [null]]`, optional("v", arrow.ListOfNonNullable(i64)), reasonNull, 1, "v.item"},
		{"a struct field", arrow.StructOf(field("a", i64)), `[{"a": 300}]`, optional("v", arrow.StructOf(field("a", u8))), reasonRange, 0, "v.a"},
		{"a null struct field", arrow.StructOf(optional("a", i64)), `[null, {"a": null}]`, optional("v", notNull), reasonNull, 1, "v.a"},
		{
			"deep inside", arrow.ListOf(arrow.StructOf(optional("x", arrow.MapOf(str, u64)))), `[[], [{"x": [{"key": "k", "value": 18446744073709551615}]}]]`,
			inner, reasonRange, 1, "v.item.x.value",
		},
		{"a map key", arrow.MapOf(bin, i64), `[[{"key": "/w==", "value": 1}]]`, optional("v", arrow.MapOf(str, i64)), reasonUTF8, 0, "v.key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := checked(t)
			rec := single(t, fromJSON(t, mem, tt.from, tt.in))
			if err := Compatible(rec.Schema(), schemaOf(tt.to)); err != nil {
				t.Fatalf("Compatible: %v", err)
			}
			_, err := record(mem, rec, schemaOf(tt.to))
			var v *ValueError
			if !errors.As(err, &v) {
				t.Fatalf("err = %v, want a ValueError", err)
			}
			if v.Reason != tt.reason || v.Row != tt.row || v.Field != tt.field || v.Received == nil || v.Expected == nil {
				t.Errorf("%+v: want field %s, row %d, reason %q", v, tt.field, tt.row, tt.reason)
			}
			if text := err.Error(); !strings.Contains(text, tt.field) || strings.Contains(text, "300") {
				t.Errorf("the text %q names no field, or the value", text)
			}
		})
	}
}

func TestValuesUnderANullDoNotMatter(t *testing.T) {
	mem := checked(t)
	// The children hold what would not fit, where their parents are null.
	big, nulls := fromJSON(t, mem, i64, `[300, 1]`), fromJSON(t, mem, boolT, `[null, true]`)
	bitmap := nulls.Data().Buffers()[0]
	offsets := fromJSON(t, mem, i32, `[0, 1, 2]`).Data().Buffers()[1]
	listType, structType := arrow.ListOf(i64), arrow.StructOf(field("a", i64))
	listData := array.NewData(listType, 2, []*memory.Buffer{bitmap, offsets}, []arrow.ArrayData{big.Data()}, 1, 0)
	structData := array.NewData(structType, 2, []*memory.Buffer{bitmap}, []arrow.ArrayData{big.Data()}, 1, 0)
	t.Cleanup(listData.Release)
	t.Cleanup(structData.Release)
	for _, tt := range []struct {
		name string
		in   *array.Data
		to   arrow.DataType
		want string
	}{
		{"in a list", listData, arrow.ListOf(i8), `[null, [1]]`},
		{"in a struct", structData, arrow.StructOf(field("a", i8)), `[null, {"a": 1}]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			column := array.MakeFromData(tt.in)
			defer column.Release()
			checkCast(t, mem, single(t, column), schemaOf(optional("v", tt.to)), fromJSON(t, mem, tt.to, tt.want))
		})
	}
}
