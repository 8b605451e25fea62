package arrowjson_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/internal/arrowjson"
)

// setting is how a program or a person reads and writes.
type setting struct {
	read  arrowjson.ReadOptions
	write arrowjson.WriteOptions
}

// program and person are the two settings that are in use: the JSON gateway's
// and the command line's.
func program() setting {
	return setting{write: arrowjson.WriteOptions{QuoteLarge: true}}
}

func person() setting {
	return setting{
		arrowjson.ReadOptions{Lenient: true, NameKeys: true},
		arrowjson.WriteOptions{ShortInf: true, TrimDecimals: true, DurationUnits: true},
	}
}

// column reads a JSON text into a column of one row.
func (s setting) column(f arrow.Field, text string) (arrow.Array, error) {
	v, err := arrowjson.Parse([]byte(text), 64)
	if err != nil {
		return nil, err
	}
	b := array.NewBuilder(memory.DefaultAllocator, f.Type)
	if err := s.read.Append(b, f, v); err != nil {
		return nil, err
	}
	return b.NewArray(), nil
}

// again reads a JSON text and writes what was read, or "!" and the refusal.
func (s setting) again(tb testing.TB, f arrow.Field, text string) string {
	tb.Helper()
	col, err := s.column(f, text)
	if err != nil {
		refused, ok := errors.AsType[*arrowjson.Error](err)
		if !ok {
			tb.Fatalf("%s: %v is no Error", text, err)
		}
		return "!" + refused.Error()
	}
	out, err := s.write.Append(nil, col, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}

func point() arrow.DataType {
	return arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Float64},
		arrow.Field{Name: "label", Type: arrow.BinaryTypes.String, Nullable: true})
}

func enum(words arrow.DataType) arrow.DataType {
	return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: words}
}

// identifier is an extension type with a builder of its own.
type identifier struct{ arrow.ExtensionBase }

func newIdentifier() *identifier {
	return &identifier{arrow.ExtensionBase{Storage: &arrow.FixedSizeBinaryType{ByteWidth: 16}}}
}

type (
	identifiers       struct{ array.ExtensionArrayBase }
	identifierBuilder struct{ *array.ExtensionBuilder }
)

func (*identifier) ArrayType() reflect.Type { return reflect.TypeFor[identifiers]() }
func (*identifier) ExtensionName() string   { return "test.identifier" }
func (*identifier) Serialize() string       { return "" }
func (t *identifier) ExtensionEquals(other arrow.ExtensionType) bool {
	return t.ExtensionName() == other.ExtensionName()
}

func (t *identifier) Deserialize(arrow.DataType, string) (arrow.ExtensionType, error) { return t, nil }

func (t *identifier) NewBuilder(mem memory.Allocator) array.Builder {
	return &identifierBuilder{array.NewExtensionBuilder(mem, t)}
}

// row is a JSON text and how it is written once a program has read it, and a
// person; "" is as it was read, for a person also as for a program. "!" begins
// the refusal, or a part of it.
type row struct{ in, program, person string }

func testRows(t *testing.T, f arrow.Field, rows []row) {
	t.Helper()
	for _, r := range rows {
		forProgram, forPerson := r.program, r.person
		if forProgram == "" {
			forProgram = r.in
		}
		if forPerson == "" {
			forPerson = forProgram
		}
		for who, c := range map[string]struct {
			setting setting
			want    string
		}{"a program": {program(), forProgram}, "a person": {person(), forPerson}} {
			got := c.setting.again(t, f, r.in)
			if reason, ok := strings.CutPrefix(c.want, "!"); ok && strings.HasPrefix(got, "!") && strings.Contains(got, reason) {
				continue
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s as %v for %s (-want +got)\n%s", r.in, f.Type, who, diff)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		t    arrow.DataType
		rows []row
	}{
		{"booleans", arrow.FixedWidthTypes.Boolean, []row{
			{in: `true`}, {in: `false`}, {in: `1`, program: "!want true or false, got a number"}, {in: `null`, program: "!null where a value is required"},
		}},
		{"integers are exact", arrow.PrimitiveTypes.Int64, []row{
			{in: `0`},
			{in: `-42`},
			{in: `9007199254740991`},
			{`9007199254740993`, `"9007199254740993"`, `9007199254740993`},
			{`"9223372036854775807"`, "", `9223372036854775807`},
			{`-9223372036854775808`, `"-9223372036854775808"`, `-9223372036854775808`},
			{in: `1e3`, program: `1000`},
			{in: `5.0`, program: `5`},
			{in: `"7"`, program: `7`},
			{in: `9223372036854775808`, program: "!outside the range of int64"},
			{in: `1.5`, program: "!got a number with a fraction"},
			{in: `1e999999999`, program: "!want an integer"},
			{in: `"1_000"`, program: "!want an integer"},
			{in: `"0x10"`, program: "!want an integer"},
			{in: `""`, program: "!want an integer"},
			{in: `"+-1"`, program: "!want an integer"},
			{in: `true`, program: "!want an integer, got a boolean"},
		}},
		{"narrow integers keep their range", arrow.PrimitiveTypes.Int8, []row{
			{in: `127`},
			{in: `-128`},
			{in: `128`, program: "!outside the range of int8"},
			{in: `-129`, program: "!outside the range of int8"},
			{in: `1.27e2`, program: `127`},
		}},
		{"unsigned integers", arrow.PrimitiveTypes.Uint64, []row{
			{`"18446744073709551615"`, "", `18446744073709551615`},
			{in: `18446744073709551616`, program: "!outside the range of uint64"},
			{in: `-1`, program: "!outside the range of uint64"},
		}},
		{"floats", arrow.PrimitiveTypes.Float64, []row{
			{in: `0.1`},
			{in: `-0`},
			{in: `1e300`, program: `1e+300`},
			{in: `1e-9`, program: `1e-09`},
			{in: `"NaN"`},
			{`"Infinity"`, "", `"Inf"`},
			{`"-Infinity"`, "", `"-Inf"`},
			{`"Inf"`, "!want a number, or one of the strings", `"Inf"`},
			{in: `1e400`, program: "!outside the range of float64"},
			{`"1.5"`, "!want a number, or one of the strings", `1.5`},
			{in: `"1.5x"`, program: "!want a number, or one of the strings"},
		}},
		{"short floats", arrow.PrimitiveTypes.Float32, []row{
			{in: `0.1`}, {in: `"NaN"`}, {in: `1e39`, program: "!outside the range of float32"},
		}},
		{"half floats", arrow.FixedWidthTypes.Float16, []row{
			{in: `1.5`}, {`"Infinity"`, "", `"Inf"`}, {in: `"NaN"`}, {in: `70000`, program: "!outside the range of float16"},
		}},
		{"decimals keep every digit", &arrow.Decimal128Type{Precision: 20, Scale: 4}, []row{
			{`"12.50"`, `"12.5000"`, `"12.5"`},
			{`-0.0001`, `"-0.0001"`, ""},
			{`1e2`, `"100.0000"`, `"100"`},
			{`"1e2"`, `"100.0000"`, `"100"`},
			{in: `"9999999999999999.9999"`},
			{in: `"0.00001"`, program: "!more than 4 digits after the point"},
			{in: `"10000000000000000"`, program: "!more than 20 digits"},
			{in: `"1."`, program: `!want a decimal number in a string, such as "12.50"`},
		}},
		{"decimals of more digits than floats have", &arrow.Decimal128Type{Precision: 38, Scale: 10}, []row{
			{in: `"1234567890123456789012345678.0123456789"`}, {`"0.0000000001"`, "", ""},
		}},
		{"the longest decimals", &arrow.Decimal256Type{Precision: 76}, []row{
			{in: `"-1234567890123456789012345678901234567890123456789012345678901234567890123456"`},
		}},
		{"short decimals", &arrow.Decimal32Type{Precision: 9, Scale: -2}, []row{{in: `"1200"`}, {in: `"120"`, program: "!more than"}}},
		{"decimals of 64 bits", &arrow.Decimal64Type{Precision: 18, Scale: 2}, []row{{`1.5`, `"1.50"`, `"1.5"`}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			testRows(t, arrow.Field{Type: test.t}, test.rows)
		})
	}
}

func TestTextAndBytes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		t    arrow.DataType
		rows []row
	}{
		{"text", arrow.BinaryTypes.String, []row{
			{in: `""`},
			{in: `"<b>&"`},
			{in: `"a\"\\\n\u0001"`},
			{in: `"héé 🜚"`},
			{in: `"\u2028"`},
			{in: `"\u001b[2J\u0085\n\t\"\\é😀"`},
			{in: `5`, program: "!want a string, got a number"},
		}},
		{"binary is base64", arrow.BinaryTypes.Binary, []row{
			{in: `""`},
			{in: `"AP8="`},
			{in: `"AP8"`, program: `"AP8="`},
			{in: `"_-8"`, program: `"/+8="`},
			{in: `"A"`, program: "!want a string of base64"},
			{in: `"AP8=="`, program: "!want a string of base64"},
			{in: `"AP9="`, program: "!want a string of base64"},
			{`"AP8A\r\n/w==\n"`, "!want a string of base64", `"AP8A/w=="`},
			{in: `[0]`, program: "!got an array"},
		}},
		{"fixed binary", &arrow.FixedSizeBinaryType{ByteWidth: 2}, []row{{in: `"AP8="`}, {in: `"AA=="`, program: "!want 2 bytes, got 1"}}},
		{"large text", arrow.BinaryTypes.LargeString, []row{{in: `"x"`}}},
		{"large binary", arrow.BinaryTypes.LargeBinary, []row{{in: `"AAE="`}}},
		{"views of text", arrow.BinaryTypes.StringView, []row{{in: `"x"`}}},
		{"views of binary", arrow.BinaryTypes.BinaryView, []row{{in: `"AAE="`}}},
		{"enums", enum(arrow.BinaryTypes.String), []row{{in: `"RED"`}, {in: `1`, program: "!want a string"}}},
		{"dictionaries of numbers", enum(arrow.PrimitiveTypes.Int64), []row{{in: `5`}, {in: `"x"`, program: "!want an integer"}}},
		{"dictionaries of bytes", enum(arrow.BinaryTypes.Binary), []row{{in: `"AAE="`}, {in: `"*"`, program: "!want a string of base64"}}},
		{"extensions", newIdentifier(), []row{{in: `"AAAAAAAAAAAAAAAAAAAAAA=="`}, {in: `"AA=="`, program: "!want 16 bytes, got 1"}}},
		{"run ends", arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String), []row{{in: `"x"`}, {in: `1`, program: "!want a string"}}},
		{"nothing", arrow.Null, []row{{in: `null`}, {in: `0`, program: "!want null, got a number"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			testRows(t, arrow.Field{Type: test.t}, test.rows)
		})
	}
}

func TestMoments(t *testing.T) {
	t.Parallel()
	zoned := &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	local := &arrow.TimestampType{Unit: arrow.Second}
	for _, test := range []struct {
		name string
		t    arrow.DataType
		rows []row
	}{
		{"times", zoned, []row{
			{in: `"2026-11-21T13:45:00.123456Z"`},
			{in: `"2026-11-21T13:45:00+02:00"`, program: `"2026-11-21T11:45:00Z"`},
			{in: `"1969-12-31T23:59:59.5Z"`},
			{in: `"0000-01-01T00:00:00Z"`},
			{in: `"+010000-01-01T00:00:00.000001Z"`},
			{in: `"-000001-12-31T23:59:59.999999Z"`},
			{in: `"-290308-12-21T19:59:05.224192Z"`},
			{in: `"-290308-12-21T19:59:05.224191Z"`, program: "!outside the range"},
			{in: `"+294247-01-10T04:00:54.775807Z"`},
			{in: `"+294247-01-10T04:00:54.775808Z"`, program: "!outside the range"},
			{in: `"+002026-11-21T13:45:00Z"`, program: "!want a time"},
			{in: `"+-10000-11-21T13:45:00Z"`, program: "!want a time"},
			{`"2026-11-21T13:45:00"`, "!want a time of RFC 3339", `"2026-11-21T13:45:00Z"`},
			{`"2026-11-21 13:45"`, "!want a time of RFC 3339", `"2026-11-21T13:45:00Z"`},
			{`"2026-11-21"`, "!want a time of RFC 3339", `"2026-11-21T00:00:00Z"`},
			{in: `"2026-11-21T13:45:00.1234567Z"`, program: "!finer than the column's unit"},
			{in: `"2026-11-21T13:45:00.12345600000001Z"`, program: "!want a time of RFC 3339"},
			{in: `"2026-02-30T00:00:00Z"`, program: "!want a time"},
			{in: `5`, program: "!got a number"},
		}},
		{"times of a zone are written in UTC, known or not", &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "Nowhere"}, []row{
			{in: `"2026-11-21T13:45:00.5+01:00"`, program: `"2026-11-21T12:45:00.5Z"`},
			{in: `"1677-09-21T00:12:43.145224192Z"`},
			{in: `"1677-09-21T00:12:43.145224191Z"`, program: "!outside the range"},
		}},
		{"times without a zone", local, []row{
			{in: `"2026-11-21T13:45:00"`},
			{in: `"2026-11-21T13:45:00Z"`, program: `"2026-11-21T13:45:00"`},
			{`"2026-11-21T13:45:00+01:00"`, "!want a time without a zone", `"2026-11-21T12:45:00"`},
			{in: `"+292277026596-12-04T15:30:07"`},
			{in: `"+292277026596-12-04T15:30:08"`, program: "!outside the range"},
		}},
		{"dates", arrow.FixedWidthTypes.Date32, []row{
			{in: `"2026-11-21"`},
			{in: `"1960-02-29"`},
			{in: `"+5881580-07-11"`},
			{in: `"+5881580-07-12"`, program: "!outside the range"},
			{in: `"2026-11-21T00:00:00Z"`, program: "!want a date"},
			{in: `"20261121"`, program: "!want a date"},
		}},
		{"dates in milliseconds", arrow.FixedWidthTypes.Date64, []row{
			{in: `"2026-11-21"`}, {in: `"-000400-02-29"`}, {in: `"+292278994-08-17"`}, {in: `"+292278994-08-18"`, program: "!outside the range"},
		}},
		{"times of day", arrow.FixedWidthTypes.Time64us, []row{
			{in: `"13:45:00.5"`}, {in: `"13:45"`, program: `"13:45:00"`}, {in: `"24:00:00"`, program: "!want a time of day"},
		}},
		{"times of day in seconds", arrow.FixedWidthTypes.Time32s, []row{{in: `"23:59:59"`}, {in: `"13:45:00.5"`, program: "!finer than"}}},
		{"durations", arrow.FixedWidthTypes.Duration_us, []row{
			{`"90.5s"`, "", `"90500000us"`},
			{`"-0.000001s"`, "", `"-1us"`},
			{`"1m30s"`, `"90s"`, `"90000000us"`},
			{`"100ms"`, `"0.1s"`, `"100000us"`},
			{`"9223372036854775807us"`, `"9223372036854.775807s"`, `"9223372036854775807us"`},
			{in: `"9223372036854775808us"`, program: "!outside the range"},
			{in: `"1ns"`, program: "!finer than the column's unit"},
			{in: `"9223372036854775807s"`, program: "!outside the range"},
			{in: `"s"`, program: "!want a duration"},
			{in: `5`, program: "!want a duration"},
		}},
		{"months", arrow.FixedWidthTypes.MonthInterval, []row{
			{in: `{"months":-7}`}, {in: `{}`, program: `{"months":0}`}, {in: `{"month":1}`, program: `!unknown name "month": want months`},
		}},
		{"days and milliseconds", arrow.FixedWidthTypes.DayTimeInterval, []row{
			{in: `{"days":1,"milliseconds":-2}`}, {in: `{"days":2147483648}`, program: "!days: the number is outside the range"},
		}},
		{"months, days and nanoseconds", arrow.FixedWidthTypes.MonthDayNanoInterval, []row{
			{`{"months":1,"days":2,"nanoseconds":"9007199254740993"}`, "", `{"months":1,"days":2,"nanoseconds":9007199254740993}`},
			{in: `3`, program: "!want an object of months, days, nanoseconds, got a number"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			testRows(t, arrow.Field{Type: test.t}, test.rows)
		})
	}
}

func TestNestedValues(t *testing.T) {
	t.Parallel()
	integers := arrow.ListOfNonNullable(arrow.PrimitiveTypes.Int64)
	for _, test := range []struct {
		name string
		t    arrow.DataType
		rows []row
	}{
		{"lists", arrow.ListOf(integers), []row{
			{in: `[]`},
			{in: `[[1,2],[],[3]]`},
			{in: `[null]`},
			{in: `[[1],["x"]]`, program: "![1][0]: want an integer"},
			{in: `[[null]]`, program: "![0][0]: null where a value is required"},
			{in: `{}`, program: "!want an array, got an object"},
		}},
		{"fixed lists", arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int32), []row{
			{in: `[1,2]`}, {in: `[1,null]`}, {in: `[1]`, program: "!want 2 elements, got 1"},
		}},
		{"large lists", arrow.LargeListOf(arrow.BinaryTypes.String), []row{{in: `[]`}, {in: `["x",null]`}}},
		{"views of lists", arrow.ListViewOf(arrow.PrimitiveTypes.Int8), []row{{in: `[1,2]`}}},
		{"maps with text keys", arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), []row{
			{in: `{}`},
			{in: `{"a":1,"b":2}`},
			{in: `[["a",1]]`, program: `{"a":1}`},
			{in: `[["a",1],["a",2]]`},
			{`{"a":"x"}`, "![0]: want an integer", `!["a"]: want an integer`},
			{in: `[["a"]]`, program: "![0]: want a [key, value] pair"},
			{in: `[[null,1]]`, program: "!null where a value is required"},
			{in: `{"a":1,"a":2}`, program: `!the name "a" stands in one object twice`},
			{in: `5`, program: "!want an object, or an array of [key, value] pairs, got a number"},
		}},
		{"maps whose keys are enums", arrow.MapOf(enum(arrow.BinaryTypes.String), arrow.PrimitiveTypes.Int64), []row{{in: `{"a":1,"b":2}`}}},
		{"maps with other keys", arrow.MapOf(arrow.PrimitiveTypes.Int64, arrow.FixedWidthTypes.Boolean), []row{
			{in: `[[1,true],[2,false]]`}, {in: `{"1":true}`, program: `[[1,true]]`}, {in: `{}`, program: `[]`},
		}},
		{"structs", arrow.ListOf(point()), []row{
			{in: `[{"x":1,"label":"a"},{"x":2,"label":null}]`},
			{`[{"x":1}]`, "![0].label: missing", `[{"x":1,"label":null}]`},
			{in: `[{"label":"a"}]`, program: "![0].x: missing"},
			{in: `[{"x":1,"label":"a","y":2}]`, program: `![0]: unknown name "y": want x, label`},
			{in: `[5]`, program: "![0]: want an object, got a number"},
		}},
		{"structs without members", arrow.StructOf(), []row{{in: `{}`}, {in: `{"a":1}`, program: `!unknown name "a": there are none`}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			testRows(t, arrow.Field{Type: test.t}, test.rows)
		})
	}
}

func TestOptionalValues(t *testing.T) {
	t.Parallel()
	testRows(t, arrow.Field{Type: arrow.PrimitiveTypes.Int64, Nullable: true}, []row{{in: `null`}, {in: `5`}})
}

func TestSpecialFloatsInsideValues(t *testing.T) {
	t.Parallel()
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	b.AppendValues([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e21, 1e-7, 123456789, math.Copysign(0, -1)}, nil)
	col := b.NewArray()
	for want, s := range map[string]setting{
		`"NaN" "Infinity" "-Infinity" 1e+21 1e-07 123456789 -0`: program(),
		`"NaN" "Inf" "-Inf" 1e+21 1e-07 123456789 -0`:           person(),
	} {
		var out []string
		for i := range col.Len() {
			text, err := s.write.Append(nil, col, i)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(text))
		}
		if diff := cmp.Diff(want, strings.Join(out, " ")); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

func TestWhatOnlyPeopleRead(t *testing.T) {
	t.Parallel()
	fields := []arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}}
	for _, mode := range []arrow.UnionMode{arrow.DenseMode, arrow.SparseMode} {
		u := arrow.UnionOf(mode, fields, []arrow.UnionTypeCode{5, 7})
		col, _, err := array.FromJSON(memory.DefaultAllocator, u, strings.NewReader(`[[5, 1], [7, "\u001b[2J"]]`))
		if err != nil {
			t.Fatal(err)
		}
		s := person()
		out, err := s.write.Append(nil, col, 1)
		if diff := cmp.Diff(`[7,"\u001b[2J"]`, string(out)); diff != "" || err != nil {
			t.Errorf("%v: %v (-want +got)\n%s", u, err, diff)
		}
		if err := arrowjson.Supported(arrow.ListOf(u)); err == nil || !strings.Contains(err.Error(), "has no form in JSON") {
			t.Errorf("%v is supported: %v", u, err)
		}
	}
	for _, other := range []arrow.DataType{
		enum(arrow.PrimitiveTypes.Int8), arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String),
	} {
		if err := arrowjson.Supported(arrow.StructOf(arrow.Field{Name: "a", Type: other})); err == nil || !strings.HasPrefix(err.Error(), "a: ") {
			t.Errorf("%v is supported: %v", other, err)
		}
	}
	if err := arrowjson.Supported(arrow.MapOf(enum(arrow.BinaryTypes.String), point())); err != nil {
		t.Error(err)
	}
}

func TestBytesThatHoldARow(t *testing.T) {
	t.Parallel()
	inner := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil), []arrow.Array{integer(5)}, 1)
	write := arrowjson.WriteOptions{Unpack: func(data []byte) arrow.RecordBatch {
		if string(data) == "row" {
			return inner
		}
		return nil
	}}
	b := array.NewBinaryBuilder(memory.DefaultAllocator, arrow.BinaryTypes.Binary)
	b.AppendString("row")
	b.AppendString("raw")
	rec := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "b", Type: arrow.BinaryTypes.Binary}}, nil), []arrow.Array{b.NewArray()}, 2)
	for i, want := range []string{`{"b":{"n":5}}`, `{"b":"cmF3"}`} {
		got, err := write.AppendRow(nil, rec, i)
		if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
			t.Errorf("%v (-want +got)\n%s", err, diff)
		}
	}
}

func integer(n int64) arrow.Array {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.Append(n)
	return b.NewArray()
}
