package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/endian"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/vgirpc/vgirpc-go/wire"
)

// stream is one IPC stream of a single int64 column, as arrow-go writes it.
func stream(tb testing.TB, values string) []byte {
	tb.Helper()
	return arrowStream(tb, arrow.PrimitiveTypes.Int64, values)
}

func arrowStream(tb testing.TB, typ arrow.DataType, values string, opts ...ipc.Option) []byte {
	tb.Helper()
	return streamOf(tb, fromJSON(tb, typ, values), opts...)
}

func fromJSON(tb testing.TB, typ arrow.DataType, values string) arrow.Array {
	tb.Helper()
	arr, _, err := array.FromJSON(memory.DefaultAllocator, typ, strings.NewReader(values))
	if err != nil {
		tb.Fatal(err)
	}
	return arr
}

// streamOf is one IPC stream of a single column, as arrow-go writes it.
func streamOf(tb testing.TB, arr arrow.Array, opts ...ipc.Option) []byte {
	tb.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: arr.DataType(), Nullable: true}}, nil)
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, append([]ipc.Option{ipc.WithSchema(schema)}, opts...)...)
	if err := w.Write(array.NewRecordBatch(schema, []arrow.Array{arr}, int64(arr.Len()))); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// readAll reads every stream of p and returns the first error that is not the
// end of the connection.
func readAll(p []byte, limits wire.Limits) error {
	r := wire.NewReader(bytes.NewReader(p), limits, nil)
	for {
		if _, err := r.NextStream(); err != nil {
			if err == io.EOF { //nolint:errorlint // identity is the contract
				return nil
			}
			return err
		}
		for {
			if _, err := r.Next(); err == io.EOF { //nolint:errorlint // identity is the contract
				break
			} else if err != nil {
				return err
			}
		}
	}
}

// batchAt is where the record batch message of a stream begins.
func batchAt(p []byte) int { return 8 + int(binary.LittleEndian.Uint32(p[4:])) }

func TestEveryCutOfAStreamIsALostConnection(t *testing.T) {
	p := stream(t, `[1, 2, null]`)
	for n := 1; n < len(p); n++ {
		if err := readAll(p[:n], wire.Limits{}); !errors.Is(err, wire.ErrTruncated) {
			t.Fatalf("cut at %d of %d: %v, want ErrTruncated", n, len(p), err)
		}
	}
}

func TestBytesThatAreNoStreamAreAFormatError(t *testing.T) {
	good := stream(t, `[1]`)
	for name, p := range map[string][]byte{
		"text":                 []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"zeros":                make([]byte, 64),
		"a stream without one": good[len(good)-8:],
		"a batch first":        good[batchAt(good):],
		"negative length":      {0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0},
		"tiny length":          {0xFF, 0xFF, 0xFF, 0xFF, 4, 0, 0, 0, 0, 0, 0, 0},
		"random metadata":      append([]byte{0xFF, 0xFF, 0xFF, 0xFF, 16, 0, 0, 0}, bytes.Repeat([]byte{0xA5}, 64)...),
		"two schemas":          append(bytes.Clone(good[:batchAt(good)]), good...),
	} {
		t.Run(name, func(t *testing.T) {
			err := readAll(p, wire.Limits{})
			if _, ok := errors.AsType[*wire.FormatError](err); !ok {
				t.Fatalf("%v, want a *FormatError", err)
			}
			if wire.InStep(err) {
				t.Errorf("%v claims that the connection is usable", err)
			}
		})
	}
}

func TestALargeMessageIsRefusedByNameAndTheNextStreamStillReads(t *testing.T) {
	values := "[" + strings.Repeat("1,", 4000) + "1]"
	big, small := stream(t, values), stream(t, `[7]`)
	r := wire.NewReader(bytes.NewReader(append(bytes.Clone(big), small...)), wire.Limits{MaxMessageBytes: 1 << 10}, nil)
	if _, err := r.NextStream(); err != nil {
		t.Fatal(err)
	}
	_, err := r.Next()
	var limit *wire.LimitError
	if !errors.As(err, &limit) || limit.Limit != "MaxMessageBytes" || limit.Max != 1<<10 || !limit.InStep {
		t.Fatalf("%v, want a *LimitError of MaxMessageBytes", err)
	}
	if err := r.Drain(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.NextStream(); err != nil {
		t.Fatal(err)
	}
	if b, err := r.Next(); err != nil || b.Rows != 1 {
		t.Fatalf("the stream after: %v, %v", b, err)
	}
}

func TestDiscardingIsBounded(t *testing.T) {
	big := stream(t, "["+strings.Repeat("1,", 4000)+"1]")
	r := wire.NewReader(bytes.NewReader(big), wire.Limits{MaxMessageBytes: 1 << 10, MaxDiscardBytes: 2 << 10}, nil)
	if _, err := r.NextStream(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err == nil {
		t.Fatal("accepted")
	}
	var limit *wire.LimitError
	if err := r.Drain(); !errors.As(err, &limit) || limit.Limit != "MaxDiscardBytes" {
		t.Fatalf("%v, want a *LimitError of MaxDiscardBytes", err)
	}
}

// patchBody claims another body length in the batch message of a stream.
func patchBody(tb testing.TB, p []byte, length uint64) []byte {
	tb.Helper()
	p = bytes.Clone(p)
	at := batchAt(p)
	message := p[at+8:]
	table := binary.LittleEndian.Uint32(message)
	vtable := int(table) - int(int32(binary.LittleEndian.Uint32(message[table:])))
	field := binary.LittleEndian.Uint16(message[vtable+10:])
	binary.LittleEndian.PutUint64(message[int(table)+int(field):], length)
	return p
}

func TestAForgedLengthCostsNoMemory(t *testing.T) {
	good := stream(t, `[1]`)
	for name, tt := range map[string]struct {
		length uint64
		limits wire.Limits
	}{
		"two terabytes":           {2 << 40, wire.Limits{}},
		"negative":                {1 << 63, wire.Limits{}},
		"just within the limit":   {wire.DefaultMaxMessageBytes, wire.Limits{}},
		"within a limit of 8 GiB": {8 << 30, wire.Limits{MaxMessageBytes: 8 << 30}},
	} {
		t.Run(name, func(t *testing.T) {
			p := patchBody(t, good, tt.length)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := readAll(p, tt.limits)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("accepted")
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
				t.Errorf("%d bytes allocated for a message that never came (%v)", grown, err)
			}
		})
	}
}

func TestACompressedBombIsRefused(t *testing.T) {
	values := "[" + strings.Repeat("0,", 500_000) + "0]"
	for name, opt := range map[string]ipc.Option{"zstd": ipc.WithZstd(), "lz4": ipc.WithLZ4()} {
		t.Run(name, func(t *testing.T) {
			p := arrowStream(t, arrow.PrimitiveTypes.Int64, values, opt)
			if len(p) > 100<<10 {
				t.Fatalf("compressed to %d bytes: not much of a bomb", len(p))
			}
			err := readAll(p, wire.Limits{MaxMessageBytes: 1 << 20})
			var limit *wire.LimitError
			if !errors.As(err, &limit) || limit.What != "decompressed batch" || !limit.InStep {
				t.Errorf("%v, want a *LimitError about the decompressed batch", err)
			}
			if err := readAll(p, wire.Limits{}); err != nil {
				t.Errorf("within the default limit: %v", err)
			}
		})
	}
}

func TestForgedArraysAreRefusedByField(t *testing.T) {
	text := arrowStream(t, arrow.BinaryTypes.String, `["ab", "cd", "ef"]`)
	dict := arrowStream(t, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, `["a", "b"]`)
	for name, tt := range map[string]struct {
		p           []byte
		find, patch []byte
		level       wire.Validation
	}{
		"an offset that falls":        {text, []byte{4, 0, 0, 0, 6, 0, 0, 0}, []byte{1, 0, 0, 0, 6, 0, 0, 0}, wire.ValidateFull},
		"an offset past the end":      {text, []byte{4, 0, 0, 0, 6, 0, 0, 0}, []byte{4, 0, 0, 0, 0xFF, 0xFF, 0, 0}, wire.ValidateStandard},
		"bytes that are not UTF-8":    {text, []byte("abcdef"), []byte("ab\xff\xfeef"), wire.ValidateFull},
		"a value cut in a character":  {text, []byte("abcdef"), []byte("aé!!!")[:6], wire.ValidateFull},
		"an index past the last word": {dict, []byte{0, 1, 0, 0, 0, 0, 0, 0}, []byte{0, 9, 0, 0, 0, 0, 0, 0}, wire.ValidateStandard},
		"a negative index":            {dict, []byte{0, 1, 0, 0, 0, 0, 0, 0}, []byte{0, 0xFF, 0, 0, 0, 0, 0, 0}, wire.ValidateFull},
	} {
		t.Run(name, func(t *testing.T) {
			at := bytes.LastIndex(tt.p, tt.find)
			if at < 0 {
				t.Fatal("the bytes to forge are not there")
			}
			p := bytes.Clone(tt.p)
			copy(p[at:], tt.patch)
			err := readAll(p, wire.Limits{Validation: tt.level})
			var format *wire.FormatError
			if !errors.As(err, &format) || format.Where != "v" || !format.InStep {
				t.Errorf("%v, want a *FormatError at v that leaves the connection usable", err)
			}
			if err := readAll(tt.p, wire.Limits{}); err != nil {
				t.Errorf("the original: %v", err)
			}
		})
	}
}

func TestTheBudgetRefusesWhatOthersHold(t *testing.T) {
	p := stream(t, "["+strings.Repeat("1,", 4000)+"1]")
	budget := wire.NewBudget(40 << 10)
	first := wire.NewReader(bytes.NewReader(p), wire.Limits{Budget: budget}, nil)
	second := wire.NewReader(bytes.NewReader(p), wire.Limits{Budget: budget}, nil)
	for _, r := range []*wire.Reader{first, second} {
		if _, err := r.NextStream(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := first.Next(); err != nil {
		t.Fatal(err)
	}
	var busy *wire.BusyError
	if _, err := second.Next(); !errors.As(err, &busy) || busy.Max != 40<<10 || !wire.InStep(busy) {
		t.Fatalf("%v, want a *BusyError", err)
	}
	if err := first.Drain(); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if budget.Held() != 0 {
		t.Errorf("%d bytes are still held", budget.Held())
	}
}

func TestASchemaThatUnfoldsWithoutEndIsRefused(t *testing.T) {
	typ := arrow.PrimitiveTypes.Int8
	for range 100 {
		typ = arrow.ListOf(typ)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: typ}}, nil)
	var buf bytes.Buffer
	if err := ipc.NewWriter(&buf, ipc.WithSchema(schema)).Close(); err != nil {
		t.Fatal(err)
	}
	err := readAll(buf.Bytes(), wire.Limits{})
	var format *wire.FormatError
	if !errors.As(err, &format) || !strings.Contains(format.Reason, "deeper") {
		t.Errorf("%v, want a *FormatError about depth", err)
	}
}

func TestBigEndianDataIsRefused(t *testing.T) {
	schema := arrow.NewSchemaWithEndian([]arrow.Field{{Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil, endian.BigEndian)
	var buf bytes.Buffer
	if err := ipc.NewWriter(&buf, ipc.WithSchema(schema)).Close(); err != nil {
		t.Fatal(err)
	}
	if err := readAll(buf.Bytes(), wire.Limits{}); err == nil || !strings.Contains(err.Error(), "endian") {
		t.Errorf("%v, want an error about endianness", err)
	}
}

func TestAnErrorStreamSaysEverythingOnce(t *testing.T) {
	want := wire.Status{
		Type: "ValueError", Message: "a < b & \u2028", Code: "INVALID_ARGUMENT", Kind: "bad", Traceback: "ValueError: x\n",
		ServerID: "s", RequestID: "r",
	}
	p, err := wire.ErrorStream(&want)
	if err != nil {
		t.Fatal(err)
	}
	r := wire.NewReader(bytes.NewReader(p), wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		t.Fatal(err)
	}
	b, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if b.Kind() != wire.KindError {
		t.Fatalf("kind %d", b.Kind())
	}
	got := wire.ParseStatus(b.Meta)
	if got.Type != want.Type || got.Message != want.Message || got.Code != want.Code || got.Kind != want.Kind ||
		got.Traceback != want.Traceback || got.ServerID != "s" || got.RequestID != "r" {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if extra := b.Meta.Value(wire.KeyLogExtra); !strings.Contains(extra, "a < b &") {
		t.Errorf("log_extra escapes for HTML: %s", extra)
	}
}

func TestTheDetailsCapCountsBytesAsEmitted(t *testing.T) {
	for _, tt := range []struct {
		name    string
		details []string
		sent    bool
	}{
		{"exactly 4096 bytes", []string{`{"@type":"vgi_rpc.ErrorInfo","metadata":{"p":"` + strings.Repeat("x", 4045) + `"}}`}, true},
		{"4097 bytes", []string{`{"@type":"vgi_rpc.ErrorInfo","metadata":{"p":"` + strings.Repeat("x", 4046) + `"}}`}, false},
		{"2048 two-byte characters", []string{`{"@type":"vgi_rpc.LocalizedMessage","message":"` + strings.Repeat("é", 2048) + `"}`}, false},
		{"a type twice", []string{`{"@type":"vgi_rpc.RetryInfo"}`, `{"@type":"vgi_rpc.RetryInfo"}`}, false},
		{"reserved but unknown", []string{`{"@type":"vgi_rpc.Made.Up"}`}, false},
		{"unqualified", []string{`{"@type":"Unqualified"}`}, false},
		{"no type", []string{`{"note":"x"}`}, false},
		{"a protocol's own type", []string{`{"@type":"acme.v1.Probe"}`}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := wire.Status{Type: "E", Code: "UNKNOWN", Message: "m"}
			for _, d := range tt.details {
				s.Details = append(s.Details, []byte(d))
			}
			m := s.Metadata()
			if m.Has(wire.KeyErrorDetails) != tt.sent {
				t.Errorf("error_details sent: %v, want %v", !tt.sent, tt.sent)
			}
			if strings.Contains(m.Value(wire.KeyLogExtra), "error_details") != tt.sent {
				t.Errorf("the mirror in log_extra disagrees")
			}
		})
	}
}

func TestTheKindOfABatchFollowsTheSpecification(t *testing.T) {
	meta := func(keys ...string) (m wire.Metadata) {
		for _, k := range keys {
			m = append(m, wire.Pair{Key: k, Value: "INFO"})
		}
		return m
	}
	for _, tt := range []struct {
		name string
		rows int
		meta wire.Metadata
		want wire.Kind
	}{
		{"rows with log keys are data", 1, meta(wire.KeyLogLevel, wire.KeyLogMessage), wire.KindData},
		{"no rows and no metadata are data", 0, nil, wire.KindData},
		{"no rows and unknown keys are data", 0, meta("x"), wire.KindData},
		{"both log keys are a log", 0, meta(wire.KeyLogLevel, wire.KeyLogMessage), wire.KindLog},
		{"a log wins over a pointer", 0, meta(wire.KeyLogLevel, wire.KeyLogMessage, wire.KeyLocation), wire.KindLog},
		{"a level alone hides a pointer", 0, meta(wire.KeyLogLevel, wire.KeySHMOffset), wire.KindData},
		{"EXCEPTION is an error", 0, wire.Metadata{{Key: wire.KeyLogLevel, Value: "EXCEPTION"}, {Key: wire.KeyLogMessage}}, wire.KindError},
		{"location is a pointer", 0, meta(wire.KeyLocation), wire.KindExternal},
		{"an offset is a pointer", 0, meta(wire.KeySHMOffset), wire.KindSHM},
		{"a state token", 0, meta(wire.KeyStreamState), wire.KindState},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := wire.Batch{Rows: tt.rows, Meta: tt.meta}
			if got := b.Kind(); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// batchHeader is the table of the record batch, or of the batch within a dictionary,
// in the message at an offset of a stream.
func batchHeader(tb testing.TB, p []byte, at int) flatbuffers.Table {
	tb.Helper()
	b := p[at+8:]
	msg := flatbuffers.Table{Bytes: b, Pos: flatbuffers.GetUOffsetT(b)}
	var batch flatbuffers.Table
	msg.Union(&batch, flatbuffers.UOffsetT(msg.Offset(8))) // the header
	const dictionary, record = 2, 3
	switch kind := msg.GetByte(msg.Pos + flatbuffers.UOffsetT(msg.Offset(6))); kind {
	case dictionary:
		batch.Pos = batch.Indirect(batch.Pos + flatbuffers.UOffsetT(batch.Offset(6))) // its data
	case record:
	default:
		tb.Fatalf("the message at %d has a header of kind %d", at, kind)
	}
	return batch
}

// forgeVariadic claims n buffers for the first view column of the message at an
// offset of a stream.
func forgeVariadic(tb testing.TB, p []byte, at int, n uint64) []byte {
	tb.Helper()
	p = bytes.Clone(p)
	batch := batchHeader(tb, p, at)
	counts := flatbuffers.UOffsetT(batch.Offset(12))
	if counts == 0 || batch.VectorLen(counts) == 0 {
		tb.Fatal("the batch has no view column")
	}
	binary.LittleEndian.PutUint64(batch.Bytes[batch.Vector(counts):], n)
	return p
}

// forgeLength says that a vector of the batch is one shorter than it is, and makes
// what it ends with as large as it can be.
func forgeLength(tb testing.TB, p []byte, at int, slot flatbuffers.VOffsetT, size int) []byte {
	tb.Helper()
	p = bytes.Clone(p)
	batch := batchHeader(tb, p, at)
	vector := flatbuffers.UOffsetT(batch.Offset(slot))
	n, begin := batch.VectorLen(vector), int(batch.Vector(vector))
	binary.LittleEndian.PutUint32(batch.Bytes[begin-4:], uint32(n-1))
	for i := begin + size*(n-1); i < begin+size*n; i += 8 {
		binary.LittleEndian.PutUint64(batch.Bytes[i:], 1<<40)
	}
	return p
}

func TestAMessageHasAllThatItsTypesConsistOf(t *testing.T) {
	word := fromJSON(t, arrow.BinaryTypes.StringView, `["a text that is longer than twelve bytes"]`)
	words, err := array.NewStructArray([]arrow.Array{word, word}, []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	typ := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: words.DataType()}
	for name, arr := range map[string]arrow.Array{
		"record batch": words,
		"dictionary":   array.NewDictionaryArray(typ, fromJSON(t, typ.IndexType, `[0]`), words),
	} {
		good := streamOf(t, arr)
		if err := readAll(good, wire.Limits{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, vector := range []struct {
			what string
			slot flatbuffers.VOffsetT
			size int
		}{{"field nodes", 6, 16}, {"buffers", 8, 16}, {"view columns", 12, 8}} {
			t.Run("a "+name+" of fewer "+vector.what, func(t *testing.T) {
				err := readAll(forgeLength(t, good, batchAt(good), vector.slot, vector.size), wire.Limits{})
				var format *wire.FormatError
				if !errors.As(err, &format) || !format.InStep || !strings.Contains(err.Error(), vector.what) {
					t.Errorf("got %v, want a *FormatError that leaves the connection usable", err)
				}
			})
		}
	}
}

func TestAViewColumnHasNoMoreBuffersThanItsMessage(t *testing.T) {
	words := fromJSON(t, arrow.BinaryTypes.StringView, `["a text that is longer than twelve bytes"]`)
	typ := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: words.DataType()}
	for _, tt := range []struct {
		name string
		arr  arrow.Array
	}{
		{"in a record batch", words},
		{"in a dictionary", array.NewDictionaryArray(typ, fromJSON(t, typ.IndexType, `[0, 0]`), words)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good := streamOf(t, tt.arr)
			if err := readAll(good, wire.Limits{}); err != nil {
				t.Fatal(err)
			}
			for _, n := range []uint64{4, 1 << 20, 1<<32 + 3, 1 << 62, 1 << 63, 1<<64 - 1} {
				err := readAll(forgeVariadic(t, good, batchAt(good), n), wire.Limits{}) // the first message behind the schema
				var format *wire.FormatError
				if !errors.As(err, &format) || !format.InStep || !strings.Contains(err.Error(), "view column") {
					t.Errorf("%d buffers: %v, want a *FormatError that leaves the connection usable", n, err)
				}
			}
		})
	}
}
