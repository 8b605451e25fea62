package wire

import (
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Column is one Arrow array as its buffers, in the layout of its type. The
// first row is always at the start of the buffers: a sliced array is copied
// before it becomes a Column.
//
// Which buffers count depends on the type: Data holds fixed-width values,
// booleans as bits, dictionary indices, or the bytes of strings and binaries;
// Offsets holds Rows+1 int32 (int64 for the large types) for strings, binaries,
// lists and maps; Children holds the one child of lists (for a map, the struct
// of key and value) and the fields of a struct; Dict holds the values of a
// dictionary. All integers are little-endian.
type Column struct {
	Rows     int
	Nulls    int
	Validity []byte // one bit a row, set when valid; nil when Nulls is 0
	Offsets  []byte
	Data     []byte
	Children []Column
	Dict     *Column

	other arrow.Array // of a type that arrow-go reads and writes
}

// IsNull reports whether row i is null.
func (c *Column) IsNull(i int) bool {
	return c.Nulls != 0 && len(c.Validity) != 0 && c.Validity[i>>3]&(1<<(i&7)) == 0
}

// array builds arrow-go's array of the given type over the column's buffers,
// without copying them. own holds the memory until the array is released; nil
// leaves that to the garbage collector. The caller releases the array.
func (c *Column) array(typ arrow.DataType, own *body) (arr arrow.Array, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("wire: column of %v: %v", typ, p)
		}
	}()
	if c.other != nil {
		c.other.Retain()
		return c.other, nil
	}
	data := c.data(typ, own)
	defer data.Release()
	return array.MakeFromData(data), nil
}

// data builds the array data of c, which has type typ.
func (c *Column) data(typ arrow.DataType, own *body) *array.Data {
	storage := typ
	if ext, ok := typ.(arrow.ExtensionType); ok {
		storage = ext.StorageType()
	}
	var buffers []*memory.Buffer
	var children []arrow.ArrayData
	child := func(i int, t arrow.DataType) {
		children = append(children, c.Children[i].data(t, own))
	}
	wrap := func(parts ...[]byte) {
		buffers = make([]*memory.Buffer, len(parts))
		for i, p := range parts {
			buffers[i] = wrapBuffer(p, own)
		}
	}
	switch t := storage.(type) {
	case *arrow.NullType:
		wrap(nil)
	case *arrow.DictionaryType:
		wrap(c.Validity, c.Data)
		dict := c.Dict.data(t.ValueType, nil)
		defer dict.Release()
		data := array.NewDataWithDictionary(typ, c.Rows, buffers, c.Nulls, 0, dict)
		releaseBuffers(buffers)
		return data
	case *arrow.StringType, *arrow.BinaryType, *arrow.LargeStringType, *arrow.LargeBinaryType:
		wrap(c.Validity, c.Offsets, c.Data)
	case *arrow.FixedSizeListType:
		wrap(c.Validity)
		child(0, t.Elem())
	case *arrow.StructType:
		wrap(c.Validity)
		for i := range c.Children {
			child(i, t.Field(i).Type)
		}
	case arrow.ListLikeType:
		wrap(c.Validity, c.Offsets)
		child(0, t.Elem())
	default:
		wrap(c.Validity, c.Data)
	}
	data := array.NewData(typ, c.Rows, buffers, children, c.Nulls, 0)
	releaseBuffers(buffers)
	for _, d := range children {
		d.Release()
	}
	return data
}

func wrapBuffer(p []byte, own *body) *memory.Buffer {
	switch {
	case p == nil:
		return nil
	case own == nil:
		return memory.NewBufferBytes(p)
	}
	own.refs.Add(1)
	return memory.NewBufferWithAllocator(p, own)
}

func releaseBuffers(buffers []*memory.Buffer) {
	for _, b := range buffers {
		if b != nil {
			b.Release()
		}
	}
}

// columnFromArray views arr as a Column without copying its buffers, or, when
// arr is a slice of a larger array, over a copy that starts at its first row.
func columnFromArray(arr arrow.Array, l *layout, mem memory.Allocator) (Column, error) {
	if l.kind == layoutOther {
		var err error
		switch arr.(type) { // arrow-go does not write all slices
		case *array.ListView, *array.LargeListView:
			if arr.Data().Offset() != 0 {
				arr, err = array.Concatenate([]arrow.Array{arr}, mem)
			}
		case *array.DenseUnion:
			arr = fromItsFirstRow(arr.Data())
		}
		if err != nil {
			return Column{}, fmt.Errorf("wire: column %s: %w", l.field, err)
		}
		return Column{Rows: arr.Len(), Nulls: arr.NullN(), other: arr}, nil
	}
	if ext, ok := arr.(array.ExtensionArray); ok {
		arr = ext.Storage()
	}
	if needsCompaction(arr) {
		var err error
		if arr, err = array.Concatenate([]arrow.Array{arr}, mem); err != nil {
			return Column{}, fmt.Errorf("wire: column %s: %w", l.field, err)
		}
	}
	return viewArray(arr, l, mem)
}

// fromItsFirstRow is a slice of a dense union as an array of its own, over the whole
// children.
func fromItsFirstRow(d arrow.ArrayData) arrow.Array {
	off, n := d.Offset(), d.Len()
	if off == 0 {
		return array.MakeFromData(d)
	}
	const code, offset = 1, 4 // bytes of each
	buffers := []*memory.Buffer{
		nil,
		memory.SliceBuffer(d.Buffers()[1], off*code, n*code),
		memory.SliceBuffer(d.Buffers()[2], off*offset, n*offset),
	}
	return array.MakeFromData(array.NewData(d.DataType(), n, buffers, d.Children(), 0, 0))
}

// needsCompaction reports whether arr does not start at the beginning of its
// buffers, or its offsets not at zero.
func needsCompaction(arr arrow.Array) bool {
	if arr.Data().Offset() != 0 {
		return true
	}
	switch a := arr.(type) {
	case *array.String:
		return a.Len() > 0 && a.ValueOffset(0) != 0
	case *array.Binary:
		return a.Len() > 0 && a.ValueOffset(0) != 0
	case *array.LargeString:
		return a.Len() > 0 && a.ValueOffset(0) != 0
	case *array.LargeBinary:
		return a.Len() > 0 && a.ValueOffset64(0) != 0
	case array.ListLike:
		if a.Len() == 0 {
			return false
		}
		start, _ := a.ValueOffsets(0)
		return start != 0
	}
	return false
}

func viewArray(arr arrow.Array, l *layout, mem memory.Allocator) (Column, error) {
	d := arr.Data()
	c := Column{Rows: d.Len(), Nulls: arr.NullN()}
	buffer := func(i int) []byte {
		if i < len(d.Buffers()) && d.Buffers()[i] != nil {
			return d.Buffers()[i].Bytes()
		}
		return nil
	}
	if c.Nulls > 0 {
		c.Validity = buffer(0)
	}
	switch l.kind {
	case layoutBool, layoutFixed:
		c.Data = buffer(1)
	case layoutVar32, layoutVar64:
		c.Offsets, c.Data = buffer(1), buffer(2)
	case layoutList32, layoutList64:
		c.Offsets = buffer(1)
	case layoutDict:
		c.Data = buffer(1)
		dict, err := columnFromArray(arr.(*array.Dictionary).Dictionary(), l.dict, mem)
		if err != nil {
			return c, err
		}
		c.Dict = &dict
	default: // no buffers of its own
	}
	return c, c.viewChildren(d, l, mem)
}

// viewChildren views the children of a nested array, cut to the rows that the
// parent refers to.
func (c *Column) viewChildren(d arrow.ArrayData, l *layout, mem memory.Allocator) error {
	if len(l.children) == 0 {
		return nil
	}
	want := c.Rows
	switch l.kind {
	case layoutFSL:
		want = c.Rows * l.width
	case layoutList32, layoutList64:
		want = c.lastOffset(l.kind == layoutList64)
	default: // the children of a struct have its rows
	}
	c.Children = make([]Column, len(l.children))
	for i := range l.children {
		child := array.MakeFromData(d.Children()[i])
		defer child.Release()
		if child.Len() != want {
			child = array.NewSlice(child, 0, int64(want))
			defer child.Release()
		}
		var err error
		if c.Children[i], err = columnFromArray(child, &l.children[i], mem); err != nil {
			return err
		}
	}
	return nil
}

// fixed is every Go type whose memory is that of an Arrow column of the same
// width.
type fixed interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Values views the data of a fixed-width column as its rows, without copying
// them. The view is valid as long as the column, and belongs to it: read only.
// What stands in a row that is null is undefined.
func Values[T fixed](c *Column) []T {
	var zero T
	n := min(c.Rows, len(c.Data)/int(unsafe.Sizeof(zero)))
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(c.Data))), n)
}

// Bytes views values as the data or offsets of a [Column], without copying
// them: they must not change as long as the column is in use.
func Bytes[T fixed](values []T) []byte {
	if len(values) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*int(unsafe.Sizeof(values[0])))
}
