package arrowjson_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// types are those whose values are written and read.
func types() []arrow.DataType {
	all := []arrow.DataType{
		arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32,
		arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Uint32,
		arrow.PrimitiveTypes.Uint64, arrow.FixedWidthTypes.Float16, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64,
		arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.StringView, arrow.BinaryTypes.Binary,
		arrow.BinaryTypes.LargeBinary, arrow.BinaryTypes.BinaryView, &arrow.FixedSizeBinaryType{ByteWidth: 3},
		&arrow.Decimal32Type{Precision: 9, Scale: 4}, &arrow.Decimal64Type{Precision: 18, Scale: -2},
		&arrow.Decimal128Type{Precision: 38, Scale: 10}, &arrow.Decimal256Type{Precision: 76, Scale: 40},
		arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Date64, arrow.FixedWidthTypes.Time32s, arrow.FixedWidthTypes.Time32ms,
		arrow.FixedWidthTypes.Time64us, arrow.FixedWidthTypes.Time64ns, arrow.FixedWidthTypes.MonthInterval,
		arrow.FixedWidthTypes.DayTimeInterval, arrow.FixedWidthTypes.MonthDayNanoInterval,
		enum(arrow.BinaryTypes.String), arrow.Null,
		arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String),
	}
	for unit := arrow.Second; unit <= arrow.Nanosecond; unit++ {
		all = append(all, &arrow.TimestampType{Unit: unit}, &arrow.TimestampType{Unit: unit, TimeZone: "Europe/Berlin"}, &arrow.DurationType{Unit: unit})
	}
	return append(all,
		arrow.ListOf(point()), arrow.LargeListOf(arrow.PrimitiveTypes.Int64), arrow.ListViewOf(arrow.BinaryTypes.String),
		arrow.FixedSizeListOf(2, arrow.FixedWidthTypes.Timestamp_us), arrow.MapOf(arrow.BinaryTypes.String, arrow.ListOf(arrow.PrimitiveTypes.Uint64)),
		arrow.MapOf(arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.Binary), arrow.StructOf(arrow.Field{Name: "\x00\u2028", Type: point(), Nullable: true}))
}

// source makes values of bytes, and goes on with zeros.
type source []byte

func (s *source) byte() byte { return byte(s.word(1)) }

// word is a number of that many bytes.
func (s *source) word(size int) uint64 {
	var text [8]byte
	*s = (*s)[copy(text[:size], *s):]
	return binary.LittleEndian.Uint64(text[:])
}

func (s *source) int64() int64 { return int64(s.word(8)) }

func (s *source) text() string {
	n := min(int(s.byte()%8), len(*s))
	text := string((*s)[:n])
	*s = (*s)[n:]
	return text
}

// digits is a decimal of at most that many digits.
func (s *source) digits(precision int32) *big.Int {
	n := new(big.Int).SetBytes([]byte(s.text() + s.text() + s.text() + s.text()))
	n.Rem(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(precision)), nil))
	if s.byte()%2 == 1 {
		n.Neg(n)
	}
	return n
}

// fill appends a value of type t, null now and then where it may be.
func (s *source) fill(b array.Builder, t arrow.DataType, nullable bool) {
	if nullable && s.byte()%8 == 1 {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.NullBuilder:
		b.AppendNull()
	case *array.BooleanBuilder:
		b.Append(s.byte()%2 == 1)
	case array.StringLikeBuilder:
		b.Append(strings.ToValidUTF8(s.text(), "é"))
	case *array.BinaryDictionaryBuilder:
		_ = b.AppendString(strings.ToValidUTF8(s.text(), "é")) // fails for 2^15 words
	case *array.BinaryBuilder:
		b.AppendString(s.text())
	case *array.BinaryViewBuilder:
		b.AppendString(s.text())
	case *array.FixedSizeBinaryBuilder:
		b.Append([]byte{s.byte(), s.byte(), s.byte()})
	case *array.RunEndEncodedBuilder:
		b.Append(1)
		s.fill(b.ValueBuilder(), t.(*arrow.RunEndEncodedType).Encoded(), true)
	default:
		if !s.fillNested(b, t) && !s.fillNumber(b, t) {
			s.fillMoment(b, t)
		}
	}
}

func (s *source) fillNested(b array.Builder, t arrow.DataType) bool {
	n := int(s.byte() % 4)
	switch b := b.(type) {
	case *array.MapBuilder:
		b.Append(true)
		for range n {
			s.fill(b.KeyBuilder(), t.(*arrow.MapType).KeyType(), false)
			s.fill(b.ItemBuilder(), t.(*arrow.MapType).ItemType(), true)
		}
	case *array.FixedSizeListBuilder:
		b.Append(true)
		for range t.(*arrow.FixedSizeListType).Len() {
			s.fill(b.ValueBuilder(), t.(arrow.ListLikeType).Elem(), true)
		}
	case array.VarLenListLikeBuilder:
		b.AppendWithSize(true, n)
		for range n {
			s.fill(b.ValueBuilder(), t.(arrow.ListLikeType).Elem(), true)
		}
	case *array.StructBuilder:
		b.Append(true)
		for i, f := range t.(*arrow.StructType).Fields() {
			s.fill(b.FieldBuilder(i), f.Type, f.Nullable)
		}
	default:
		return false
	}
	return true
}

func (s *source) fillNumber(b array.Builder, t arrow.DataType) bool {
	switch b := b.(type) {
	case *array.Int8Builder:
		b.Append(int8(s.byte()))
	case *array.Int16Builder:
		b.Append(int16(s.word(2)))
	case *array.Int32Builder:
		b.Append(int32(s.word(4)))
	case *array.Int64Builder:
		b.Append(s.int64())
	case *array.Uint8Builder:
		b.Append(s.byte())
	case *array.Uint16Builder:
		b.Append(uint16(s.word(2)))
	case *array.Uint32Builder:
		b.Append(uint32(s.word(4)))
	case *array.Uint64Builder:
		b.Append(s.word(8))
	case *array.Float16Builder:
		b.Append(float16.FromBits(uint16(s.word(2))))
	case *array.Float32Builder:
		b.Append(math.Float32frombits(uint32(s.word(4))))
	case *array.Float64Builder:
		b.Append(math.Float64frombits(s.word(8)))
	case *array.Decimal32Builder:
		b.Append(decimal.Decimal32(s.digits(t.(arrow.DecimalType).GetPrecision()).Int64()))
	case *array.Decimal64Builder:
		b.Append(decimal.Decimal64(s.digits(t.(arrow.DecimalType).GetPrecision()).Int64()))
	case *array.Decimal128Builder:
		b.Append(decimal128.FromBigInt(s.digits(t.(arrow.DecimalType).GetPrecision())))
	case *array.Decimal256Builder:
		b.Append(decimal256.FromBigInt(s.digits(t.(arrow.DecimalType).GetPrecision())))
	default:
		return false
	}
	return true
}

// fillMoment appends any moment that is one: a whole day, a time on a day.
func (s *source) fillMoment(b array.Builder, t arrow.DataType) {
	n := s.int64()
	within := func(u arrow.TimeUnit) int64 { return int64(uint64(n) % uint64(24*time.Hour/u.Multiplier())) }
	switch b := b.(type) {
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(n))
	case *array.Date32Builder:
		b.Append(arrow.Date32(n))
	case *array.Date64Builder:
		b.Append(arrow.Date64(n - n%86400_000))
	case *array.Time32Builder:
		b.Append(arrow.Time32(within(t.(*arrow.Time32Type).Unit)))
	case *array.Time64Builder:
		b.Append(arrow.Time64(within(t.(*arrow.Time64Type).Unit)))
	case *array.DurationBuilder:
		b.Append(arrow.Duration(n))
	case *array.MonthIntervalBuilder:
		b.Append(arrow.MonthInterval(n))
	case *array.DayTimeIntervalBuilder:
		b.Append(arrow.DayTimeInterval{Days: int32(n), Milliseconds: int32(n >> 32)})
	case *array.MonthDayNanoIntervalBuilder:
		b.Append(arrow.MonthDayNanoInterval{Months: int32(n), Days: int32(n >> 32), Nanoseconds: s.int64()})
	default:
		panic("no values of " + t.String())
	}
}

// same reports whether two columns are equal, with NaN as equal to NaN. Either
// comparison alone has its gap: ApproxEqual tells infinite half floats apart.
func same(a, b arrow.Array) bool {
	return array.Equal(a, b) || array.ApproxEqual(a, b, array.WithNaNsEqual(true), array.WithAbsTolerance(0))
}

// FuzzWhatIsWrittenIsReadBack writes any value of any type for a program and
// for a person: both read it back, and a person reads a program's as well.
func FuzzWhatIsWrittenIsReadBack(f *testing.F) {
	for i := range types() {
		f.Add(byte(i), []byte{2, 3, 7, 0x80, 'a', 'b', 0xFF, 4, 5, 6, 9, 11, 1, 1, 1, 7, 'x', 'y', 'z', 0xE2, 0x80, 0xA8, 1, 3, 3, 3})
		f.Add(byte(i), []byte{0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0, 0xFF, 0x7F})
		f.Add(byte(i), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x80})
	}
	f.Add(byte(9), []byte{0, 0, 0, 0xFC}) // an infinite half float
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		all := types()
		field := arrow.Field{Type: all[int(which)%len(all)], Nullable: true}
		b, s := array.NewBuilder(memory.DefaultAllocator, field.Type), source(data)
		s.fill(b, field.Type, true)
		col := b.NewArray()
		for writer, written := range map[string]setting{"program": program(), "person": person()} {
			text, err := written.write.Append(nil, col, 0)
			if err != nil || !json.Valid(text) {
				t.Fatalf("%v for a %s: %s: %v", col, writer, text, err)
			}
			for reader, read := range map[string]setting{"program": program(), "person": person()} {
				if writer == "person" && reader == "program" {
					continue // Inf
				}
				back, err := read.column(field, string(text))
				if err != nil {
					t.Fatalf("%v: %s of a %s: a %s reads %v", field.Type, text, writer, reader, err)
				}
				again, err := written.write.Append(nil, back, 0)
				if err != nil || string(again) != string(text) || !same(col, back) {
					t.Fatalf("%v: %s of a %s is %s to a %s: %v, not %v: %v", field.Type, text, writer, again, reader, back, col, err)
				}
			}
		}
	})
}

// FuzzWhatAProgramMayWriteAPersonMay reads any text as any type: what is read
// strictly is read the same leniently, and what is read either way can be
// written and is read again.
func FuzzWhatAProgramMayWriteAPersonMay(f *testing.F) {
	for i := range types() {
		for _, text := range []string{
			`1e3`, `"1.50"`, `null`, `"NaN"`, `"inf"`, `"2026-11-21T13:45:00.5Z"`, `"2026-11-21 13:45"`, `"13:45"`, `"1m30.5s"`, `"AP8"`,
			`[{"x":1}]`, `{"a":[1]}`, `[["a",null],["a",1]]`, `{"months":1}`, `"+010000-01-01T00:00:00Z"`, `true`,
		} {
			f.Add(byte(i), text)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, text string) {
		all := types()
		field := arrow.Field{Type: all[int(which)%len(all)], Nullable: true}
		strict, lenient := program().again(t, field, text), person().again(t, field, text)
		if !strings.HasPrefix(strict, "!") {
			if again := person().again(t, field, strict); again != lenient {
				t.Fatalf("%v: %s is %s to a program, and %s to a person: %s", field.Type, text, strict, lenient, again)
			}
			if again := program().again(t, field, strict); again != strict {
				t.Fatalf("%v: %s is written as %s, and that as %s", field.Type, text, strict, again)
			}
		}
		if !strings.HasPrefix(lenient, "!") {
			if again := person().again(t, field, lenient); again != lenient {
				t.Fatalf("%v: %s is written as %s, and that as %s", field.Type, text, lenient, again)
			}
		}
	})
}
