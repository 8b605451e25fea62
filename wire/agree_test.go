package wire_test

import (
	"bytes"
	"errors"
	"fmt"
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

// sampleRecords is one record for each shape that the wire must carry, as JSON
// rows that arrow-go turns into arrays.
func sampleRecords(tb testing.TB) map[string]arrow.RecordBatch {
	tb.Helper()
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}
	ts := &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	point := arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Float64}, arrow.Field{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true})
	views := arrow.StructOf(
		arrow.Field{Name: "a", Type: arrow.BinaryTypes.StringView, Nullable: true},
		arrow.Field{Name: "b", Type: arrow.BinaryTypes.StringView, Nullable: true},
		arrow.Field{Name: "c", Type: arrow.Null, Nullable: true})
	shapes := map[string]struct {
		typ  arrow.DataType
		json string
	}{
		"int64":          {arrow.PrimitiveTypes.Int64, `[1, null, -3]`},
		"int8":           {arrow.PrimitiveTypes.Int8, `[1, 2, -3]`},
		"uint64":         {arrow.PrimitiveTypes.Uint64, `[1, 2, 3]`},
		"float32":        {arrow.PrimitiveTypes.Float32, `[1.5, null, 3]`},
		"bool":           {arrow.FixedWidthTypes.Boolean, `[true, null, false, true, true, true, true, true, false]`},
		"null":           {arrow.Null, `[null, null]`},
		"utf8":           {arrow.BinaryTypes.String, `["a", "", null, "ünïcode-λ"]`},
		"binary":         {arrow.BinaryTypes.Binary, `["YQ==", null]`},
		"large_utf8":     {arrow.BinaryTypes.LargeString, `["a", null, "ccc"]`},
		"large_binary":   {arrow.BinaryTypes.LargeBinary, `["YQ==", "YWE="]`},
		"fixed":          {&arrow.FixedSizeBinaryType{ByteWidth: 3}, `["YWJj", null]`},
		"decimal":        {&arrow.Decimal128Type{Precision: 20, Scale: 4}, `["1.5", "-2.25"]`},
		"timestamp":      {ts, `["2024-01-02T03:04:05Z", null]`},
		"date32":         {arrow.FixedWidthTypes.Date32, `["2024-01-02"]`},
		"duration":       {arrow.FixedWidthTypes.Duration_us, `["1us"]`},
		"list":           {arrow.ListOf(arrow.PrimitiveTypes.Int64), `[[1, 2], null, [], [3, null]]`},
		"list of text":   {arrow.ListOf(arrow.BinaryTypes.String), `[["a", "b"], null, ["c"]]`},
		"list of list":   {arrow.ListOf(arrow.ListOf(arrow.PrimitiveTypes.Int16)), `[[[1], []], null, [[2, 3]]]`},
		"large list":     {arrow.LargeListOf(arrow.PrimitiveTypes.Int64), `[[1, 2], null]`},
		"fixed list":     {arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int32), `[[1, 2], [3, 4]]`},
		"struct":         {point, `[{"x": 1, "s": "a"}, {"x": 2, "s": null}]`},
		"map":            {arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), `[[{"key": "a", "value": 1}], [], [{"key": "b", "value": null}]]`},
		"dictionary":     {dict, `["a", "b", null, "a"]`},
		"list of dict":   {arrow.ListOf(dict), `[["a", "b"], ["b"]]`},
		"map to dict":    {arrow.MapOf(arrow.BinaryTypes.String, dict), `[[{"key": "k", "value": "v"}]]`},
		"utf8 view":      {arrow.BinaryTypes.StringView, `["a", "a string that is longer than twelve bytes", null]`},
		"list view":      {arrow.ListViewOf(arrow.PrimitiveTypes.Int64), `[[1, 2], null, [3]]`},
		"views":          {views, `[{"a": "a string that is longer than twelve bytes", "b": "b", "c": null}, null, {"a": null, "b": "b", "c": null}]`},
		"list of views":  {arrow.ListOf(arrow.BinaryTypes.BinaryView), `[["YWJj"], null]`},
		"sparse union":   {arrow.SparseUnionOf(views.Fields(), []arrow.UnionTypeCode{0, 1, 2}), `[[1, "a string that is longer than twelve bytes"], [2, null]]`},
		"dense union":    {arrow.DenseUnionOf(point.Fields(), []arrow.UnionTypeCode{3, 5}), `[[3, 1], [5, "a"], [3, 2]]`},
		"run ends":       {arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String), `["a", "a", null]`},
		"no rows union":  {arrow.DenseUnionOf(point.Fields(), []arrow.UnionTypeCode{3, 5}), `[]`},
		"no rows views":  {views, `[]`},
		"no rows":        {arrow.BinaryTypes.String, `[]`},
		"no rows nested": {arrow.ListOf(point), `[]`},
		"no rows dict":   {dict, `[]`},
	}
	out := map[string]arrow.RecordBatch{}
	for name, s := range shapes {
		arr, _, err := array.FromJSON(memory.DefaultAllocator, s.typ, strings.NewReader(s.json))
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: s.typ, Nullable: true}, {Name: "n", Type: s.typ, Nullable: true}}, nil)
		out[name] = array.NewRecordBatch(schema, []arrow.Array{arr, arr}, int64(arr.Len()))
	}
	out["no columns"] = array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, 1)
	return out
}

func TestArrowReadsWhatTheWriterWrites(t *testing.T) {
	for name, rec := range sampleRecords(t) {
		for _, cut := range []string{"whole", "sliced", "sliced at both ends"} {
			t.Run(name+" "+cut, func(t *testing.T) {
				want := rec
				switch {
				case cut == "whole":
				case rec.NumRows() < 2:
					t.Skip("nothing to cut")
				case cut == "sliced":
					want = rec.NewSlice(1, rec.NumRows())
				default:
					want = rec.NewSlice(1, 2)
				}
				schema, err := wire.NewSchema(rec.Schema())
				if err != nil {
					t.Fatal(err)
				}
				meta := wire.Metadata{{Key: "k", Value: "v"}, {Key: "κλειδί", Value: "\xff\x00raw"}, {Key: "k", Value: ""}}
				b, err := wire.NewBatch(schema, want, meta)
				if err != nil {
					t.Fatal(err)
				}
				log := wire.EmptyBatch(schema, wire.Metadata{{Key: "log", Value: "first"}})
				plain := *b
				plain.Meta = nil
				var buf bytes.Buffer
				w := wire.NewWriter(&buf)
				for _, step := range []error{w.Open(schema), w.Batch(&log), w.Batch(b), w.Batch(&plain), w.Close(), w.Flush()} {
					if step != nil {
						t.Fatal(step)
					}
				}
				if w.Produced() != int64(buf.Len()) {
					t.Errorf("Produced says %d bytes, %d were written", w.Produced(), buf.Len())
				}
				r, err := ipc.NewReader(bytes.NewReader(buf.Bytes()))
				if err != nil {
					t.Fatal(err)
				}
				defer r.Release()
				for i, wantRec := range []arrow.RecordBatch{nil, want, want} {
					got, err := r.Read()
					if err != nil {
						t.Fatalf("batch %d: %v", i, err)
					}
					// arrow-go's validator wants buffers that its own reader does not make:
					// one of null arrays, and those of unions without rows.
					if !slices.Contains([]string{"null", "views", "sparse union"}, name) && got.NumRows() > 0 {
						if err := array.ValidateRecordFull(got); err != nil {
							t.Fatalf("batch %d: %v", i, err)
						}
					}
					if wantRec == nil {
						if got.NumRows() != 0 {
							t.Errorf("log batch has %d rows", got.NumRows())
						}
						continue
					}
					if !array.RecordEqual(got, wantRec) {
						t.Errorf("batch %d: got %v, want %v", i, got, wantRec)
					}
					if md, ok := got.(arrow.RecordBatchWithMetadata); i == 1 && (!ok || !md.Metadata().Equal(meta.Arrow())) {
						t.Errorf("metadata did not arrive: %v", got)
					}
				}
				if _, err := r.Read(); !errors.Is(err, io.EOF) {
					t.Errorf("after the last batch: %v, want io.EOF", err)
				}
			})
		}
	}
}

func TestTheReaderReadsWhatArrowWrites(t *testing.T) {
	for name, rec := range sampleRecords(t) {
		for mode, opts := range map[string][]ipc.Option{"plain": nil, "zstd": {ipc.WithZstd()}, "lz4": {ipc.WithLZ4()}, "deltas": {ipc.WithDictionaryDeltas(true)}} {
			t.Run(name+" "+mode, func(t *testing.T) {
				var buf bytes.Buffer
				for range 2 { // two streams back to back
					w := ipc.NewWriter(&buf, append([]ipc.Option{ipc.WithSchema(rec.Schema())}, opts...)...)
					for range 2 {
						if err := w.Write(rec); err != nil {
							t.Fatal(err)
						}
					}
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
				}
				r := wire.NewReader(&oneByteReader{buf.Bytes()}, wire.Limits{}, nil)
				for range 2 {
					if _, err := r.NextStream(); err != nil {
						t.Fatal(err)
					}
					for _, life := range []wire.Lifetime{wire.Borrow, wire.Own} {
						if _, err := r.Announce(); err != nil {
							t.Fatal(err)
						}
						b, err := r.Take(life)
						if err != nil {
							t.Fatal(err)
						}
						got, err := b.Record()
						if err != nil {
							t.Fatal(err)
						}
						if !array.RecordEqual(got, rec) {
							t.Errorf("got %v, want %v", got, rec)
						}
						got.Release()
					}
					if _, err := r.Next(); err != io.EOF { //nolint:errorlint // identity is the contract
						t.Errorf("end of stream: %v, want io.EOF", err)
					}
				}
				if _, err := r.NextStream(); err != io.EOF { //nolint:errorlint // identity is the contract
					t.Errorf("end of connection: %v, want io.EOF", err)
				}
			})
		}
	}
}

// oneByteReader gives its bytes in the smallest pieces.
type oneByteReader struct{ rest []byte }

func (r *oneByteReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:1], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestARecordKeptPastItsBatchStaysIntact(t *testing.T) {
	rec := sampleRecords(t)["int64"]
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(rec.Schema()))
	for range 3 {
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := wire.NewReader(&buf, wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		t.Fatal(err)
	}
	var kept []arrow.RecordBatch
	for range 3 {
		b, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		k, err := b.Record()
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, k)
	}
	for i, k := range kept {
		if !array.RecordEqual(k, rec) {
			t.Errorf("record %d changed: %v", i, k)
		}
		k.Release()
	}
}

func ExampleReader() {
	schema, _ := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil))
	arr, _, _ := array.FromJSON(memory.DefaultAllocator, arrow.PrimitiveTypes.Int64, strings.NewReader(`[1, 2, 3]`))
	b, _ := wire.NewBatch(schema, array.NewRecordBatch(schema.Arrow(), []arrow.Array{arr}, 3), nil)

	var conn bytes.Buffer
	w := wire.NewWriter(&conn)
	_ = w.Open(schema)
	_ = w.Batch(b)
	_ = w.Close()
	_ = w.Flush()

	r := wire.NewReader(&conn, wire.Limits{}, nil)
	_, _ = r.NextStream()
	got, _ := r.Next()
	rec, _ := got.Record()
	defer rec.Release()
	fmt.Println(rec.Column(0))
	// Output: [1 2 3]
}
