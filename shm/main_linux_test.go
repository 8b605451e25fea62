package shm

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire"
)

// TestMain runs the tests, and fails when one left shared memory behind.
func TestMain(m *testing.M) {
	if child := os.Getenv(childVariable); child != "" {
		os.Exit(runChild(child))
	}
	before := sharedFiles()
	code := m.Run()
	if left := leftBehind(before); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "tests left shared memory behind: %v\n", left)
		code = 1
	}
	os.Exit(code)
}

const childVariable = "SHM_TEST_CHILD"

func noError(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func equal(tb testing.TB, got, want any) {
	tb.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Fatalf("want (-), got (+):\n%s", diff)
	}
}

// record is an arrow record and its name.
type record struct {
	name string
	rec  arrow.RecordBatch
}

func field(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

func build(fields []arrow.Field, fill func(b *array.RecordBuilder)) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	fill(b)
	return b.NewRecordBatch()
}

func utf8Dictionary() *arrow.DictionaryType {
	return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}
}

func fillDictionary(b array.Builder, rows int) {
	d := b.(*array.BinaryDictionaryBuilder)
	for i := range rows {
		if i%5 == 3 {
			d.AppendNull()
			continue
		}
		if err := d.AppendString(fmt.Sprintf("value %d", i%7)); err != nil {
			panic(err)
		}
	}
}

func scalars(rows int) arrow.RecordBatch {
	return build([]arrow.Field{
		field("i", arrow.PrimitiveTypes.Int64), field("f", arrow.PrimitiveTypes.Float64),
		field("s", arrow.BinaryTypes.String), field("b", arrow.FixedWidthTypes.Boolean),
	}, func(b *array.RecordBuilder) {
		for i := range rows {
			b.Field(0).(*array.Int64Builder).Append(int64(i) << 30)
			b.Field(1).(*array.Float64Builder).Append(float64(i) / 3)
			if i%3 == 0 {
				b.Field(2).AppendNull()
			} else {
				b.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("row %d ü", i))
			}
			b.Field(3).(*array.BooleanBuilder).Append(i%2 == 0)
		}
	})
}

// wide is one row of many columns: its headers are larger than its values.
func wide(columns int) arrow.RecordBatch {
	fields := make([]arrow.Field, columns)
	for i := range fields {
		fields[i] = field(fmt.Sprintf("column_with_a_rather_long_name_%03d", i), arrow.PrimitiveTypes.Int64)
	}
	return build(fields, func(b *array.RecordBuilder) {
		for i := range fields {
			b.Field(i).(*array.Int64Builder).Append(int64(i))
		}
	})
}

func nested(rows int) arrow.RecordBatch {
	return build([]arrow.Field{
		field("list", arrow.ListOf(arrow.PrimitiveTypes.Int32)),
		field("struct", arrow.StructOf(field("x", arrow.PrimitiveTypes.Uint8), field("t", arrow.BinaryTypes.LargeString))),
	}, func(b *array.RecordBuilder) {
		list, inner := b.Field(0).(*array.ListBuilder), b.Field(1).(*array.StructBuilder)
		for i := range rows {
			list.Append(i%4 != 0)
			for j := range i % 4 {
				list.ValueBuilder().(*array.Int32Builder).Append(int32(i * j))
			}
			inner.Append(true)
			inner.FieldBuilder(0).(*array.Uint8Builder).Append(uint8(i))
			inner.FieldBuilder(1).(*array.LargeStringBuilder).Append(strconv.Itoa(i))
		}
	})
}

func dictionaries(rows int) arrow.RecordBatch {
	return build([]arrow.Field{
		field("a", utf8Dictionary()), field("n", arrow.PrimitiveTypes.Int32), field("z", utf8Dictionary()),
	}, func(b *array.RecordBuilder) {
		fillDictionary(b.Field(0), rows)
		fillDictionary(b.Field(2), rows)
		for i := range rows {
			b.Field(1).(*array.Int32Builder).Append(int32(i))
		}
	})
}

// innerDictionary has a dictionary only inside a struct.
func innerDictionary(rows int) arrow.RecordBatch {
	return build([]arrow.Field{field("s", arrow.StructOf(field("d", utf8Dictionary())))}, func(b *array.RecordBuilder) {
		s := b.Field(0).(*array.StructBuilder)
		for range rows {
			s.Append(true)
		}
		fillDictionary(s.FieldBuilder(0), rows)
	})
}

// bothDictionaries has one inside a struct that comes before one of its own.
func bothDictionaries(rows int) arrow.RecordBatch {
	return build([]arrow.Field{field("s", arrow.StructOf(field("d", utf8Dictionary()))), field("d", utf8Dictionary())},
		func(b *array.RecordBuilder) {
			s := b.Field(0).(*array.StructBuilder)
			for range rows {
				s.Append(true)
			}
			fillDictionary(s.FieldBuilder(0), rows)
			fillDictionary(b.Field(1), rows)
		})
}

// views has a type that is left to arrow-go.
func views(rows int) arrow.RecordBatch {
	return build([]arrow.Field{field("v", arrow.BinaryTypes.StringView)}, func(b *array.RecordBuilder) {
		for i := range rows {
			b.Field(0).(*array.StringViewBuilder).Append(fmt.Sprintf("a value that is longer than twelve bytes: %d", i))
		}
	})
}

func everyRecord() []record {
	return []record{
		{"scalars", scalars(1000)},
		{"one row of 400 columns", wide(400)},
		{"nested columns", nested(300)},
		{"dictionary columns", dictionaries(500)},
		{"a dictionary inside a struct", innerDictionary(100)},
		{"dictionaries inside and outside", bothDictionaries(100)},
		{"a slice", scalars(1000).NewSlice(333, 777)},
		{"a slice of dictionary columns", dictionaries(500).NewSlice(7, 99)},
		{"views", views(50)},
	}
}

// batch views rec as a batch with metadata.
func batch(tb testing.TB, rec arrow.RecordBatch, meta ...wire.Pair) *wire.Batch {
	tb.Helper()
	schema, err := wire.NewSchema(rec.Schema())
	noError(tb, err)
	b, err := wire.NewBatch(schema, rec, meta)
	noError(tb, err)
	return b
}

func sameRecord(tb testing.TB, got *wire.Batch, want arrow.RecordBatch) {
	tb.Helper()
	bare := *got
	bare.Meta = nil
	rec, err := bare.Record()
	noError(tb, err)
	defer rec.Release()
	if !array.RecordEqual(rec, want) {
		tb.Fatalf("got %v\nwant %v", rec, want)
	}
}

// segment is a named segment that is gone after the test.
func segment(tb testing.TB, size int64) *Segment {
	tb.Helper()
	s, err := Create("", size)
	noError(tb, err)
	tb.Cleanup(func() {
		noError(tb, s.Unlink())
		noError(tb, s.Close())
	})
	return s
}

func anonymousSegment(tb testing.TB, size int64) *Segment {
	tb.Helper()
	s, err := CreateAnonymous(size)
	noError(tb, err)
	tb.Cleanup(func() { noError(tb, s.Close()) })
	return s
}

// heapSegment is a segment in this process's own memory.
func heapSegment(size int64) *Segment {
	s := &Segment{name: "heap", size: size, mem: make([]byte, size)}
	copy(s.mem, header(size, 0))
	return s
}

func asBuffer(p []byte) *memory.Buffer { return memory.NewBufferBytes(p) }

// findIDs returns where a schema message holds the dictionary ids of its columns.
func findIDs(tb testing.TB, schema *wire.Schema, message []byte) []int {
	tb.Helper()
	msg := flatbuffers.GetUOffsetT(message[8:])
	root := flatbuffers.Table{Bytes: message[8:], Pos: msg}
	header := indirect(&root, 8) // Message.header
	vector := flatbuffers.UOffsetT(header.Offset(6))
	fields := header.Vector(vector)
	var at []int
	for i := range schema.NumFields() {
		pos := header.Indirect(fields + flatbuffers.UOffsetT(4*i))
		f := flatbuffers.Table{Bytes: header.Bytes, Pos: pos}
		if f.Offset(12) == 0 { // Field.dictionary
			continue
		}
		d := indirect(&f, 12)
		o := d.Offset(4) // DictionaryEncoding.id; absent for 0
		if o == 0 {
			at = append(at, -1)
			continue
		}
		at = append(at, 8+int(d.Pos)+int(o))
	}
	return at
}

func indirect(t *flatbuffers.Table, slot flatbuffers.VOffsetT) flatbuffers.Table {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Pos + o)}
}

// renumbered gives the ids at those places in a schema message other values; one
// that is absent stays.
func renumbered(message []byte, at []int) []byte {
	for i, pos := range at {
		if pos >= 0 {
			binary.LittleEndian.PutUint64(message[pos:], uint64(1000-i))
		}
	}
	return message
}
