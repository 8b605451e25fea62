package wire

import (
	"encoding/binary"
	"unsafe"
)

// columnScan walks the field nodes and buffers of one record batch message in
// layout order and cuts the body into columns.
type columnScan struct {
	nodes, buffers []byte
	body           []byte
	compression    compression
	budget         int64 // bytes that decompression may still produce
	level          Validation
	dicts          *dictionaries
	reader         *Reader // takes what decompression produces from the shared budget
	shared         bool    // the body is the source's: somebody may write to it meanwhile
}

// columns cuts a batch's body into b's columns and validates them.
// Where the body is shared with somebody who may write to it, whatever says how
// the values lie is copied before it is checked, so that what is used is what was
// checked: the values themselves may be anything.
func (r *Reader) columns(b *Batch, mem []byte, shared bool) error {
	s := b.Schema
	if s.general {
		return r.generalColumns(b, mem)
	}
	if len(r.hdr.nodes) != s.nodes*nodeBytes || len(r.hdr.buffers) != s.buffers*bufferBytes {
		return batchErrorf("record batch", "%d field nodes and %d buffers, where the schema needs %d and %d",
			len(r.hdr.nodes)/nodeBytes, len(r.hdr.buffers)/bufferBytes, s.nodes, s.buffers)
	}
	if len(b.Cols) != len(s.cols) {
		b.Cols = make([]Column, len(s.cols))
	}
	scan := columnScan{
		nodes: r.hdr.nodes, buffers: r.hdr.buffers, body: mem, compression: r.hdr.compression,
		budget: r.limits.MaxMessageBytes, level: r.limits.Validation, dicts: &r.dicts, reader: r, shared: shared,
	}
	for i := range s.cols {
		if err := scan.column(&s.cols[i], &b.Cols[i], b.Rows, true); err != nil {
			return err
		}
	}
	return nil
}

// column fills c from the next node and buffers; rows is what the parent needs,
// exactly or at least.
func (s *columnScan) column(l *layout, c *Column, rows int, exact bool) error {
	n := int64(binary.LittleEndian.Uint64(s.nodes))
	nulls := int64(binary.LittleEndian.Uint64(s.nodes[8:]))
	s.nodes = s.nodes[nodeBytes:]
	if n < int64(rows) || n > maxRows || (exact && n != int64(rows)) {
		return batchErrorf(l.field, "%d values where %d are needed", n, rows)
	}
	if nulls < 0 || nulls > n {
		return batchErrorf(l.field, "%d nulls in %d values", nulls, n)
	}
	c.Rows, c.Nulls = int(n), int(nulls)
	c.Validity, c.Offsets, c.Data = nil, nil, nil
	if l.kind == layoutNull {
		c.Nulls = c.Rows
		return nil
	}
	if err := s.validity(l, c); err != nil {
		return err
	}
	var err error
	switch l.kind {
	case layoutBool:
		c.Data, err = s.buffer(l, (c.Rows+7)/8, 1)
	case layoutFixed:
		c.Data, err = s.buffer(l, c.Rows*l.width, l.width)
	case layoutVar32, layoutVar64:
		err = s.variable(l, c)
	case layoutList32, layoutList64, layoutFSL, layoutStruct:
		err = s.nested(l, c)
	case layoutDict:
		err = s.indices(l, c)
	default: // left to arrow-go
	}
	return err
}

const maxRows = 1<<31 - 1

// validity reads a column's null bitmap and checks it against the null count.
func (s *columnScan) validity(l *layout, c *Column) error {
	var err error
	need := 0
	if c.Nulls > 0 {
		need = (c.Rows + 7) / 8
	}
	c.Validity, err = s.structure(l, need, 1)
	if err != nil {
		return err
	}
	if c.Nulls == 0 {
		c.Validity = nil
		return nil
	}
	if s.level == ValidateFull {
		if set := countBits(c.Validity, c.Rows); c.Rows-set != c.Nulls {
			return batchErrorf(l.field, "null count is %d, but the validity bitmap has %d nulls", c.Nulls, c.Rows-set)
		}
	}
	return nil
}

func (s *columnScan) variable(l *layout, c *Column) error {
	width := 4
	if l.kind == layoutVar64 {
		width = 8
	}
	var err error
	if c.Offsets, err = s.offsets(l, c.Rows, width); err != nil {
		return err
	}
	if c.Data, err = s.buffer(l, 0, 1); err != nil {
		return err
	}
	if len(c.Offsets) == 0 {
		return nil
	}
	if err := checkOffsets(l, c, width, len(c.Data), s.level); err != nil {
		return err
	}
	if l.utf8 && s.level == ValidateFull {
		return checkUTF8(l, c, width)
	}
	return nil
}

// offsets reads an offsets buffer: rows+1 values, or none for no rows.
func (s *columnScan) offsets(l *layout, rows, width int) ([]byte, error) {
	need := (rows + 1) * width
	if rows == 0 {
		need = 0
	}
	return s.structure(l, need, width)
}

func (s *columnScan) nested(l *layout, c *Column) error {
	if len(c.Children) != len(l.children) {
		c.Children = make([]Column, len(l.children))
	}
	rows, exact := c.Rows, true
	width := 4
	switch l.kind {
	case layoutFSL:
		rows *= l.width
		if rows > maxRows {
			return batchErrorf(l.field, "%d values in all: too many", rows)
		}
	case layoutList64:
		width = 8
		fallthrough
	case layoutList32:
		var err error
		if c.Offsets, err = s.offsets(l, c.Rows, width); err != nil {
			return err
		}
		rows, exact = 0, false
	default: // the children of a struct have its rows
	}
	for i := range l.children {
		if err := s.column(&l.children[i], &c.Children[i], rows, exact); err != nil {
			return err
		}
	}
	if len(c.Offsets) == 0 {
		return nil
	}
	return checkOffsets(l, c, width, c.Children[0].Rows, s.level)
}

func (s *columnScan) indices(l *layout, c *Column) error {
	var err error
	if c.Data, err = s.structure(l, c.Rows*l.width, l.width); err != nil {
		return err
	}
	dict := s.dicts.get(l.dictID)
	if dict == nil {
		if c.Rows > c.Nulls {
			return batchErrorf(l.field, "no dictionary message with id %d came before the batch", l.dictID)
		}
		empty := emptyColumn(l.dict)
		dict = &empty
	}
	c.Dict = dict
	if s.level == ValidateOff {
		return nil
	}
	return checkIndices(l, c, dict.Rows)
}

// structure is buffer for what says how values lie: of it, need bytes are enough.
func (s *columnScan) structure(l *layout, need, width int) ([]byte, error) {
	p, err := s.buffer(l, need, width)
	if err != nil || !s.shared {
		return p, err
	}
	return append(make([]byte, 0, need), p[:need]...), nil
}

// buffer returns the next buffer of the body: at least need bytes, aligned for
// values of width bytes.
func (s *columnScan) buffer(l *layout, need, width int) ([]byte, error) {
	off := int64(binary.LittleEndian.Uint64(s.buffers))
	n := int64(binary.LittleEndian.Uint64(s.buffers[8:]))
	s.buffers = s.buffers[bufferBytes:]
	if n == 0 && need == 0 {
		return nil, nil
	}
	if off < 0 || n < 0 || off > int64(len(s.body)) || n > int64(len(s.body))-off {
		return nil, batchErrorf(l.field, "buffer of %d bytes at %d lies outside the body of %d bytes", n, off, len(s.body))
	}
	p := s.body[off : off+n : off+n]
	if s.compression != compressionNone && n > 0 {
		var err error
		if p, err = s.decompress(l, p); err != nil {
			return nil, err
		}
	}
	if len(p) < need {
		return nil, batchErrorf(l.field, "buffer of %d bytes where %d are needed", len(p), need)
	}
	return aligned(p, width), nil
}

// castSlice views an aligned buffer as values.
func castSlice[T int32 | int64](p []byte) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(p))), len(p)/int(unsafe.Sizeof(T(0))))
}

// aligned returns p, or a copy of it when values of width bytes would lie
// across their natural boundary: a peer may place buffers anywhere, but
// arrow-go casts them.
func aligned(p []byte, width int) []byte {
	if width == 1 || len(p) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(p)))&7 == 0 {
		return p
	}
	return append(make([]byte, 0, len(p)), p...)
}
