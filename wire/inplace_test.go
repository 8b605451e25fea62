package wire_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/wire"
)

// lender is memory that somebody else may write to.
type lender struct {
	mem  []byte // whose start is aligned
	at   int64
	lent int // times
}

func (l *lender) Read(p []byte) (int, error) {
	n := copy(p, l.mem[l.at:])
	if l.at += int64(n); n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (l *lender) Lend(back, n int64) []byte {
	from := l.at - back
	if from%8 != 0 || from+n > int64(len(l.mem)) {
		return nil
	}
	l.at = from + n
	l.lent++
	return l.mem[from:l.at:l.at]
}

// structure is a copy of whatever says how the values of a column lie.
type structure struct {
	Rows, Nulls       int
	Validity, Offsets []byte
	Indices           []byte
	Children          []structure
	Dict              []structure
}

func structureOf(c *wire.Column) structure {
	s := structure{Rows: c.Rows, Nulls: c.Nulls, Validity: bytes.Clone(c.Validity), Offsets: bytes.Clone(c.Offsets)}
	if c.Dict != nil {
		s.Indices = bytes.Clone(c.Data)
		s.Dict = []structure{structureOf(c.Dict)}
	}
	for i := range c.Children {
		s.Children = append(s.Children, structureOf(&c.Children[i]))
	}
	return s
}

// What was checked is what is used: whoever writes to the memory of a batch that is
// read in place changes values, and not where they lie.
func TestABatchReadInPlaceKeepsItsShape(t *testing.T) {
	for name, rec := range sampleRecords(t) {
		t.Run(name, func(t *testing.T) {
			l := &lender{mem: bytes.Clone(written(t, rec))}
			r := wire.NewReader(l, wire.Limits{}, nil)
			defer r.Close()
			if _, err := r.NextStream(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Announce(); err != nil {
				t.Fatal(err)
			}
			b, err := r.Take(wire.InPlace)
			if err != nil {
				t.Fatal(err)
			}
			before := make([]structure, len(b.Cols))
			for i := range b.Cols {
				before[i] = structureOf(&b.Cols[i])
			}
			for i := range l.mem {
				l.mem[i] = 0xFF
			}
			for i := range b.Cols {
				if diff := cmp.Diff(before[i], structureOf(&b.Cols[i])); diff != "" {
					t.Errorf("column %d (-when it was checked +now):\n%s", i, diff)
				}
			}
			if name == "int64" && (l.lent != 1 || b.Cols[0].Data[0] != 0xFF) {
				t.Errorf("lent %d times, first byte %#x: the values are a copy", l.lent, b.Cols[0].Data[0])
			}
		})
	}
}

func TestACompressedBodyIsNotReadInPlace(t *testing.T) {
	rec := sampleRecords(t)["int64"]
	l := &lender{mem: written(t, rec, ipc.WithZstd())}
	r := wire.NewReader(l, wire.Limits{}, nil)
	defer r.Close()
	if _, err := r.NextStream(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Announce(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Take(wire.InPlace); err != nil || l.lent != 0 {
		t.Errorf("lent %d times, error %v: what is decompressed must not change meanwhile", l.lent, err)
	}
}

// written is a record as arrow-go writes it.
func written(tb testing.TB, rec arrow.RecordBatch, opts ...ipc.Option) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(opts, ipc.WithSchema(rec.Schema()))...)
	if err := w.Write(rec); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}
