package codec

import (
	"bytes"
	"flag"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

var update = flag.Bool("update", false, "write testdata/golden/*.go.arrow anew; check them with golden.py")

const goldenDir = "testdata/golden"

// golden is one value of golden.py, in Go.
type golden struct {
	name  string
	value any // pointer to a struct
}

func goldens(tb testing.TB) []golden {
	tb.Helper()
	batch, schema := goldenArrow(tb)
	empty := AllTypes{
		BytesField: []byte{}, ListOfInt: []int{}, ListOfStr: []string{}, DictField: map[string]int{}, EnumField: "PENDING",
		OptionalInt: new(7), ListOfNested: []Point{}, AnnotatedInt32: -1, NestedList: [][]int{}, DictStrStr: Pairs[string, string]{},
	}
	allTypes := allTypesValue()
	return []golden{
		{"point", &Point{1.5, -2.5}},
		{"bounding_box", &BoundingBox{Point{1, 2}, Point{3, 4}, "box"}},
		{"all_types", &allTypes},
		{"all_types_empty", &empty},
		{"wide_types", wideTypesValue()},
		{"container_wide_types", &ContainerWideTypes{
			ListDecimal: decimals("1.0000", "-0.0001"), ListDate: []Date{0, NewDate(1900, 1, 1)},
			ListTimestamp: []time.Time{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}, OptionalDate: new(NewDate(2030, 12, 31)),
			OptionalTimestamp: new(time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)),
			DictStrDecimal:    map[string]Decimal{"a": decimals("1.5000")[0], "b": decimals("2.2500")[0]},
			FrozensetInt:      map[int]struct{}{3: {}, 1: {}, 2: {}}, ListOptionalInt: []*int{new(1), nil, new(3)},
		}},
		{"container_wide_types_null", &ContainerWideTypes{
			ListDecimal: []Decimal{}, ListDate: []Date{}, ListTimestamp: []time.Time{}, OptionalDecimal: new(decimals("9.9900")[0]),
			DictStrDecimal: map[string]Decimal{}, FrozensetInt: map[int]struct{}{}, ListOptionalInt: []*int{nil},
		}},
		{"deep_nested", &DeepNested{
			ListOfListsDecimal: [][]Decimal{decimals("1.0000"), {}, decimals("2.0000", "3.5000")},
			OptionalListDate:   []Date{NewDate(2020, 1, 1)}, DictEncodedString: "word", ListOfDictEncoded: []string{"x", "y", "x"},
		}},
		{"deep_nested_null", &DeepNested{ListOfListsDecimal: [][]Decimal{}, ListOfDictEncoded: []string{}}},
		{"embedded_arrow", &EmbeddedArrow{batch, schema}},
		{"nested_containers", &NestedContainers{
			Statuses: []Status{"ACTIVE", "CLOSED", "ACTIVE"}, Points: []Point{{1, 2}},
			StatusByName:   map[string]Status{"one": "PENDING", "two": "CLOSED"},
			FrozenStatuses: map[Status]struct{}{"CLOSED": {}, "ACTIVE": {}}, TaggedStatus: new(Status("CLOSED")),
			TaggedPoint: &Point{9, 8}, TaggedBatch: batch,
		}},
		{"nested_containers_null", &NestedContainers{
			Statuses: []Status{}, Points: []Point{}, StatusByName: map[string]Status{}, FrozenStatuses: map[Status]struct{}{},
		}},
		{"conformance_header", &ConformanceHeader{5, "five"}},
		{"rich_header_2", richHeader(2)},
		{"rich_header_3", richHeader(3)},
	}
}

func goldenArrow(tb testing.TB) (arrow.RecordBatch, *arrow.Schema) {
	tb.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 0, 3}, []bool{true, false, true})
	b.Field(1).(*array.StringBuilder).AppendValues([]string{"a", "b", ""}, []bool{true, true, false})
	return b.NewRecordBatch(), arrow.NewSchema([]arrow.Field{
		{Name: "k", Type: arrow.BinaryTypes.String},
		{Name: "d", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}, Nullable: true},
	}, nil)
}

func decimals(texts ...string) []Decimal {
	out := make([]Decimal, len(texts))
	for i, s := range texts {
		var err error
		if out[i], err = ParseDecimal(s); err != nil {
			panic(err)
		}
	}
	return out
}

func wideTypesValue() *WideTypes {
	return &WideTypes{
		Int8Field: math.MinInt8, Int16Field: math.MinInt16, Int32Field: math.MinInt32, Uint8Field: math.MaxUint8,
		Uint16Field: math.MaxUint16, Uint32Field: math.MaxUint32, Uint64Field: math.MaxUint64, Float32Field: 0.25,
		DateField:         NewDate(2024, 2, 29),
		TimestampField:    time.Date(1969, 7, 20, 20, 17, 40, 123456000, time.UTC),
		TimestampUTCField: time.Date(2024, 2, 29, 12, 30, 0, 1000, time.UTC),
		TimeField:         NewTimeOfDay(23, 59, 59, 999999000),
		DurationField:     -24*time.Hour + time.Microsecond,
		DecimalField:      decimals("-1234567890123456.7891")[0], LargeStringField: "large λ",
		LargeBinaryField: []byte{0, 0, 0}, FixedBinaryField: [8]byte{'1', '2', '3', '4', '5', '6', '7', '8'},
	}
}

// richHeader is build_rich_header of the conformance suite, for the seeds 2 and 3.
func richHeader(seed int) *RichHeader {
	h := &RichHeader{
		StrField: "seed-2", BytesField: []byte{byte(seed), byte(seed + 1), byte(seed + 2)}, IntField: seed * 7,
		FloatField: float64(seed) * 1.5, BoolField: seed%2 == 0, ListOfInt: []int{seed, seed + 1, seed + 2},
		ListOfStr: []string{"item-2", "item-3"}, DictField: map[string]int{"a": seed, "b": seed + 1}, EnumField: "CLOSED",
		NestedPoint: Point{float64(seed), float64(2 * seed)}, OptionalStr: new("opt-2"),
		ListOfNested:   []Point{{float64(seed), float64(seed + 1)}},
		NestedList:     [][]int{{seed, seed + 1}, {seed + 2}},
		AnnotatedInt32: int32(seed), AnnotatedFloat32: float32(float64(seed) / 3), DictStrStr: map[string]string{"key": "val-2"},
	}
	if seed == 3 {
		h.StrField, h.ListOfStr, h.EnumField = "seed-3", []string{"item-3", "item-4"}, "PENDING"
		h.OptionalStr, h.OptionalInt, h.OptionalNested = nil, new(9), &Point{3, 0}
		h.DictStrStr = map[string]string{"key": "val-3"}
	}
	return h
}

var compareArrow = cmp.Options{
	cmp.Comparer(func(a, b arrow.RecordBatch) bool {
		return (a == nil) == (b == nil) && (a == nil || array.RecordEqual(a, b))
	}),
	cmp.Comparer(schemacmp.Equal),
}

func pointer(v any) unsafe.Pointer { return reflect.ValueOf(v).UnsafePointer() }

func planOf(tb testing.TB, v any) *Plan {
	tb.Helper()
	return mustCompile(tb, reflect.TypeOf(v).Elem(), Row)
}

func TestDataclassesOfTheReferenceDecode(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			p := planOf(t, g.value)
			data := goldenFile(t, g.name+".py.arrow")
			got := reflect.New(p.typ)
			if err := p.Unmarshal(data, got.UnsafePointer()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g.value, got.Interface(), compareArrow); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSchemasAreThoseOfTheReference(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			s, err := wire.NewReader(bytes.NewReader(goldenFile(t, g.name+".py.arrow")), wire.Limits{}, nil).NextStream()
			if err != nil {
				t.Fatal(err)
			}
			if err := planOf(t, g.value).Check(s); err != nil {
				t.Error(err)
			}
		})
	}
}

// The files that this compares with were checked by golden.py, which decodes
// them with the reference implementation.
func TestDataclassesAreWrittenAsTheReferenceReadThem(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			p := planOf(t, g.value)
			data, err := p.Marshal(pointer(g.value))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(filepath.Join(goldenDir, g.name+".go.arrow"), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(data, goldenFile(t, g.name+".go.arrow")) {
				t.Error("the bytes differ from the golden file: run the test with -update, then golden.py check")
			}
			got := reflect.New(p.typ)
			if err := p.Unmarshal(data, got.UnsafePointer()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g.value, got.Interface(), compareArrow); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheReferenceReadsTheGoldenFiles(t *testing.T) {
	out, err := exec.Command(pyref.Python(t), "testdata/golden.py", "check", goldenDir).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func goldenFile(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(goldenDir, name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// golden.py has pyarrow validate these files in full: rows of every kind, with
// nulls inside and around everything.
func TestEveryKindIsWrittenAsPyarrowValidatedIt(t *testing.T) {
	p := mustCompile(t, reflect.TypeFor[everyKind](), Row)
	const n = 6
	rows := everyRow(t, 5, n)
	var e Encoder
	var b wire.Batch
	if err := p.Encode(&e, unsafe.Pointer(&rows[0]), n, &b); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := wire.NewWriter(&buf)
	for _, err := range []error{w.Open(b.Schema), w.Batch(&b), w.Close(), w.Flush()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const name = "every_kind.go.arrow"
	if *update {
		if err := os.WriteFile(filepath.Join(goldenDir, name), buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(buf.Bytes(), goldenFile(t, name)) {
		t.Error("the bytes differ from the golden file: run the test with -update, then golden.py check")
	}
}
