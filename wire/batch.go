package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Kind is what a received batch is (WIRE_PROTOCOL section 7).
type Kind uint8

const (
	// KindData is rows, or a zero-row batch without framework metadata.
	KindData Kind = iota
	// KindLog is a message for the caller, on a zero-row batch.
	KindLog
	// KindError is a failed call, on a zero-row batch.
	KindError
	// KindExternal points to a batch in external storage.
	KindExternal
	// KindSHM points to a batch in a shared segment.
	KindSHM
	// KindState carries a stream-state token.
	KindState
)

// String names the kind for error messages.
func (k Kind) String() string {
	return [...]string{"data", "log", "error", "external pointer", "shared memory pointer", "stream state"}[k]
}

// Batch is one record batch message: columns of a schema and the message's
// custom metadata.
//
// A batch that a Reader returned is borrowed: its columns are valid until the
// Reader is used again, unless Owned. [Batch.Record] gives arrow-go's form,
// which may be kept by retaining it.
type Batch struct {
	Schema *Schema
	Rows   int
	Cols   []Column
	Meta   Metadata
	// Owned says that the columns' memory belongs to the garbage collector
	// and is never reused: values may be aliased and kept.
	Owned bool

	body *body // memory of the columns, nil when Owned or built locally
}

// Kind classifies b.
func (b *Batch) Kind() Kind {
	if b.Rows > 0 || len(b.Meta) == 0 {
		return KindData
	}
	level, leveled := b.Meta.Get(KeyLogLevel)
	if leveled && b.Meta.Has(KeyLogMessage) {
		if level == LevelException {
			return KindError
		}
		return KindLog
	}
	switch {
	case !leveled && b.Meta.Has(KeyLocation):
		return KindExternal
	case !leveled && b.Meta.Has(KeySHMOffset):
		return KindSHM
	case b.Meta.Has(KeyStreamState):
		return KindState
	}
	return KindData
}

// Bytes is the logical size of b: the sum of its columns' buffers.
func (b *Batch) Bytes() int64 {
	var n int64
	for i := range b.Cols {
		n += b.Cols[i].bytes()
	}
	return n
}

func (c *Column) bytes() int64 {
	n := int64(len(c.Validity) + len(c.Offsets) + len(c.Data))
	for i := range c.Children {
		n += c.Children[i].bytes()
	}
	if c.Dict != nil {
		n += c.Dict.bytes()
	}
	if c.other != nil {
		n += int64(c.other.Data().SizeInBytes())
	}
	return n
}

// NewBatch views an arrow-go record as a Batch on schema, whose column types it
// must have. It borrows rec: rec must live as long as the batch.
func NewBatch(schema *Schema, rec arrow.RecordBatch, meta Metadata) (b *Batch, err error) {
	if int(rec.NumCols()) != len(schema.cols) {
		return nil, fmt.Errorf("wire: record of %d columns on a schema of %d", rec.NumCols(), len(schema.cols))
	}
	defer func() {
		if p := recover(); p != nil { // its offsets lie where somebody else can write, or are wrong
			b, err = nil, fmt.Errorf("wire: record: %v", p)
		}
	}()
	b = &Batch{Schema: schema, Rows: int(rec.NumRows()), Meta: meta, Cols: make([]Column, len(schema.cols))}
	for i := range schema.cols {
		if b.Cols[i], err = columnFromArray(rec.Column(i), &schema.cols[i], memory.DefaultAllocator); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// EmptyBatch is a batch of no rows on schema, carrying meta: what a log, an
// error or a pointer travels on.
func EmptyBatch(schema *Schema, meta Metadata) Batch {
	b := Batch{Schema: schema, Meta: meta, Owned: true}
	if len(schema.cols) > 0 {
		b.Cols = make([]Column, len(schema.cols))
		for i := range b.Cols {
			b.Cols[i] = emptyColumn(&schema.cols[i])
		}
	}
	return b
}

func emptyColumn(l *layout) Column {
	var c Column
	if l.kind == layoutOther {
		c.other = noRows(l.typ)
		return c
	}
	if len(l.children) > 0 {
		c.Children = make([]Column, len(l.children))
		for i := range c.Children {
			c.Children[i] = emptyColumn(&l.children[i])
		}
	}
	if l.dict != nil {
		dict := emptyColumn(l.dict)
		c.Dict = &dict
	}
	return c
}

// Record builds arrow-go's record batch over b's memory, with b's metadata. It
// is the caller's to release; memory that a Reader lent stays valid until then.
func (b *Batch) Record() (arrow.RecordBatch, error) {
	cols := make([]arrow.Array, len(b.Cols))
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i := range b.Cols {
		arr, err := b.Cols[i].array(b.Schema.arrow.Field(i).Type, b.body)
		if err != nil {
			return nil, err
		}
		cols[i] = arr
	}
	if len(b.Meta) == 0 {
		return array.NewRecordBatch(b.Schema.arrow, cols, int64(b.Rows)), nil
	}
	return array.NewRecordBatchWithMetadata(b.Schema.arrow, cols, int64(b.Rows), b.Meta.Arrow()), nil
}

// lastOffset is the end of the last row in the child or data of a
// variable-size column.
func (c *Column) lastOffset(wide bool) int {
	if c.Rows == 0 || len(c.Offsets) == 0 {
		return 0
	}
	if wide {
		return int(binary.LittleEndian.Uint64(c.Offsets[8*c.Rows:]))
	}
	return int(binary.LittleEndian.Uint32(c.Offsets[4*c.Rows:]))
}

// noRows is an array of no rows. Neither builders nor array.MakeArrayOfNull know all
// types: dictionaries of views and of nested values, and types with a null child.
func noRows(t arrow.DataType) arrow.Array {
	switch t := t.(type) {
	case *arrow.DictionaryType:
		return array.NewDictionaryArray(t, noRows(t.IndexType), noRows(t.ValueType))
	case arrow.ExtensionType:
		return array.NewExtensionArrayWithStorage(t, noRows(t.StorageType()))
	case arrow.NestedType:
		n := len(t.Layout().Buffers)
		if _, ok := t.(arrow.UnionType); ok {
			n++ // it has no bitmap, but arrow-go a place for it
		}
		buffers := make([]*memory.Buffer, n)
		for i := 1; i < n; i++ {
			buffers[i] = memory.NewBufferBytes([]byte{})
		}
		var children []arrow.ArrayData
		for _, f := range t.Fields() {
			children = append(children, noRows(f.Type).Data())
		}
		return array.MakeFromData(array.NewData(t, 0, buffers, children, 0, 0))
	}
	b := array.NewBuilder(memory.DefaultAllocator, t)
	defer b.Release()
	return b.NewArray()
}
