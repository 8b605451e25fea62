package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
)

// inlineBuffer is the size in bytes from which a column's buffer is written
// from where it lies instead of being copied into the write buffer.
const inlineBuffer = 32 << 10

// keepWriteBuffer is the largest write buffer that goes back to the pool.
const keepWriteBuffer = 1 << 20

// BuffersWriter is a destination that takes several slices in one call, as
// writev does.
type BuffersWriter interface {
	WriteBuffers(parts net.Buffers) (int64, error)
}

// Writer writes consecutive IPC streams to one connection. What is written is
// collected until [Writer.Flush], which hands it to the connection in one
// write. It is not safe for concurrent use.
//
// Large columns are not copied: a batch written must stay unchanged until the
// flush.
type Writer struct {
	dst  io.Writer
	buf  []byte
	lent *[]byte // where buf came from
	cuts []cut   // large buffers between parts of buf

	schema  *Schema
	sent    map[int64]*Column // dictionaries of the open stream by id
	nodes   []byte
	buffers []byte
	body    [][]byte // buffers of the batch being written
	bodyLen int64

	produced int64
}

// cut says that p goes out after the first at bytes of the write buffer.
type cut struct {
	at int
	p  []byte
}

var writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// NewWriter returns a Writer to dst.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// Produced is the number of bytes written so far, flushed or not.
func (w *Writer) Produced() int64 { return w.produced }

// Pending is the number of bytes that wait for a flush.
func (w *Writer) Pending() int {
	n := len(w.buf)
	for _, c := range w.cuts {
		n += len(c.p)
	}
	return n
}

// Open begins a stream on schema.
func (w *Writer) Open(schema *Schema) error {
	if w.schema != nil {
		return errors.New("wire: Open while a stream is open")
	}
	w.schema = schema
	clear(w.sent)
	w.grab()
	w.buf = append(w.buf, schema.message...)
	w.produced += int64(len(schema.message))
	return nil
}

// IsOpen reports whether a stream is open.
func (w *Writer) IsOpen() bool { return w.schema != nil }

// Close ends the open stream.
func (w *Writer) Close() error {
	if w.schema == nil {
		return errors.New("wire: Close without an open stream")
	}
	w.schema = nil
	w.grab()
	w.buf = append(w.buf, endOfStream[:]...)
	w.produced += int64(len(endOfStream))
	return nil
}

// Batch writes one batch of the open stream, preceded by the dictionaries that
// it needs. On an error no batch was written.
func (w *Writer) Batch(b *Batch) error {
	if w.schema == nil {
		return errors.New("wire: Batch without an open stream")
	}
	if b.Schema != w.schema && len(b.Schema.cols) != len(w.schema.cols) {
		return fmt.Errorf("wire: batch of %d columns in a stream of %d", len(b.Schema.cols), len(w.schema.cols))
	}
	w.grab()
	if w.schema.general {
		return w.other(b)
	}
	if w.schema.dicts {
		if err := w.dictionaries(b); err != nil {
			return err
		}
	}
	if err := w.collect(b); err != nil {
		return err
	}
	before := len(w.buf)
	w.buf = appendBatchHeader(w.buf, int64(b.Rows), w.bodyLen, w.nodes, w.buffers, b.Meta)
	w.produced += int64(len(w.buf) - before)
	w.flushBody()
	return nil
}

// ErrNotApart says that a batch has dictionaries, or columns of types that
// arrow-go writes: its body cannot be left to somebody else.
var ErrNotApart = errors.New("wire: a batch whose body cannot be written apart from its header")

// Header writes the header of one batch of the open stream, and leaves its body to
// the caller. place gets the buffers in the order of the body, some of them empty,
// and says at which offset of the body each begins, a multiple of 8, and how long
// the body is, likewise. On an error nothing was written.
func (w *Writer) Header(b *Batch, place func(buffers [][]byte, offsets []int64) (bodyLen int64, err error)) error {
	switch {
	case w.schema == nil:
		return errors.New("wire: Header without an open stream")
	case w.schema.general || w.schema.dicts:
		return ErrNotApart
	}
	if err := w.collect(b); err != nil {
		return err
	}
	offsets := make([]int64, len(w.body))
	bodyLen, err := place(w.body, offsets)
	clear(w.body)
	if err != nil {
		return err
	}
	for i, at := range offsets {
		binary.LittleEndian.PutUint64(w.buffers[bufferBytes*i:], uint64(at))
	}
	w.grab()
	before := len(w.buf)
	w.buf = appendBatchHeader(w.buf, int64(b.Rows), bodyLen, w.nodes, w.buffers, b.Meta)
	w.produced += int64(len(w.buf) - before)
	return nil
}

// collect takes the nodes and buffers of all columns of a batch.
func (w *Writer) collect(b *Batch) error {
	if b.Schema != w.schema && len(b.Schema.cols) != len(w.schema.cols) {
		return fmt.Errorf("wire: batch of %d columns in a stream of %d", len(b.Schema.cols), len(w.schema.cols))
	}
	w.startBody()
	for i := range w.schema.cols {
		if err := w.column(&w.schema.cols[i], &b.Cols[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) other(b *Batch) error {
	p, err := encodeOther(b)
	if err != nil {
		return err
	}
	w.produced += int64(len(p))
	w.buf = append(w.buf, p...)
	return nil
}

func (w *Writer) startBody() {
	w.nodes, w.buffers, w.body, w.bodyLen = w.nodes[:0], w.buffers[:0], w.body[:0], 0
}

// column collects the nodes and buffers of one column.
func (w *Writer) column(l *layout, c *Column) error {
	w.nodes = binary.LittleEndian.AppendUint64(w.nodes, uint64(c.Rows))
	w.nodes = binary.LittleEndian.AppendUint64(w.nodes, uint64(c.Nulls))
	if l.kind == layoutNull {
		return nil
	}
	err := w.addValidity(l, c)
	if err != nil {
		return err
	}
	switch l.kind {
	case layoutBool:
		w.add(c.Data[:min(len(c.Data), (c.Rows+7)/8)])
	case layoutFixed, layoutDict:
		if len(c.Data) < c.Rows*l.width {
			return fmt.Errorf("wire: column %s has %d bytes of values, want %d", l.field, len(c.Data), c.Rows*l.width)
		}
		w.add(c.Data[:c.Rows*l.width])
	case layoutVar32:
		err = w.addVariable(l, c, 4)
	case layoutVar64:
		err = w.addVariable(l, c, 8)
	case layoutList32:
		err = w.addOffsets(l, c, 4)
	case layoutList64:
		err = w.addOffsets(l, c, 8)
	default: // no buffers of its own
	}
	if err != nil {
		return err
	}
	for i := range l.children {
		if err := w.column(&l.children[i], &c.Children[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) addValidity(l *layout, c *Column) error {
	n := (c.Rows + 7) / 8
	switch {
	case c.Nulls == 0:
		w.add(nil)
	case len(c.Validity) < n:
		return fmt.Errorf("wire: column %s has %d nulls and no validity bitmap", l.field, c.Nulls)
	default:
		w.add(c.Validity[:n])
	}
	return nil
}

var zeroOffset [8]byte

// addOffsets collects an offsets buffer: a single zero when there is no row.
func (w *Writer) addOffsets(l *layout, c *Column, width int) error {
	if c.Rows == 0 {
		w.add(zeroOffset[:width])
		return nil
	}
	need := (c.Rows + 1) * width
	if len(c.Offsets) < need {
		return fmt.Errorf("wire: column %s has %d bytes of offsets, want %d", l.field, len(c.Offsets), need)
	}
	w.add(c.Offsets[:need])
	return nil
}

// addVariable collects offsets, and the bytes that they refer to. They may lie where
// somebody else can write.
func (w *Writer) addVariable(l *layout, c *Column, width int) error {
	if err := w.addOffsets(l, c, width); err != nil {
		return err
	}
	end := c.lastOffset(width == 8)
	if end < 0 || end > len(c.Data) {
		return fmt.Errorf("wire: column %s has %d bytes, and offsets that end at %d", l.field, len(c.Data), end)
	}
	w.add(c.Data[:end])
	return nil
}

// add collects one buffer of the body.
func (w *Writer) add(p []byte) {
	w.buffers = binary.LittleEndian.AppendUint64(w.buffers, uint64(w.bodyLen))
	w.buffers = binary.LittleEndian.AppendUint64(w.buffers, uint64(len(p)))
	w.body = append(w.body, p)
	w.bodyLen += int64(padded(len(p)))
}

func padded(n int) int { return (n + 7) &^ 7 }

var padding [8]byte

// flushBody appends the collected buffers, copying the small ones.
func (w *Writer) flushBody() {
	for i, p := range w.body {
		if len(p) >= inlineBuffer {
			w.cuts = append(w.cuts, cut{len(w.buf), p})
		} else {
			w.buf = append(w.buf, p...)
		}
		w.buf = append(w.buf, padding[:padded(len(p))-len(p)]...)
		w.body[i] = nil
	}
	w.produced += w.bodyLen
}

// dictionaries writes the dictionary messages that b needs and that the stream
// does not have yet.
func (w *Writer) dictionaries(b *Batch) error {
	for i := range w.schema.cols {
		if err := w.columnDictionaries(&w.schema.cols[i], &b.Cols[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) columnDictionaries(l *layout, c *Column) error {
	for i := range l.children {
		if err := w.columnDictionaries(&l.children[i], &c.Children[i]); err != nil {
			return err
		}
	}
	if l.dict == nil {
		return nil
	}
	values := c.Dict
	if values == nil {
		empty := emptyColumn(l.dict)
		values = &empty
	}
	if err := w.columnDictionaries(l.dict, values); err != nil {
		return err
	}
	sent, ok := w.sent[l.dictID]
	if ok && (c.Rows == 0 || sameColumn(sent, values)) {
		return nil
	}
	if w.sent == nil {
		w.sent = map[int64]*Column{}
	}
	w.sent[l.dictID] = keepColumn(values)
	w.startBody()
	if err := w.column(l.dict, values); err != nil {
		return err
	}
	before := len(w.buf)
	w.buf = appendDictionaryHeader(w.buf, l.dictID, int64(values.Rows), w.bodyLen, w.nodes, w.buffers)
	w.produced += int64(len(w.buf) - before)
	w.flushBody()
	return nil
}

// sameColumn reports whether two columns of one type hold the same values in
// the same bytes.
func sameColumn(a, b *Column) bool {
	if a == b {
		return true
	}
	return a.Rows == b.Rows && a.Nulls == b.Nulls && slices.Equal(a.Validity, b.Validity) &&
		slices.Equal(a.Offsets, b.Offsets) && slices.Equal(a.Data, b.Data) &&
		slices.EqualFunc(a.Children, b.Children, func(x, y Column) bool { return sameColumn(&x, &y) })
}

// keepColumn copies what sameColumn compares: the batch's memory is borrowed.
func keepColumn(c *Column) *Column {
	kept := &Column{
		Rows: c.Rows, Nulls: c.Nulls,
		Validity: slices.Clone(c.Validity), Offsets: slices.Clone(c.Offsets), Data: slices.Clone(c.Data),
	}
	for i := range c.Children {
		kept.Children = append(kept.Children, *keepColumn(&c.Children[i]))
	}
	return kept
}

// grab takes a write buffer from the pool.
func (w *Writer) grab() {
	if w.lent == nil {
		w.lent = writeBuffers.Get().(*[]byte)
		w.buf = (*w.lent)[:0]
	}
}

// Flush hands everything written to the connection.
func (w *Writer) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	var err error
	if len(w.cuts) == 0 {
		_, err = w.dst.Write(w.buf)
	} else {
		err = w.writeParts()
	}
	w.discard()
	return err
}

// Discard drops what is pending, and the open stream with it: the next one may
// be opened.
func (w *Writer) Discard() {
	w.produced -= int64(w.Pending())
	w.schema = nil
	w.discard()
}

// Redirect makes the Writer hand what it has collected, and what follows, to dst.
func (w *Writer) Redirect(dst io.Writer) { w.dst = dst }

// Reset makes the Writer write to dst, as a new one would.
func (w *Writer) Reset(dst io.Writer) {
	w.Discard()
	w.dst, w.produced = dst, 0
}

// discard drops what is pending and gives the buffer back.
func (w *Writer) discard() {
	if w.lent != nil && cap(w.buf) <= keepWriteBuffer {
		*w.lent = w.buf
		writeBuffers.Put(w.lent)
	}
	w.buf, w.lent = nil, nil
	clear(w.cuts)
	w.cuts = w.cuts[:0]
}

// writeParts writes the buffer and the large parts between in one call where
// the connection can.
func (w *Writer) writeParts() error {
	parts := make(net.Buffers, 0, 2*len(w.cuts)+1)
	from := 0
	for _, c := range w.cuts {
		if c.at > from {
			parts = append(parts, w.buf[from:c.at])
			from = c.at
		}
		parts = append(parts, c.p)
	}
	if from < len(w.buf) {
		parts = append(parts, w.buf[from:])
	}
	if bw, ok := w.dst.(BuffersWriter); ok {
		_, err := bw.WriteBuffers(parts)
		return err
	}
	_, err := parts.WriteTo(w.dst)
	return err
}
