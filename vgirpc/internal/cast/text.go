package cast

import (
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// textKind tells the layouts of text from those of bytes.
type textKind int

const (
	notText textKind = iota
	chars
	octets
)

func kindOf(t arrow.DataType) textKind {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		return chars
	case arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW:
		return octets
	default:
		return notText
	}
}

// texts casts text and bytes in all layouts, and both to a dictionary.
func texts(from, to arrow.DataType) binder {
	if kindOf(from) == notText {
		return nil
	}
	d, encodes := to.(*arrow.DictionaryType)
	if encodes && !encodable(d) || !encodes && kindOf(to) == notText {
		return nil
	}
	fail := failure(from, to)
	check := kindOf(from) == octets && kindOf(to) != octets
	return func(dst array.Builder, src arrow.Array, _ *budget) put {
		read, write := readText(src), writeText(dst)
		return func(i int) *ValueError {
			s := read(i)
			if check && !utf8.ValidString(s) {
				return fail(reasonUTF8)
			}
			if reason := write(s); reason != "" {
				return fail(reason)
			}
			return nil
		}
	}
}

// readText returns a reader of the bytes of a value, which stay the array's.
func readText(src arrow.Array) func(int) string {
	switch a := src.(type) {
	case interface{ ValueString(int) string }: // the binary arrays
		return a.ValueString
	case source[string]:
		return a.Value
	}
	return nil
}

// writeText returns a writer that copies a value, and returns the reason if it
// cannot.
func writeText(dst array.Builder) func(string) string {
	switch b := dst.(type) {
	case *array.StringBuilder:
		return appendNarrow(b.BinaryBuilder)
	case *array.LargeStringBuilder:
		return appendWide(b.BinaryBuilder)
	case *array.BinaryBuilder:
		if b.Type().ID() == arrow.BINARY {
			return appendNarrow(b)
		}
		return appendWide(b)
	case *array.StringViewBuilder:
		return appendWide(b.BinaryViewBuilder)
	case *array.BinaryViewBuilder:
		return appendWide(b)
	case *array.BinaryDictionaryBuilder:
		return appendEncoded(b)
	}
	return nil
}

// appendNarrow minds that offsets of 32 bits count the bytes of all values.
func appendNarrow(b *array.BinaryBuilder) func(string) string {
	return func(s string) string {
		if len(s) > math.MaxInt32-b.DataLen() {
			return reasonTooBig
		}
		b.AppendString(s)
		return ""
	}
}

func appendWide(b interface{ AppendString(string) }) func(string) string {
	return func(s string) string {
		b.AppendString(s)
		return ""
	}
}

// appendEncoded minds that the index has only so many values: arrow-go's builder
// would start again at the lowest.
func appendEncoded(b *array.BinaryDictionaryBuilder) func(string) string {
	most := indexCount(b.Type().(*arrow.DictionaryType).IndexType)
	return func(s string) string {
		if err := b.AppendString(s); err != nil || b.DictionarySize() > most {
			return reasonTooMany
		}
		return ""
	}
}

// encodable reports whether a dictionary can be built: of strings, with nothing
// said about their order. arrow-go has no builder for large strings and views.
func encodable(d *arrow.DictionaryType) bool {
	return !d.Ordered && d.ValueType.ID() == arrow.STRING && arrow.IsInteger(d.IndexType.ID())
}

// indexCount is the number of values that an index type can tell apart, as far
// as an int counts.
func indexCount(t arrow.DataType) int {
	width := t.(arrow.FixedWidthDataType).BitWidth()
	if arrow.IsSignedInteger(t.ID()) {
		width--
	}
	return 1 << min(width, 62)
}

// decode casts a dictionary by casting the values behind it. A small batch may
// stand for a large one, so the bytes of text are counted.
func decode(from *arrow.DictionaryType, to arrow.DataType, nullable bool) binder {
	if _, nested := from.ValueType.(arrow.NestedType); nested {
		return nil
	}
	bind := compile(from.ValueType, to, nullable)
	if bind == nil {
		return nil
	}
	fail := failure(from, to)
	return func(dst array.Builder, src arrow.Array, left *budget) put {
		dictionary := src.(*array.Dictionary)
		entry := bind(dst, dictionary.Dictionary(), left)
		size, sized := dictionary.Dictionary().(interface{ ValueLen(int) int })
		return func(i int) *ValueError {
			index := dictionary.GetValueIndex(i)
			if sized && !left.take(size.ValueLen(index)) {
				return fail(reasonTooBig)
			}
			return entry(index)
		}
	}
}
