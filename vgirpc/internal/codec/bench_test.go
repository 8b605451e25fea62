package codec

import (
	"fmt"
	"reflect"
	"testing"
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

type benchOne struct{ A int64 }

type benchFour struct {
	A int64
	B float64
	C bool
	D int32
}

type benchEnum struct{ S Status }

type benchBox struct{ P Point }

type benchTexts struct{ Values []string }

func mustCompile(tb testing.TB, t reflect.Type, level Level) *Plan {
	tb.Helper()
	p, err := Compile(t, level)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func benchDecode[T any](b *testing.B, value T, owned bool) {
	p := mustCompile(b, reflect.TypeFor[T](), Params)
	var e Encoder
	var batch wire.Batch
	if err := p.Encode(&e, unsafe.Pointer(&value), 1, &batch); err != nil {
		b.Fatal(err)
	}
	batch.Owned = owned
	out := new(T)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Decode(&batch, 0, unsafe.Pointer(out)); err != nil {
			b.Fatal(err)
		}
	}
}

func benchEncode[T any](b *testing.B, value T) {
	p := mustCompile(b, reflect.TypeFor[T](), Params)
	var e Encoder
	var batch wire.Batch
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		if err := p.Encode(&e, unsafe.Pointer(&value), 1, &batch); err != nil {
			b.Fatal(err)
		}
	}
}

func benchRows[T any](b *testing.B, n int) (p *Plan, values []T, batch *wire.Batch) {
	p = mustCompile(b, reflect.TypeFor[T](), Row)
	values = make([]T, n)
	batch = new(wire.Batch)
	var e Encoder
	if err := p.Encode(&e, unsafe.Pointer(&values[0]), n, batch); err != nil {
		b.Fatal(err)
	}
	return p, values, batch
}

func benchDecodeRows[T any](b *testing.B, n int) {
	p, values, batch := benchRows[T](b, n)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.DecodeRows(batch, unsafe.Pointer(&values[0]), n); err != nil {
			b.Fatal(err)
		}
	}
}

func benchEncodeRows[T any](b *testing.B, n int) {
	p, values, batch := benchRows[T](b, n)
	var e Encoder
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		if err := p.Encode(&e, unsafe.Pointer(&values[0]), n, batch); err != nil {
			b.Fatal(err)
		}
	}
}

func manyTexts() benchTexts {
	var v benchTexts
	for i := range 10_000 {
		v.Values = append(v.Values, fmt.Sprintf("value %d", i))
	}
	return v
}

type benchFloat struct{ V float64 }

type benchPair struct {
	V float64
	W int64
}

func BenchmarkDecodeInt64(b *testing.B)       { benchDecode(b, benchOne{7}, false) }
func BenchmarkDecodeFourScalars(b *testing.B) { benchDecode(b, benchFour{1, 2, true, 3}, false) }
func BenchmarkDecodeEnum(b *testing.B)        { benchDecode(b, benchEnum{"ACTIVE"}, false) }
func BenchmarkDecodeDataclass(b *testing.B)   { benchDecode(b, benchBox{Point{1, 2}}, false) }
func BenchmarkDecodeTexts(b *testing.B)       { benchDecode(b, manyTexts(), true) }
func BenchmarkDecodeTextsCopied(b *testing.B) { benchDecode(b, manyTexts(), false) }
func BenchmarkDecodeAllTypes(b *testing.B) {
	benchDecode(b, struct{ V AllTypes }{allTypesValue()}, false)
}
func BenchmarkEncodeInt64(b *testing.B)       { benchEncode(b, benchOne{7}) }
func BenchmarkEncodeFourScalars(b *testing.B) { benchEncode(b, benchFour{1, 2, true, 3}) }
func BenchmarkEncodeEnum(b *testing.B)        { benchEncode(b, benchEnum{"ACTIVE"}) }
func BenchmarkEncodeDataclass(b *testing.B)   { benchEncode(b, benchBox{Point{1, 2}}) }
func BenchmarkEncodeTexts(b *testing.B)       { benchEncode(b, manyTexts()) }
func BenchmarkEncodeAllTypes(b *testing.B)    { benchEncode(b, struct{ V AllTypes }{allTypesValue()}) }

func BenchmarkEncode64MiB(b *testing.B) {
	benchEncode(b, struct{ Data []byte }{make([]byte, 64<<20)})
}
func BenchmarkDecodeRowsFloat64(b *testing.B) { benchDecodeRows[benchFloat](b, 10_000) }
func BenchmarkDecodeRowsPair(b *testing.B)    { benchDecodeRows[benchPair](b, 10_000) }
func BenchmarkEncodeRowsFloat64(b *testing.B) { benchEncodeRows[benchFloat](b, 10_000) }
func BenchmarkEncodeRowsPair(b *testing.B)    { benchEncodeRows[benchPair](b, 10_000) }

func allTypesValue() AllTypes {
	return AllTypes{
		StrField: "hello", BytesField: []byte{0, 1, 0xFF}, IntField: -42, FloatField: 3.25, BoolField: true,
		ListOfInt: []int{1, 2, 3}, ListOfStr: []string{"a", "", "ü"}, DictField: map[string]int{"a": 1, "b": 2},
		EnumField: "ACTIVE", NestedPoint: Point{1, 2}, OptionalStr: new("opt"), OptionalNested: &Point{3, 4},
		ListOfNested: []Point{{5, 6}, {7, 8}}, AnnotatedInt32: 32, AnnotatedFloat32: 1.5,
		NestedList: [][]int{{1}, {}, {2, 3}}, DictStrStr: Pairs[string, string]{{"z", "1"}, {"a", "2"}},
	}
}
