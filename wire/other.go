package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// otherReader decodes the batches of a stream whose schema has a type that
// this package leaves to arrow-go: views, unions, run-end encoding. It feeds
// arrow-go's stream reader one message at a time.
type otherReader struct {
	feed feeder
	ipc  *ipc.Reader
	mem  limitAllocator
}

// feeder hands queued messages to arrow-go.
type feeder struct{ queue []queuedMessage }

type queuedMessage struct{ header, body []byte }

// Message returns the next queued message.
func (f *feeder) Message() (*ipc.Message, error) {
	if len(f.queue) == 0 {
		return nil, io.EOF
	}
	m := f.queue[0]
	f.queue = f.queue[1:]
	return ipc.NewMessage(memory.NewBufferBytes(m.header), memory.NewBufferBytes(m.body)), nil
}

// Retain and Release are no-ops: messages belong to the garbage collector.
func (f *feeder) Retain() {}

// Release is a no-op.
func (f *feeder) Release() {}

// generalDictionary queues the announced dictionary message for arrow-go.
func (r *Reader) generalDictionary() error {
	l := findDict(r.schema, r.hdr.dictID)
	if l == nil {
		return batchErrorf("dictionary message", "no field has dictionary id %d", r.hdr.dictID)
	}
	if err := r.hdr.checkCounts("dictionary message", l.dict.nodes, l.dict.buffers, l.dict.views); err != nil {
		return err
	}
	if r.dicts.bytes += r.pending; r.dicts.bytes > r.limits.MaxMessageBytes {
		return &LimitError{
			Limit: "MaxMessageBytes", What: "dictionaries of one stream", Got: r.dicts.bytes,
			Max: r.limits.MaxMessageBytes, InStep: true,
		}
	}
	n := r.pending
	r.pending = 0
	mem, err := r.readGrowing(n)
	if err != nil {
		return r.fatal(err)
	}
	o := r.other()
	o.feed.queue = append(o.feed.queue, queuedMessage{bytes.Clone(r.hdrBuf), mem})
	return nil
}

func (r *Reader) other() *otherReader {
	if r.others == nil {
		r.others = &otherReader{}
		r.others.feed.queue = []queuedMessage{{bytes.Clone(r.schema.message[prefixBytes:]), nil}}
	}
	return r.others
}

// generalColumns decodes a batch through arrow-go.
func (r *Reader) generalColumns(b *Batch, mem []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = batchErrorf("record batch", "%v", p)
		}
	}()
	s := b.Schema
	if err := r.hdr.checkCounts("record batch", s.nodes, s.buffers, s.views); err != nil {
		return err
	}
	o := r.other()
	o.feed.queue = append(o.feed.queue, queuedMessage{bytes.Clone(r.hdrBuf), bytes.Clone(mem)})
	o.mem.left, o.mem.max = r.limits.MaxMessageBytes, r.limits.MaxMessageBytes
	if o.ipc == nil {
		o.ipc, err = ipc.NewReaderFromMessageReader(&o.feed, ipc.WithAllocator(&o.mem))
		if err != nil {
			return batchErrorf("record batch", "%v", err)
		}
	}
	rec, err := o.ipc.Read()
	if err != nil {
		return batchErrorf("record batch", "%v", err)
	}
	if err := validateRecord(rec, r.limits.Validation); err != nil {
		return batchErrorf("record batch", "%v", err)
	}
	rec.Retain()
	view, err := NewBatch(b.Schema, rec, b.Meta)
	if err != nil {
		return batchErrorf("record batch", "%v", err)
	}
	b.Cols, b.body, b.Owned = view.Cols, nil, true
	return nil
}

func validateRecord(rec arrow.RecordBatch, level Validation) error {
	if level == ValidateOff {
		return nil
	}
	cols := make([]arrow.Array, rec.NumCols())
	for i, c := range rec.Columns() {
		cols[i] = array.MakeFromData(checkable(c.Data()))
	}
	rec = array.NewRecordBatch(rec.Schema(), cols, rec.NumRows())
	if level == ValidateStandard {
		return array.ValidateRecord(rec)
	}
	return array.ValidateRecordFull(rec)
}

// checkable is data as arrow-go's validation accepts it. It wants buffers that its
// own reader does not make: one of arrays of nulls, which have none, and the offsets
// of a union without rows.
func checkable(d arrow.ArrayData) arrow.ArrayData {
	buffers, children, changed := d.Buffers(), slices.Clone(d.Children()), false
	switch id := d.DataType().ID(); {
	case id == arrow.NULL:
		buffers, changed = []*memory.Buffer{nil}, true
	case id == arrow.DENSE_UNION && d.Len() == 0:
		buffers, changed = []*memory.Buffer{nil, memory.NewBufferBytes([]byte{}), memory.NewBufferBytes([]byte{})}, true
	}
	for i, c := range children {
		children[i] = checkable(c)
		changed = changed || children[i] != c
	}
	if !changed {
		return d
	}
	return array.NewData(d.DataType(), d.Len(), buffers, children, d.NullN(), d.Offset())
}

// limitAllocator refuses to allocate past a number of bytes: arrow-go sizes
// decompressed buffers by what the message claims.
type limitAllocator struct {
	memory.GoAllocator
	left, max int64
}

// Allocate panics past the limit; arrow-go's reader turns that into an error.
func (a *limitAllocator) Allocate(n int) []byte {
	if a.left -= int64(n); a.left < 0 {
		panic(fmt.Errorf("decompressed batch exceeds MaxMessageBytes (%d bytes)", a.max)) //nolint:forbidigo // arrow-go turns it into an error
	}
	return a.GoAllocator.Allocate(n)
}

// Reallocate counts as Allocate does.
func (a *limitAllocator) Reallocate(n int, old []byte) []byte {
	if a.left -= int64(n - len(old)); a.left < 0 {
		panic(fmt.Errorf("decompressed batch exceeds MaxMessageBytes (%d bytes)", a.max)) //nolint:forbidigo // see Allocate
	}
	return a.GoAllocator.Reallocate(n, old)
}

// Free gives the bytes back.
func (a *limitAllocator) Free(b []byte) { a.left += int64(len(b)) }

// encodeOther writes a batch of a schema that is left to arrow-go, as messages
// without schema and end of stream.
func encodeOther(b *Batch) ([]byte, error) {
	rec, err := b.Record()
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(b.Schema.arrow))
	if err := w.Write(rec); err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	p := buf.Bytes()
	skip := prefixBytes + int(binary.LittleEndian.Uint32(p[4:]))
	return p[skip : len(p)-len(endOfStream)], nil
}
