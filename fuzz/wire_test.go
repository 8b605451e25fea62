package fuzz_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire"
)

// limits of the fuzz targets: small enough that a forged size shows.
var limits = wire.Limits{MaxSchemaBytes: 1 << 16, MaxMessageBytes: 1 << 18, MaxDiscardBytes: 1 << 19}

var dictType = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}

// A shape is a type, with JSON rows of it.
type shape struct {
	typ  arrow.DataType
	rows string
}

// shapes are the types that streams are made of.
var shapes = []shape{
	{arrow.PrimitiveTypes.Int64, `[1, null, -3]`},
	{arrow.FixedWidthTypes.Boolean, `[true, null, false, true, true, true, true, true, false]`},
	{arrow.BinaryTypes.String, `["a", "", null, "ünï"]`},
	{arrow.BinaryTypes.LargeBinary, `["YQ==", null]`},
	{&arrow.FixedSizeBinaryType{ByteWidth: 3}, `["YWJj", null]`},
	{arrow.ListOf(arrow.BinaryTypes.String), `[["a", "b"], null, []]`},
	{arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int32), `[[1, 2], [3, 4]]`},
	{arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, arrow.Field{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}), `[{"x": 1, "s": "a"}, null]`},
	{arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), `[[{"key": "a", "value": 1}], []]`},
	{dictType, `["a", "b", null, "a"]`},
	{arrow.ListOf(dictType), `[["a", "b"], ["b"]]`},
	{arrow.BinaryTypes.StringView, `["a", "a string that is longer than twelve bytes", null]`},
	{arrow.Null, `[null, null]`},
}

// others are more types to read. arrow-go writes them, and not all slices of them.
var others = []shape{
	{arrow.StructOf(words...), `[{"a": "a string that is longer than twelve bytes", "b": "b"}, null]`},
	{arrow.ListViewOf(arrow.PrimitiveTypes.Int64), `[[1, 2], null, [3]]`},
	{arrow.SparseUnionOf(words, []arrow.UnionTypeCode{0, 1}), `[[1, "a string that is longer than twelve bytes"], [0, null]]`},
	{arrow.DenseUnionOf(words, []arrow.UnionTypeCode{3, 5}), `[[3, "a string that is longer than twelve bytes"], [5, "b"]]`},
	{arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String), `["a", "a", null]`},
}

// words are two columns of views.
var words = []arrow.Field{
	{Name: "a", Type: arrow.BinaryTypes.StringView, Nullable: true}, {Name: "b", Type: arrow.BinaryTypes.StringView, Nullable: true},
}

func sample(tb testing.TB, typ arrow.DataType, rows string) arrow.RecordBatch {
	tb.Helper()
	arr, _, err := array.FromJSON(memory.DefaultAllocator, typ, strings.NewReader(rows))
	if err != nil {
		tb.Fatal(err)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: typ, Nullable: true}}, nil)
	return array.NewRecordBatch(schema, []arrow.Array{arr}, int64(arr.Len()))
}

// byArrow writes records as one stream with arrow-go.
func byArrow(tb testing.TB, opts []ipc.Option, records ...arrow.RecordBatch) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, append([]ipc.Option{ipc.WithSchema(records[0].Schema())}, opts...)...)
	for _, rec := range records {
		if err := w.Write(rec); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// addStreams seeds a target with streams of every shape.
func addStreams(f *testing.F) {
	f.Helper()
	for _, s := range slices.Concat(shapes, others) {
		rec := sample(f, s.typ, s.rows)
		f.Add(byArrow(f, nil, rec, rec))
		f.Add(byArrow(f, []ipc.Option{ipc.WithZstd()}, rec))
		f.Add(byArrow(f, []ipc.Option{ipc.WithLZ4()}, rec))
	}
	status, err := wire.ErrorStream(&wire.Status{Type: "E", Message: "m", Code: "UNKNOWN"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(status)
}

// ours reads all streams of p with this project's reader.
func ours(p []byte) (records []arrow.RecordBatch, err error) {
	r := wire.NewReader(bytes.NewReader(p), limits, nil)
	for {
		if _, err := r.NextStream(); err != nil {
			if err == io.EOF { //nolint:errorlint // identity is the contract
				return records, nil
			}
			return records, err
		}
		for {
			b, err := r.Next()
			if err == io.EOF { //nolint:errorlint // identity is the contract
				break
			}
			if err != nil {
				return records, err
			}
			_ = b.Kind()
			rec, err := b.Record()
			if err != nil {
				return records, err
			}
			records = append(records, rec)
		}
	}
}

// FuzzStream reads arbitrary bytes: every outcome is a typed error or an end,
// and what can be drained is in step.
func FuzzStream(f *testing.F) {
	addStreams(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		r := wire.NewReader(bytes.NewReader(p), limits, nil)
		for {
			if _, err := r.NextStream(); err != nil {
				requireTyped(t, err)
				return
			}
			for {
				_, err := r.Next()
				if err == io.EOF { //nolint:errorlint // identity is the contract
					break
				}
				if err == nil {
					continue
				}
				requireTyped(t, err)
				if !wire.InStep(err) {
					return
				}
				if err := r.Drain(); err != nil {
					requireTyped(t, err)
					return
				}
				break
			}
		}
	})
}

func requireTyped(t *testing.T, err error) {
	t.Helper()
	var limit *wire.LimitError
	var format *wire.FormatError
	if err != io.EOF && !errors.Is(err, wire.ErrTruncated) && !errors.As(err, &limit) && !errors.As(err, &format) { //nolint:errorlint // identity is the contract
		t.Fatalf("error of no type: %T %v", err, err)
	}
}

// FuzzReadAgreesWithArrow reads arbitrary bytes with both readers: what ours
// accepts after full validation, arrow-go reads as the same records.
func FuzzReadAgreesWithArrow(f *testing.F) {
	addStreams(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := ours(p)
		if err != nil {
			return
		}
		rest := bytes.NewReader(p)
		for len(got) > 0 {
			messages := ipc.NewMessageReader(rest, ipc.WithBodySizeLimit(limits.MaxMessageBytes), ipc.WithMetadataSizeLimit(limits.MaxSchemaBytes))
			r, err := ipc.NewReaderFromMessageReader(messages)
			if err != nil {
				t.Fatalf("arrow-go refuses the schema: %v", err)
			}
			for {
				want, err := r.Read()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("arrow-go refuses a batch: %v", err)
				}
				if !sameRecord(got[0], want) {
					t.Fatalf("ours %v\narrow-go %v", got[0], want)
				}
				got = got[1:]
			}
			r.Release()
		}
	})
}

// sameRecord compares values; batches that differ in nothing but NaN payloads
// are the same.
func sameRecord(a, b arrow.RecordBatch) bool {
	return a.NumRows() == b.NumRows() && array.RecordApproxEqual(a, b, array.WithNaNsEqual(true))
}

// FuzzWriteAgreesWithArrow builds a record from arbitrary bytes, writes it with
// this project's writer, and reads it back with both readers.
func FuzzWriteAgreesWithArrow(f *testing.F) {
	for i := range shapes {
		f.Add(uint8(i), uint8(1), uint8(0), []byte("some values, \x00\xff and more of them"))
	}
	f.Fuzz(func(t *testing.T, which, from, to uint8, data []byte) {
		s := shapes[int(which)%len(shapes)]
		rec := build(s.typ, data)
		lo := min(int64(from), rec.NumRows())
		hi := min(lo+int64(to), rec.NumRows())
		if to == 0 {
			hi = rec.NumRows()
		}
		rec = rec.NewSlice(lo, hi)
		schema, err := wire.NewSchema(rec.Schema())
		if err != nil {
			t.Fatal(err)
		}
		b, err := wire.NewBatch(schema, rec, wire.Metadata{{Key: "k", Value: string(data)}})
		if err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		w := wire.NewWriter(&buf)
		if err := errors.Join(w.Open(schema), w.Batch(b), w.Batch(b), w.Close(), w.Flush()); err != nil {
			t.Fatal(err)
		}
		r, err := ipc.NewReader(bytes.NewReader(buf.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Release()
		theirs, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		if !sameRecord(theirs, rec) {
			t.Fatalf("arrow-go reads %v, wrote %v", theirs, rec)
		}
		got, err := ours(buf.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || !sameRecord(got[1], rec) {
			t.Fatalf("read back %v, wrote %v", got, rec)
		}
	})
}

// build makes a record of one column whose values come from data.
func build(typ arrow.DataType, data []byte) arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: typ, Nullable: true}}, nil)
	b := array.NewBuilder(memory.DefaultAllocator, typ)
	defer b.Release()
	for len(data) > 0 {
		data = appendValue(b, data)
	}
	arr := b.NewArray()
	return array.NewRecordBatch(schema, []arrow.Array{arr}, int64(arr.Len()))
}

// appendValue takes some of data as one value, or as a null.
func appendValue(b array.Builder, data []byte) []byte {
	first := data[0]
	data = data[1:]
	if first%5 == 0 {
		b.AppendNull()
		return data
	}
	n := min(int(first%7), len(data))
	head := data[:n]
	switch b := b.(type) {
	case *array.Int64Builder:
		b.Append(int64(first))
	case *array.Int32Builder:
		b.Append(int32(first))
	case *array.Float64Builder:
		b.Append(float64(first))
	case *array.BooleanBuilder:
		b.Append(first&1 == 0)
	case *array.BinaryBuilder:
		b.Append(head)
	case *array.FixedSizeBinaryBuilder:
		b.Append([]byte{first, 1, 2})
	case *array.ListBuilder:
		b.Append(true)
		for range first % 3 {
			if len(data) > 0 {
				data = appendValue(b.ValueBuilder(), data)
			}
		}
		return data
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			appendValue(b.FieldBuilder(i), append([]byte{first + byte(i)}, head...))
		}
	case *array.MapBuilder:
		b.Append(true)
		b.KeyBuilder().(*array.StringBuilder).Append(strings.ToValidUTF8(string(head), "?")) //nolint:forcetypeassert // of the shapes above
		appendValue(b.ItemBuilder(), []byte{first})
	case *array.BinaryDictionaryBuilder:
		_ = b.AppendString(strings.ToValidUTF8(string(head), "?")) // strings always fit
	case interface{ Append(string) }:
		b.Append(strings.ToValidUTF8(string(head), "?"))
	default:
		b.AppendEmptyValue()
	}
	return data[n:]
}
