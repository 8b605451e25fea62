package wire

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// dictionaries holds the values that a stream's dictionary messages brought.
type dictionaries struct {
	byID  map[int64]*Column
	bytes int64
}

func (d *dictionaries) reset() {
	clear(d.byID)
	d.bytes = 0
}

func (d *dictionaries) get(id int64) *Column { return d.byID[id] }

func (d *dictionaries) set(id int64, c *Column) {
	if d.byID == nil {
		d.byID = map[int64]*Column{}
	}
	d.byID[id] = c
}

// dictionary reads the announced dictionary message. Dictionaries outlive the
// message that follows them, so their memory is their own.
func (r *Reader) dictionary() error {
	if r.schema.general {
		return r.generalDictionary()
	}
	l := findDict(r.schema, r.hdr.dictID)
	if l == nil {
		return batchErrorf("dictionary message", "no field has dictionary id %d", r.hdr.dictID)
	}
	if r.hdr.rows < 0 || r.hdr.rows > maxRows {
		return batchErrorf("dictionary message", "%d values", r.hdr.rows)
	}
	n := r.pending
	if r.dicts.bytes += n; r.dicts.bytes > r.limits.MaxMessageBytes {
		return &LimitError{
			Limit: "MaxMessageBytes", What: "dictionaries of one stream", Got: r.dicts.bytes,
			Max: r.limits.MaxMessageBytes, InStep: true,
		}
	}
	if err := r.acquire(n); err != nil {
		return err
	}
	r.pending = 0
	mem, err := r.readGrowing(n)
	if err != nil {
		return r.fatal(err)
	}
	values, err := r.dictionaryValues(l.dict, mem)
	if err != nil {
		return err
	}
	if old := r.dicts.get(r.hdr.dictID); r.hdr.delta && old != nil {
		if values, err = concatColumns(l.dict, old, values); err != nil {
			return err
		}
	}
	r.dicts.set(r.hdr.dictID, values)
	return nil
}

func (r *Reader) dictionaryValues(l *layout, mem []byte) (*Column, error) {
	if len(r.hdr.nodes) != l.nodes*nodeBytes || len(r.hdr.buffers) != l.buffers*bufferBytes {
		return nil, batchErrorf("dictionary message", "%d field nodes and %d buffers, where its type needs %d and %d",
			len(r.hdr.nodes)/nodeBytes, len(r.hdr.buffers)/bufferBytes, l.nodes, l.buffers)
	}
	scan := columnScan{
		nodes: r.hdr.nodes, buffers: r.hdr.buffers, body: mem, compression: r.hdr.compression,
		budget: r.limits.MaxMessageBytes, level: r.limits.Validation, dicts: &r.dicts, reader: r,
	}
	values := new(Column)
	return values, scan.column(l, values, int(r.hdr.rows), true)
}

func findDict(s *Schema, id int64) (found *layout) {
	for i := range s.cols {
		s.cols[i].eachDict(func(l *layout) {
			if l.dictID == id && found == nil {
				found = l
			}
		})
	}
	return found
}

// concatColumns appends b to a: what a delta dictionary asks for.
func concatColumns(l *layout, a, b *Column) (*Column, error) {
	var parts [2]arrow.Array
	for i, c := range []*Column{a, b} {
		arr, err := c.array(l.typ, nil)
		if err != nil {
			return nil, batchErrorf("delta dictionary", "%v", err)
		}
		defer arr.Release()
		parts[i] = arr
	}
	joined, err := array.Concatenate(parts[:], memory.DefaultAllocator)
	if err != nil {
		return nil, batchErrorf("delta dictionary", "%v", err)
	}
	c, err := columnFromArray(joined, l, memory.DefaultAllocator)
	if err != nil {
		return nil, fmt.Errorf("delta dictionary: %w", err)
	}
	return &c, nil
}

func isUnsignedIndex(l *layout) bool {
	t, ok := l.typ.(*arrow.DictionaryType)
	return ok && arrow.IsUnsignedInteger(t.IndexType.ID())
}
