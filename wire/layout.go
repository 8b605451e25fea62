package wire

import (
	"github.com/apache/arrow-go/v18/arrow"
)

// layoutKind says which buffers an array of a type consists of.
type layoutKind uint8

const (
	layoutNull   layoutKind = iota // no buffers
	layoutBool                     // validity, bits
	layoutFixed                    // validity, values of width bytes
	layoutVar32                    // validity, int32 offsets, bytes
	layoutVar64                    // validity, int64 offsets, bytes
	layoutList32                   // validity, int32 offsets; one child (list, map)
	layoutList64                   // validity, int64 offsets; one child
	layoutFSL                      // validity; one child of width values a row
	layoutStruct                   // validity; children
	layoutDict                     // validity, indices of width bytes; values travel apart
	layoutOther                    // views, unions, run-end: arrow-go reads and writes it
)

// layout is the physical form of one field, compiled once for each schema.
type layout struct {
	kind     layoutKind
	width    int
	typ      arrow.DataType
	field    string // path in error messages
	nullable bool
	utf8     bool
	children []layout
	dictID   int64
	dict     *layout // of the values, for layoutDict
	nodes    int     // field nodes of this field and all below
	buffers  int     // buffers of this field and all below, but for the data of views
	views    int     // fields of views, whose buffers of data each message counts
}

// compileLayout describes the physical form of one field. ids yields the
// dictionary ids in the depth-first order of the schema message.
func compileLayout(f arrow.Field, path string, ids *idCursor) layout {
	typ := f.Type
	if ext, ok := typ.(arrow.ExtensionType); ok {
		typ = ext.StorageType()
	}
	l := layout{typ: typ, field: path, nullable: f.Nullable, nodes: 1}
	switch t := typ.(type) {
	case *arrow.NullType:
		l.kind = layoutNull
	case *arrow.BooleanType:
		l.kind, l.buffers = layoutBool, 2
	case *arrow.DictionaryType:
		l.kind, l.buffers, l.dictID = layoutDict, 2, ids.next()
		l.width = t.IndexType.(arrow.FixedWidthDataType).BitWidth() / 8
		values := compileLayout(arrow.Field{Name: f.Name, Type: t.ValueType, Nullable: true}, path, ids)
		l.dict = &values
		if values.kind == layoutOther {
			l.kind = layoutOther
		}
	case *arrow.StringType, *arrow.BinaryType:
		l.kind, l.buffers, l.utf8 = layoutVar32, 3, typ.ID() == arrow.STRING
	case *arrow.LargeStringType, *arrow.LargeBinaryType:
		l.kind, l.buffers, l.utf8 = layoutVar64, 3, typ.ID() == arrow.LARGE_STRING
	case *arrow.ListType:
		l.nest(layoutList32, 2, []arrow.Field{t.ElemField()}, ids)
	case *arrow.MapType:
		l.nest(layoutList32, 2, []arrow.Field{t.ElemField()}, ids)
	case *arrow.LargeListType:
		l.nest(layoutList64, 2, []arrow.Field{t.ElemField()}, ids)
	case *arrow.FixedSizeListType:
		l.width = int(t.Len())
		l.nest(layoutFSL, 1, []arrow.Field{t.ElemField()}, ids)
	case *arrow.StructType:
		l.nest(layoutStruct, 1, t.Fields(), ids)
	case arrow.FixedWidthDataType:
		l.kind, l.buffers, l.width = layoutFixed, 2, t.BitWidth()/8
	case arrow.BinaryViewDataType:
		l.kind, l.buffers, l.views = layoutOther, 2, 1
	case arrow.VarLenListLikeType: // views of lists, as the others are above
		l.nest(layoutOther, 3, []arrow.Field{t.ElemField()}, ids)
	case *arrow.SparseUnionType:
		l.nest(layoutOther, 1, t.Fields(), ids)
	case *arrow.DenseUnionType:
		l.nest(layoutOther, 2, t.Fields(), ids)
	case *arrow.RunEndEncodedType:
		l.nest(layoutOther, 0, t.Fields(), ids)
	default:
		l.kind = layoutOther
	}
	return l
}

// nest completes the layout of a type with children.
func (l *layout) nest(kind layoutKind, buffers int, fields []arrow.Field, ids *idCursor) {
	l.kind, l.buffers = kind, buffers
	l.children = make([]layout, len(fields))
	for i, f := range fields {
		l.children[i] = compileLayout(f, l.field+"."+f.Name, ids)
		l.nodes += l.children[i].nodes
		l.buffers += l.children[i].buffers
		l.views += l.children[i].views
		if l.children[i].kind == layoutOther {
			l.kind = layoutOther
		}
	}
}

// holdsBytes reports whether values of the field refer to variable-size bytes
// that a decoder may alias.
func (l *layout) holdsBytes() bool {
	if l.kind == layoutVar32 || l.kind == layoutVar64 || (l.dict != nil && l.dict.holdsBytes()) {
		return true
	}
	for i := range l.children {
		if l.children[i].holdsBytes() {
			return true
		}
	}
	return false
}

// eachDict calls f for every dictionary below l, innermost first, as the
// stream has to carry them.
func (l *layout) eachDict(f func(*layout)) {
	for i := range l.children {
		l.children[i].eachDict(f)
	}
	if l.dict != nil {
		l.dict.eachDict(f)
		f(l)
	}
}

// idCursor hands out dictionary ids in the order of the schema message.
type idCursor struct {
	ids []int64
	pos int
}

func (c *idCursor) next() int64 {
	if c.pos >= len(c.ids) {
		return int64(c.pos)
	}
	id := c.ids[c.pos]
	c.pos++
	return id
}
