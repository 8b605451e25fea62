package wire_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/vgirpc/vgirpc-go/wire"
)

// loop gives the same bytes for ever.
type loop struct {
	p  []byte
	at int
}

func (l *loop) Read(b []byte) (int, error) {
	n := copy(b, l.p[l.at:])
	if l.at += n; l.at == len(l.p) {
		l.at = 0
	}
	return n, nil
}

func request(b *testing.B) []byte {
	b.Helper()
	rec := sampleRecords(b)["int8"]
	schema, err := wire.NewSchema(rec.Schema())
	if err != nil {
		b.Fatal(err)
	}
	batch, err := wire.NewBatch(schema, rec, wire.Metadata{
		{Key: wire.KeyMethod, Value: "echo_int"},
		{Key: wire.KeyProtocol, Value: "ConformanceService"},
		{Key: wire.KeyRequestVersion, Value: "1"},
		{Key: wire.KeyProtocolVersion, Value: "2.0.0"},
	})
	if err != nil {
		b.Fatal(err)
	}
	var buf bytes.Buffer
	w := wire.NewWriter(&buf)
	for _, err := range []error{w.Open(schema), w.Batch(batch), w.Close(), w.Flush()} {
		if err != nil {
			b.Fatal(err)
		}
	}
	return buf.Bytes()
}

func BenchmarkReadASmallRequest(b *testing.B) {
	r := wire.NewReader(&loop{p: request(b)}, wire.Limits{}, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.NextStream(); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
		if err := r.Drain(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadASmallRequestWithArrow(b *testing.B) {
	src := &loop{p: request(b)}
	b.ReportAllocs()
	for b.Loop() {
		r, err := ipc.NewReader(src)
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Read(); err == io.EOF { //nolint:errorlint // identity is the contract
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		r.Release()
	}
}

func BenchmarkWriteASmallReply(b *testing.B) {
	schema, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "result", Type: arrow.PrimitiveTypes.Int64}}, nil))
	if err != nil {
		b.Fatal(err)
	}
	batch := wire.Batch{Schema: schema, Rows: 1, Cols: []wire.Column{{Rows: 1, Data: make([]byte, 8)}}}
	w := wire.NewWriter(io.Discard)
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range []error{w.Open(schema), w.Batch(&batch), w.Close(), w.Flush()} {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
