package codec

import (
	"sync/atomic"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
)

// packer turns values into bytes and back, one at a time.
type packer interface {
	// pack returns the value at p as bytes, in memory of e or of its own.
	pack(e *Encoder, p unsafe.Pointer) ([]byte, error)
	// unpack writes the value of data to p. It keeps no part of data.
	unpack(data []byte, p unsafe.Pointer) error
}

// packed maps values that travel as bytes in a binary column.
type packed[O offset] struct{ packer packer }

func (packed[O]) traits() traits {
	t := variable[O]()
	t.holds = false
	return t
}

func (v packed[O]) decode(_ *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if n == 0 {
		return nil
	}
	offs, err := valueSpans[O](c, at, n)
	if err != nil {
		return err
	}
	for i := range n {
		if err := v.packer.unpack(c.Data[offs[i]:offs[i+1]], add(dst, i, stride)); err != nil {
			return err
		}
	}
	return nil
}

func (v packed[O]) encode(e *Encoder, c *wire.Column, s source) error {
	if s.n == 1 {
		var data []byte
		if p := s.only(); p != nil {
			var err error
			if data, err = v.packer.pack(e, p); err != nil {
				return err
			}
		}
		return one[O](e, c, data)
	}
	values := make([][]byte, 0, max(s.n, 1))
	for _, r := range s.runs {
		for i := range r.n {
			var data []byte
			if r.p != nil {
				var err error
				if data, err = v.packer.pack(e, unsafe.Add(add(r.p, i, s.stride), s.off)); err != nil {
					return err
				}
			}
			values = append(values, data)
		}
	}
	mark := len(e.runs)
	defer e.pop(mark)
	_, err := gather[O](e, c, e.values(unsafe.Pointer(unsafe.SliceData(values)), s.n, unsafe.Sizeof([]byte(nil))))
	return err
}

// one makes c a column of one value whose bytes may stay where they are.
func one[O offset](e *Encoder, c *wire.Column, data []byte) error {
	if err := checkSize[O](len(data)); err != nil {
		return err
	}
	p, offs := fresh[O](e, 2)
	offs[0], offs[1] = 0, O(len(data))
	c.Rows, c.Offsets, c.Data = 1, p, data
	return nil
}

// structs packs a struct as an IPC stream of one row.
type structs struct{ plan *Plan }

func (s structs) pack(e *Encoder, p unsafe.Pointer) ([]byte, error) { return s.plan.marshal(e, p) }

func (s structs) unpack(data []byte, p unsafe.Pointer) error { return s.plan.unmarshal(data, p) }

// records packs arrow.RecordBatch as an IPC stream. A nil record is no bytes,
// and no bytes are a nil record.
type records struct {
	streams *streams
	schema  *atomic.Pointer[wire.Schema] // of the last record
}

func (r records) pack(e *Encoder, p unsafe.Pointer) ([]byte, error) {
	rec := *(*arrow.RecordBatch)(p)
	if rec == nil {
		return nil, nil
	}
	schema := r.schema.Load()
	if schema == nil || schema.Arrow() != rec.Schema() {
		var err error
		if schema, err = wire.NewSchema(rec.Schema()); err != nil {
			return nil, valueErrorf(-1, "%v", err)
		}
		r.schema.Store(schema)
	}
	var meta wire.Metadata
	if m, ok := rec.(arrow.RecordBatchWithMetadata); ok {
		meta = wire.MetadataFromArrow(m.Metadata())
	}
	b, err := wire.NewBatch(schema, rec, meta)
	if err != nil {
		return nil, valueErrorf(-1, "%v", err)
	}
	o := r.streams.output()
	o.batch = *b
	data, err := o.write(e, schema)
	if err != nil {
		return nil, valueErrorf(-1, "%v", err)
	}
	r.streams.writers.Put(o)
	return data, nil
}

func (r records) unpack(data []byte, p unsafe.Pointer) error {
	*(*arrow.RecordBatch)(p) = nil
	if len(data) == 0 {
		return nil
	}
	in := r.streams.open(data)
	schema, b, err := in.first()
	if err != nil {
		return err
	}
	if b == nil {
		empty := wire.EmptyBatch(schema, nil)
		b = &empty
	}
	rec, err := b.Record()
	if err != nil {
		return streamError(err)
	}
	*(*arrow.RecordBatch)(p) = rec
	r.streams.close(in, data)
	return nil
}

// schemas packs *wire.Schema as a schema message, and arrowSchemas
// *arrow.Schema. A nil schema is no bytes.
type (
	schemas      struct{ streams *streams }
	arrowSchemas struct{ schemas }
)

func (schemas) pack(_ *Encoder, p unsafe.Pointer) ([]byte, error) {
	if s := *(**wire.Schema)(p); s != nil {
		return s.Message(), nil
	}
	return nil, nil
}

func (s schemas) unpack(data []byte, p unsafe.Pointer) error {
	schema, err := s.read(data)
	*(**wire.Schema)(p) = schema
	return err
}

// read accepts a schema message alone or at the head of a stream.
func (s schemas) read(data []byte) (*wire.Schema, error) {
	if len(data) == 0 {
		return nil, nil
	}
	in := &input{rest: data}
	in.reader = wire.NewReader(in, wire.Limits{}, &s.streams.cache)
	schema, err := in.reader.NextStream()
	if err != nil {
		return nil, streamError(err)
	}
	return schema, nil
}

func (s arrowSchemas) pack(_ *Encoder, p unsafe.Pointer) ([]byte, error) {
	v := *(**arrow.Schema)(p)
	if v == nil {
		return nil, nil
	}
	schema, err := wire.NewSchema(v)
	if err != nil {
		return nil, valueErrorf(-1, "%v", err)
	}
	return schema.Message(), nil
}

func (s arrowSchemas) unpack(data []byte, p unsafe.Pointer) error {
	*(**arrow.Schema)(p) = nil
	schema, err := s.read(data)
	if schema != nil {
		*(**arrow.Schema)(p) = schema.Arrow()
	}
	return err
}
