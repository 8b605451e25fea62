package codec

import (
	"errors"
	"io"
	"sync"
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// smallBlob is the size in bytes up to which a value's stream is read with a
// Reader that is used again.
const smallBlob = 16 << 10

// expansion is how much larger than a value's stream its buffers may be once
// decompressed.
const expansion = 16

// streams reads and writes IPC streams that lie in memory: the values of binary
// columns. It is safe for concurrent use.
type streams struct {
	cache   wire.SchemaCache
	readers sync.Pool // of *input
	writers sync.Pool // of *output
}

// input is one stream in memory, and the Reader of it.
type input struct {
	rest   []byte
	reader *wire.Reader
}

// Read hands out what is left.
func (in *input) Read(p []byte) (int, error) {
	if len(in.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}

// open begins to read data, which the input holds until it is closed.
func (s *streams) open(data []byte) *input {
	if len(data) <= smallBlob {
		if in, _ := s.readers.Get().(*input); in != nil {
			in.rest = data
			return in
		}
	}
	in := &input{rest: data}
	limits := wire.Limits{MaxMessageBytes: expansion * int64(max(len(data), smallBlob))}
	in.reader = wire.NewReader(in, limits, &s.cache)
	return in
}

// close keeps the Reader for another stream if it is fit for one: data was
// small and has been read to its very end.
func (s *streams) close(in *input, data []byte) {
	if len(data) > smallBlob || in.reader.Drain() != nil || !in.atEnd() {
		return
	}
	in.rest = nil
	s.readers.Put(in)
}

// first reads the first batch of the stream. It is nil when there is none, as
// lenient writers do for an empty value.
func (in *input) first() (*wire.Schema, *wire.Batch, error) {
	schema, err := in.reader.NextStream()
	if err != nil {
		return nil, nil, streamError(err)
	}
	switch _, err := in.reader.Announce(); {
	case err == io.EOF || (errors.Is(err, wire.ErrTruncated) && in.atEnd()): //nolint:errorlint // the end of the stream is io.EOF itself
		return schema, nil, nil
	case err != nil:
		return nil, nil, streamError(err)
	}
	size := in.reader.Consumed()
	b, err := in.reader.Take(wire.Own)
	if err != nil {
		return nil, nil, streamError(err)
	}
	size = in.reader.Consumed() - size
	if got := int64(columnsBytes(b.Cols)); got > expansion*max(size, 64) {
		return nil, nil, streamError(&wire.LimitError{
			Limit: "MaxMessageBytes", What: "decompressed value", Got: got, Max: expansion * size,
		})
	}
	return schema, b, nil
}

// atEnd reports whether nothing is left to read.
func (in *input) atEnd() bool { return len(in.rest) == 0 && !in.reader.Buffered() }

// streamError is a refusal of a value: the connection that brought it is fine.
func streamError(err error) error {
	if limit, ok := errors.AsType[*wire.LimitError](err); ok {
		return &wire.LimitError{Limit: limit.Limit, What: limit.What, Got: limit.Got, Max: limit.Max, InStep: true}
	}
	if err == io.EOF { //nolint:errorlint // the end of the stream is io.EOF itself
		err = wire.ErrTruncated
	}
	return valueErrorf(-1, "not a readable Arrow IPC stream: %v", err)
}

// output writes streams to memory.
type output struct {
	writer *wire.Writer
	enc    Encoder // for values outside a call
	batch  wire.Batch
	buf    []byte
}

// Write collects what the Writer flushes.
func (o *output) Write(p []byte) (int, error) {
	o.buf = append(o.buf, p...)
	return len(p), nil
}

func (s *streams) output() *output {
	if o, _ := s.writers.Get().(*output); o != nil {
		return o
	}
	o := &output{}
	o.writer = wire.NewWriter(o)
	return o
}

// write returns a stream with one batch, o.batch, in memory of e, or in memory
// of its own when e is nil. After an error o is of no use.
func (o *output) write(e *Encoder, schema *wire.Schema) ([]byte, error) {
	err := o.writer.Open(schema)
	if err == nil {
		err = o.writer.Batch(&o.batch)
	}
	if err == nil {
		err = o.writer.Close()
	}
	if err != nil {
		return nil, err
	}
	if n := o.writer.Pending(); e != nil {
		o.buf = e.bytes(n)[:0]
	} else {
		o.buf = make([]byte, 0, n)
	}
	err = o.writer.Flush()
	out := o.buf
	o.buf, o.batch = nil, wire.Batch{}
	return out, err
}

// marshal returns the value at src as a stream of one row.
func (p *Plan) marshal(e *Encoder, src unsafe.Pointer) ([]byte, error) {
	o := p.streams.output()
	enc := e
	if enc == nil {
		enc = &o.enc
	}
	if err := p.encode(enc, src, 1, &o.batch); err != nil {
		return nil, err
	}
	data, err := o.write(e, p.schema)
	if err != nil {
		return nil, err
	}
	if e == nil {
		o.enc.Reset()
	}
	p.streams.writers.Put(o)
	return data, nil
}

// Marshal returns the value at src, a T, as a complete IPC stream of one row:
// the form of a struct inside a binary column.
func (p *Plan) Marshal(src unsafe.Pointer) ([]byte, error) { return p.marshal(nil, src) }

// Unmarshal reads a stream as Marshal writes it into dst, a T. It reads columns
// by name (see [Plan.Bind]). No bytes at all are a value without columns. What
// follows the first batch is ignored.
func (p *Plan) Unmarshal(data []byte, dst unsafe.Pointer) (err error) {
	defer recovered(&err)
	return p.unmarshal(data, dst)
}

func (p *Plan) unmarshal(data []byte, dst unsafe.Pointer) error {
	if len(data) == 0 {
		binding, err := p.Bind(wire.EmptySchema())
		if err != nil {
			return err
		}
		return binding.members.decode(ownedReading, nil, 0, 1, dst, p.size)
	}
	in := p.streams.open(data)
	schema, b, err := in.first()
	if err != nil {
		return err
	}
	binding, err := p.Bind(schema)
	if err != nil {
		return err
	}
	rows, owned, cols := 0, true, []wire.Column(nil)
	if b != nil {
		rows, owned, cols = b.Rows, b.Owned, b.Cols
	}
	if rows != 1 && schema.NumFields() > 0 {
		return valueErrorf(-1, "a struct of %d rows: exactly one is required", rows)
	}
	if err := binding.members.decode(newReading(owned, binding.traits.dicts), cols, 0, 1, dst, p.size); err != nil {
		return p.explain(err)
	}
	p.streams.close(in, data)
	return nil
}
