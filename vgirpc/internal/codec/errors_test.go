package codec

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"

	"github.com/vgirpc/vgirpc-go/wire"
)

// encodeAs makes a batch of n rows from values of another type than the plan
// that will read it: column types are the same, nullability and Go types not.
func encodeAs[T any](tb testing.TB, level Level, rows ...T) *wire.Batch {
	tb.Helper()
	p := mustCompile(tb, reflect.TypeFor[T](), level)
	var e Encoder
	b := new(wire.Batch)
	if err := p.Encode(&e, unsafe.Pointer(unsafe.SliceData(rows)), len(rows), b); err != nil {
		tb.Fatal(err)
	}
	b.Owned = true
	return b
}

// decodeAs reads a batch as rows of T, whatever its schema.
func decodeAs[T any](tb testing.TB, level Level, b *wire.Batch) ([]T, error) {
	tb.Helper()
	p := mustCompile(tb, reflect.TypeFor[T](), level)
	rows := make([]T, b.Rows)
	return rows, p.DecodeRows(b, unsafe.Pointer(unsafe.SliceData(rows)), len(rows))
}

func TestANullWhereAValueIsRequiredNamesTheField(t *testing.T) {
	check := func(name, want string, err error) {
		t.Helper()
		var value *ValueError
		if !errors.As(err, &value) || !value.Null || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	b := encodeAs(t, Params, struct{ A, B *int }{new(1), nil})
	_, err := decodeAs[struct{ A, B int }](t, Params, b)
	check("scalar", "parameter b: null where a value is required", err)

	rows := encodeAs(t, Row, struct{ S *string }{new("x")}, struct{ S *string }{nil})
	_, err = decodeAs[struct{ S string }](t, Row, rows)
	check("row", "field s, row 1: null where a value is required", err)

	b = encodeAs(t, Params, struct{ L []*int }{[]*int{new(1), nil}})
	_, err = decodeAs[struct{ L []int }](t, Params, b)
	check("element", "parameter l[]: null where a value is required", err)

	b = encodeAs(t, Params, struct{ M map[string]*Point }{map[string]*Point{"k": nil}})
	_, err = decodeAs[struct{ M map[string]Point }](t, Params, b)
	check("map value", "parameter m[].value: null where a value is required", err)

	b = encodeAs(t, Row, struct{ P struct{ X *float64 } }{})
	_, err = decodeAs[struct{ P struct{ X float64 } }](t, Row, b)
	check("nested", "field p.x: null where a value is required", err)

	b = encodeAs(t, Params, struct{ P struct{ X *float64 } }{})
	_, err = decodeAs[struct{ P struct{ X float64 } }](t, Params, b)
	check("blob", "parameter p.x: null where a value is required", err)

	b = encodeAs(t, Params, struct{ P *Point }{})
	_, err = decodeAs[struct{ P Point }](t, Params, b)
	check("blob itself", "parameter p: null where a value is required", err)

	b = encodeAs(t, Params, struct{ A *int }{})
	_, err = decodeAs[struct {
		A *int `vgi:",notnull"`
	}](t, Params, b)
	check("notnull pointer", "parameter a: null where a value is required", err)
	_, err = decodeAs[struct {
		A int `vgi:",nullable"`
	}](t, Params, b)
	check("nullable scalar", "parameter a: null where a value is required", err)

	p := mustCompile(t, reflect.TypeFor[struct {
		A *int `vgi:",notnull"`
	}](), Params)
	check("nil to encode", "parameter a: null where a value is required", p.Encode(new(Encoder), unsafe.Pointer(new(*int)), 1, b))

	result, err := CompileResult(reflect.TypeFor[*Point](), "notnull")
	if err != nil {
		t.Fatal(err)
	}
	check("result", "result result: null where a value is required", result.Encode(new(Encoder), unsafe.Pointer(new(*Point)), 1, b))
}

func TestValuesThatTheirColumnCannotHoldAreErrors(t *testing.T) {
	far := time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		value any // pointer to a struct
		want  string
	}{
		{&struct{ S Status }{"OPEN"}, "field s: not one of the names PENDING, ACTIVE, CLOSED"},
		{&struct{ C Color }{3}, "field c: not one of the names RED, GREEN, BLUE"},
		{&struct{ C Color }{-1}, "field c: not one of the names RED, GREEN, BLUE"},
		{&struct {
			C Color `vgi:",type=utf8"`
		}{3}, "field c: not one of the names RED, GREEN, BLUE"},
		{&struct{ L []Status }{[]Status{"ACTIVE", ""}}, "field l[]: not one of the names PENDING, ACTIVE, CLOSED"},
		{&struct {
			I int `vgi:",type=int8"`
		}{128}, "field i: a number outside the range of int8"},
		{&struct {
			I int `vgi:",type=uint64"`
		}{-1}, "field i: a number outside the range of uint64"},
		{&struct {
			U uint64 `vgi:",type=int64"`
		}{math.MaxUint64}, "field u: a number outside the range of int64"},
		{&struct{ S string }{"\xff"}, "field s: text that is not valid UTF-8"},
		{&struct{ L []string }{[]string{"a\xc3", "\xa9b"}}, "field l[]: text that is not valid UTF-8"},
		{&struct {
			B []byte `vgi:",type=fixed_size_binary(2)"`
		}{[]byte{1}}, "field b: 1 bytes where exactly 2 are required"},
		{&struct {
			L []int `vgi:",type=fixed_size_list(2)<int64>"`
		}{[]int{1}}, "field l: 1 elements where exactly 2 are required"},
		{&struct{ T time.Time }{far}, "field t: a time outside the range of the column's timestamps"},
		{&struct {
			T time.Time `vgi:",type=timestamp(ns)"`
		}{time.Time{}}, "field t: a time outside the range of the column's timestamps"},
		{&struct{ T TimeOfDay }{TimeOfDay(24 * time.Hour)}, "field t: a time of day outside 00:00 to 24:00"},
		{&struct{ T TimeOfDay }{-1}, "field t: a time of day outside 00:00 to 24:00"},
		{&struct {
			D Decimal `vgi:",type=decimal128(5,2)"`
		}{decimals("1.234")[0]}, "field d: a decimal number with more than 2 digits behind the point"},
		{&struct {
			D Decimal `vgi:",type=decimal128(5,2)"`
		}{decimals("1000")[0]}, "field d: a decimal number of more than 5 digits"},
		{&struct {
			D decimal128.Num `vgi:",type=decimal128(2,0)"`
		}{decimal128.FromI64(100)}, "field d: a decimal number of more than 2 digits"},
		{&struct {
			D decimal256.Num `vgi:",type=decimal256(2,0)"`
		}{decimal256.FromI64(100)}, "field d: a decimal number of more than 2 digits"},
	} {
		t.Run(reflect.TypeOf(tc.value).Elem().String(), func(t *testing.T) {
			p := planOf(t, tc.value)
			err := p.Encode(new(Encoder), pointer(tc.value), 1, new(wire.Batch))
			var value *ValueError
			if !errors.As(err, &value) || err.Error() != tc.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestColumnsWithValuesThatGoCannotHoldAreErrors(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		err        error
	}{
		{"enum", "field s: not one of the names PENDING, ACTIVE, CLOSED", as[struct{ S Status }](t, struct {
			S string `vgi:",type=dictionary<int16,utf8>"`
		}{"secret"})},
		{"many enums", "field s[]: not one of the names PENDING, ACTIVE, CLOSED", as[struct{ S []Status }](t, struct {
			S []string `vgi:",type=list<dictionary<int16,utf8>>"`
		}{[]string{"ACTIVE", "secret"}})},
		{"enum text", "field c: not one of the names RED, GREEN, BLUE", as[struct{ C Color }](t, struct{ C string }{"secret"})},
		{"narrow integer", "field i: a number outside the range of int8", as[struct {
			I int8 `vgi:",type=int64"`
		}](t, struct{ I int64 }{200})},
		{
			"no stream", "parameter p: not a readable Arrow IPC stream: wire: connection lost inside an IPC stream",
			asParams[struct{ P Point }](t, struct{ P []byte }{[]byte("x")}),
		},
		{
			"no schema", "field p: not a readable Arrow IPC stream: invalid Arrow IPC: message prefix: 6e 6f 20 73 is not an IPC continuation marker",
			as[struct{ P *arrow.Schema }](t, struct{ P []byte }{[]byte("no schema")}),
		},
		{
			"empty struct", `parameters schema mismatch in p: codec.Point.X: column "x" is absent and has no default`,
			asParams[struct{ P Point }](t, struct{ P []byte }{}),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.err == nil {
				t.Fatal("no error")
			}
			if got := strings.Replace(tc.err.Error(), "row schema", "parameters schema", 1); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func as[To, From any](t *testing.T, v From) error {
	t.Helper()
	_, err := decodeAs[To](t, Row, encodeAs(t, Row, v))
	return err
}

func asParams[To, From any](t *testing.T, v From) error {
	t.Helper()
	_, err := decodeAs[To](t, Params, encodeAs(t, Params, v))
	return err
}

func TestNumbersWithoutAMeaningInGoAreErrors(t *testing.T) {
	type row struct {
		Span   time.Duration `vgi:",type=duration(s)"`
		Clock  TimeOfDay
		Before Date `vgi:",type=date64"`
	}
	for column, want := range []string{
		"field span: a duration of more than 292 years", "field clock: a time of day outside 00:00 to 24:00",
		"field before: a date outside the range of dates",
	} {
		b := encodeAs(t, Row, row{})
		binary.LittleEndian.PutUint64(b.Cols[column].Data, math.MaxInt64/2)
		if _, err := decodeAs[row](t, Row, b); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCheckWantsTheExactContract(t *testing.T) {
	type params struct {
		A int
		B *string
		L []int
	}
	p := mustCompile(t, reflect.TypeFor[params](), Params)
	field := func(name string, typ arrow.DataType, nullable bool) arrow.Field {
		return arrow.Field{Name: name, Type: typ, Nullable: nullable}
	}
	integer, words, list := arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, arrow.ListOf(arrow.PrimitiveTypes.Int64)
	element := arrow.ListOfField(arrow.Field{Name: "element", Type: integer, Nullable: true})
	noted := arrow.MetadataFrom(map[string]string{"k": "v"})
	for _, tc := range []struct {
		name   string
		fields []arrow.Field
		want   string
	}{
		{"same", []arrow.Field{field("a", integer, false), field("b", words, true), field("l", list, false)}, ""},
		{"other child name", []arrow.Field{field("a", integer, false), field("b", words, true), field("l", element, false)}, ""},
		{"metadata", []arrow.Field{{Name: "a", Type: integer, Metadata: noted}, field("b", words, true), field("l", list, false)}, ""},
		{"order", []arrow.Field{field("b", words, true), field("a", integer, false), field("l", list, false)}, "field 0"},
		{"missing", []arrow.Field{field("a", integer, false), field("b", words, true)}, "field 2: missing l"},
		{"extra", []arrow.Field{field("a", integer, false), field("b", words, true), field("l", list, false), field("x", integer, false)}, "field 3: unexpected x"},
		{"nullability", []arrow.Field{field("a", integer, true), field("b", words, true), field("l", list, false)}, "field 0: expected a: int64 not null, received a: int64"},
		{"type", []arrow.Field{field("a", integer, false), field("b", arrow.BinaryTypes.LargeString, true), field("l", list, false)}, "received b: large_string"},
		{"child nullability", []arrow.Field{field("a", integer, false), field("b", words, true), field("l", arrow.ListOfNonNullable(integer), false)}, "field 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := wire.NewSchema(arrow.NewSchema(tc.fields, nil))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				err := p.Check(s)
				var schema *SchemaError
				switch {
				case tc.want == "" && err == nil:
				case !errors.As(err, &schema) || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "parameters schema mismatch: "):
					t.Errorf("got %v", err)
				}
			}
		})
	}
}
