package codec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire"
)

type Color int8

func (Color) EnumNames() []string { return []string{"RED", "GREEN", "BLUE"} }

type Shade uint32

func (*Shade) EnumNames() []string { return []string{"DARK", "LIGHT"} }

type named string

// inner has one field of each sort that behaves differently inside a struct.
type inner struct {
	Text   string
	Flag   bool
	Maybe  *int32
	Tags   []string
	Nested struct{ A, B uint16 }
	Color  Color
	Word   string `vgi:"word,type=dictionary<int8,large_utf8>"`
}

type Embedded struct{ FromEmbedded int64 }

// everyKind has a field for every codec there is.
type everyKind struct {
	Embedded
	B                bool
	I                int
	I8               int8
	I16              int16
	I32              int32
	I64              int64
	U                uint
	U8               uint8
	U16              uint16
	U32              uint32
	U64              uint64
	F32              float32
	F64              float64
	Half             float16.Num
	Months           arrow.MonthInterval
	DayTime          arrow.DayTimeInterval
	MonthDayNano     arrow.MonthDayNanoInterval
	IntAsInt32       int     `vgi:",type=int32"`
	Int32AsUint64    int32   `vgi:",type=uint64"`
	Float64AsFloat32 float64 `vgi:",type=float32"`
	Text             string
	Named            named
	LargeText        string `vgi:",type=large_utf8"`
	Bytes            []byte
	LargeBytes       []byte `vgi:",type=large_binary"`
	FixedBytes       []byte `vgi:",type=fixed_size_binary(3)"`
	Block            [5]byte
	Word             string   `vgi:",type=dictionary<int16,utf8>"`
	Words            []string `vgi:",type=list<dictionary<uint8,utf8>>"`
	MaybeWord        *string  `vgi:",type=dictionary<int32,utf8>"`
	Status           Status
	Color            Color
	Shade            Shade
	ColorText        Color `vgi:",type=utf8"`
	MaybeColor       *Color
	Day              Date
	Day64            Date `vgi:",type=date64"`
	Clock            TimeOfDay
	Clock32          TimeOfDay `vgi:",type=time32(ms)"`
	Stamp            time.Time
	Naive            time.Time `vgi:",type=timestamp(ns)"`
	StampDay         time.Time `vgi:",type=date32"`
	StampDay64       time.Time `vgi:",type=date64"`
	Seconds          time.Time `vgi:",type=timestamp(s,tz=+05:30)"`
	Span             time.Duration
	SpanNanos        time.Duration   `vgi:",type=duration(ns)"`
	SpanClock        time.Duration   `vgi:",type=time64(ns)"`
	Amount           Decimal         `vgi:",type=decimal128(20,4)"`
	Num              decimal128.Num  `vgi:",type=decimal128(38,0)"`
	Big              decimal256.Num  `vgi:",type=decimal256(76,2)"`
	MaybeText        *string         `vgi:""`
	MaybeInt         *int64          `vgi:""`
	MaybeAmount      *Decimal        `vgi:",type=decimal128(10,2)"`
	Must             *int32          `vgi:",notnull"`
	MaybeBytes       []byte          `vgi:",nullable"`
	MaybeList        []int64         `vgi:",nullable"`
	MaybeMap         map[string]bool `vgi:",nullable"`
	Ints             []int64
	LargeInts        []int32 `vgi:",type=large_list<int32>"`
	Three            [3]int16
	FixedInts        []int16 `vgi:",type=fixed_size_list(2)<int16>"`
	Bools            []bool
	Texts            []string
	Blobs            [][]byte
	Matrix           [][]float64
	MaybeItems       []*float32
	MaybeStructs     []*inner
	Amounts          []Decimal `vgi:",type=list<decimal128(20,4)>"`
	Colors           []Color
	Inner            inner
	MaybeInner       *inner
	InnerBlob        inner  `vgi:",type=binary"`
	MaybeInnerBlob   *inner `vgi:",type=large_binary"`
	Inners           []inner
	InnerBlobs       []inner `vgi:",type=list<binary>"`
	ByName           map[string]inner
	ByNumber         map[int16]*string
	ByColor          map[Color]float64
	ByFloat          map[float32]uint8
	ByBool           map[bool]Date
	ByBlock          map[[2]byte]string
	Set              map[string]struct{}
	DaySet           map[Date]struct{}
	Pairs            Pairs[string, []int32]
	HalfFloat32      float32          `vgi:",type=float16"`
	HalfFloat64      float64          `vgi:",type=float16"`
	ByAmount         map[Decimal]bool `vgi:",type=map<decimal128(20,4),bool>"`
	ByTime           map[time.Time]string
	ByUint           map[uint32]string
	Arrays           [][2]string
	ArrayOfArrays    [2][2]bool
	MaybeArray       *[2]*int8
	InnerArray       [2]inner
	LargeBlobSchema  *wire.Schema `vgi:",type=large_binary"`
	Record           arrow.RecordBatch
	MaybeRecord      arrow.RecordBatch `vgi:",nullable"`
	Schema           *arrow.Schema
	WireSchema       *wire.Schema
	Skipped          chan int `vgi:"-"`
	skipped          int
	_                int
}

// filler makes random values that survive the way through their columns.
type filler struct {
	rand   *rand.Rand
	record arrow.RecordBatch
	schema *arrow.Schema
}

func (f *filler) value(t reflect.Type, tag tag, depth int) reflect.Value {
	v := reflect.New(t).Elem()
	if s, ok := f.special(t, tag); ok {
		v.Set(reflect.ValueOf(s))
		return v
	}
	if isEnum(t) {
		names := v.Addr().Interface().(Enum).EnumNames()
		i := f.rand.IntN(len(names))
		switch {
		case v.CanInt():
			v.SetInt(int64(i))
		case v.CanUint():
			v.SetUint(uint64(i))
		default:
			v.SetString(names[i])
		}
		return v
	}
	f.kind(v, tag, depth)
	return v
}

func (f *filler) kind(v reflect.Value, tag tag, depth int) {
	t := v.Type()
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(f.rand.IntN(2) == 0)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(f.rand.Int32N(1000)) / 8)
	case reflect.String:
		v.SetString(f.text())
	case reflect.Pointer:
		if f.rand.IntN(3) > 0 || tag.nullable == notNull {
			p := reflect.New(t.Elem())
			p.Elem().Set(f.value(t.Elem(), tag, depth))
			v.Set(p)
		}
	case reflect.Slice:
		if tag.nullable == nullable && f.rand.IntN(3) == 0 {
			return
		}
		n := f.rand.IntN(4)
		switch a := tag.typ.(type) {
		case *arrow.FixedSizeBinaryType:
			n = a.ByteWidth
		case *arrow.FixedSizeListType:
			n = int(a.Len())
		}
		v.Set(reflect.MakeSlice(t, n, n))
		f.items(v, depth)
	case reflect.Array:
		f.items(v, depth)
	case reflect.Map:
		if tag.nullable == nullable && f.rand.IntN(3) == 0 {
			return
		}
		v.Set(reflect.MakeMap(t))
		for range f.rand.IntN(4) {
			v.SetMapIndex(f.value(t.Key(), tag, depth+1), f.value(t.Elem(), tag, depth+1))
		}
	case reflect.Struct:
		f.fields(v, depth)
	default:
		switch {
		case v.CanInt():
			v.SetInt(int64(f.rand.Int32N(100)))
		default:
			v.SetUint(uint64(f.rand.Int32N(100)))
		}
	}
}

func (f *filler) items(v reflect.Value, depth int) {
	for i := range v.Len() {
		v.Index(i).Set(f.value(v.Type().Elem(), tag{}, depth+1))
	}
}

func (f *filler) fields(v reflect.Value, depth int) {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		tag, err := parseTag(sf.Tag)
		if err != nil {
			panic(err)
		}
		if sf.IsExported() && !tag.skip {
			v.Field(i).Set(f.value(sf.Type, tag, depth+1))
		}
	}
}

func (f *filler) text() string {
	texts := []string{"", "a", "λ", "plain", "a somewhat longer text with ümlauts", "😀"}
	return texts[f.rand.IntN(len(texts))]
}

func (f *filler) special(t reflect.Type, tag tag) (any, bool) {
	n := int64(f.rand.Int32N(100_000))
	switch t {
	case reflect.TypeFor[time.Time]():
		at := time.Unix(n*1000-50_000_000, 0).UTC()
		switch a := tag.typ.(type) {
		case *arrow.Date32Type, *arrow.Date64Type:
			return DateOf(at).Time(), true
		case *arrow.TimestampType:
			loc, _ := location(a.TimeZone)
			return at.In(loc), true
		}
		return at.Add(123456 * time.Microsecond), true
	case reflect.TypeFor[time.Duration]():
		return time.Duration(n) * time.Millisecond, true
	case reflect.TypeFor[TimeOfDay]():
		return TimeOfDay(time.Duration(n) * time.Millisecond / 10 * 10), true
	case reflect.TypeFor[Date]():
		return Date(n - 50_000), true
	case reflect.TypeFor[Decimal]():
		scale := int32(4)
		if a, ok := tag.typ.(*arrow.Decimal128Type); ok {
			scale = a.Scale
		}
		return NewDecimal(decimal128.FromI64(n-50_000), scale), true
	case reflect.TypeFor[decimal128.Num]():
		return decimal128.New(n-50_000, uint64(n)*1e15), true
	case reflect.TypeFor[decimal256.Num]():
		return decimal256.FromI64(n - 50_000), true
	case reflect.TypeFor[float16.Num]():
		return float16.New(float32(n % 100)), true
	case reflect.TypeFor[arrow.DayTimeInterval]():
		return arrow.DayTimeInterval{Days: int32(n), Milliseconds: -int32(n)}, true
	case reflect.TypeFor[arrow.MonthDayNanoInterval]():
		return arrow.MonthDayNanoInterval{Months: 1, Days: int32(n), Nanoseconds: n * n}, true
	case reflect.TypeFor[arrow.RecordBatch]():
		return f.record, true
	case reflect.TypeFor[*arrow.Schema]():
		return f.schema, true
	case reflect.TypeFor[*wire.Schema]():
		s, _ := wire.NewSchema(f.schema)
		return s, true
	}
	return nil, false
}

// everyRow is n random values of everyKind.
func everyRow(tb testing.TB, seed uint64, n int) []everyKind {
	tb.Helper()
	record, schema := goldenArrow(tb)
	f := &filler{rand: rand.New(rand.NewPCG(seed, 1)), record: record, schema: schema}
	out := make([]everyKind, n)
	for i := range out {
		f.fields(reflect.ValueOf(&out[i]).Elem(), 0)
	}
	return out
}

var compareEvery = cmp.Options{
	compareArrow,
	cmp.AllowUnexported(everyKind{}, float16.Num{}, decimal128.Num{}, decimal256.Num{}),
	cmp.Comparer(func(a, b *wire.Schema) bool {
		return a == b || (a != nil && b != nil && bytes.Equal(a.Message(), b.Message()))
	}),
	cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Skipped" }, cmp.Ignore()),
	cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) && a.Format(time.RFC3339) == b.Format(time.RFC3339) }),
}

// overWire sends a batch through a Writer and a Reader.
func overWire(tb testing.TB, b *wire.Batch, life wire.Lifetime) *wire.Batch {
	tb.Helper()
	var buf bytes.Buffer
	w := wire.NewWriter(&buf)
	for _, err := range []error{w.Open(b.Schema), w.Batch(b), w.Close(), w.Flush()} {
		if err != nil {
			tb.Fatal(err)
		}
	}
	r := wire.NewReader(&buf, wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		tb.Fatal(err)
	}
	if _, err := r.Announce(); err != nil {
		tb.Fatal(err)
	}
	out, err := r.Take(life)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func TestEveryKindSurvivesTheWire(t *testing.T) {
	var e Encoder
	for _, level := range []Level{Params, Row} {
		p := mustCompile(t, reflect.TypeFor[everyKind](), level)
		for _, n := range []int{0, 1, 2, 7, 64, 257} {
			for _, life := range []wire.Lifetime{wire.Borrow, wire.Own} {
				t.Run(fmt.Sprintf("level %d, %d rows, lifetime %d", level, n, life), func(t *testing.T) {
					want := everyRow(t, uint64(n), n)
					e.Reset()
					var b wire.Batch
					if err := p.Encode(&e, unsafe.Pointer(unsafe.SliceData(want)), n, &b); err != nil {
						t.Fatal(err)
					}
					validate(t, &b)
					in := overWire(t, &b, life)
					if err := p.RowsBound(in); err != nil {
						t.Fatal(err)
					}
					got := make([]everyKind, n)
					if err := p.DecodeRows(in, unsafe.Pointer(unsafe.SliceData(got)), n); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, got, compareEvery); diff != "" {
						t.Fatal(diff)
					}
					for i := range want {
						var one everyKind
						if err := p.Decode(in, i, unsafe.Pointer(&one)); err != nil {
							t.Fatal(err)
						}
						if diff := cmp.Diff(want[i], one, compareEvery); diff != "" {
							t.Fatal(i, diff)
						}
					}
				})
			}
		}
	}
}

// validate has arrow-go check every buffer of b.
func validate(tb testing.TB, b *wire.Batch) {
	tb.Helper()
	rec, err := b.Record()
	if err != nil {
		tb.Fatal(err)
	}
	defer rec.Release()
	if err := array.ValidateRecordFull(rec); err != nil {
		tb.Fatal(err)
	}
}

func TestEncodingTheSameValueMakesTheSameBytes(t *testing.T) {
	p := mustCompile(t, reflect.TypeFor[everyKind](), Row)
	value := everyRow(t, 99, 1)
	first, err := p.Marshal(unsafe.Pointer(&value[0]))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		next, err := p.Marshal(unsafe.Pointer(&value[0]))
		if err != nil || !bytes.Equal(first, next) {
			t.Fatalf("the bytes differ, or an error: %v", err)
		}
	}
}
