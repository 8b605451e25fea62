package values

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Unpack replaces bytes by what they hold: it returns nil for bytes that stand
// for themselves.
type Unpack func(data []byte) arrow.RecordBatch

// AppendRow writes row i of rec as an object, members in the order of the
// schema. unpack may be nil.
func AppendRow(dst []byte, rec arrow.RecordBatch, i int, unpack Unpack) ([]byte, error) {
	dst = append(dst, '{')
	var err error
	for j, f := range rec.Schema().Fields() {
		if j > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, f.Name), ':')
		if dst, err = AppendJSON(dst, rec.Column(j), i, unpack); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// AppendJSON writes value i of an array.
func AppendJSON(dst []byte, arr arrow.Array, i int, unpack Unpack) ([]byte, error) {
	if arr.IsNull(i) {
		return append(dst, "null"...), nil
	}
	switch arr := arr.(type) {
	case *array.Int64:
		return strconv.AppendInt(dst, arr.Value(i), 10), nil
	case *array.Float64:
		return appendFloat(dst, arr.Value(i), 64), nil
	case *array.Float32:
		return appendFloat(dst, float64(arr.Value(i)), 32), nil
	case array.StringLike:
		return AppendString(dst, arr.Value(i)), nil
	case *array.Dictionary:
		return AppendJSON(dst, arr.Dictionary(), arr.GetValueIndex(i), unpack)
	case array.ExtensionArray:
		return AppendJSON(dst, arr.Storage(), i, unpack)
	case *array.Binary:
		return appendBytes(dst, arr.Value(i), unpack)
	case *array.LargeBinary:
		return appendBytes(dst, arr.Value(i), unpack)
	case *array.Struct:
		return appendMembers(dst, arr, i, unpack)
	case *array.Map:
		return appendEntries(dst, arr, i, unpack)
	case array.ListLike:
		return appendItems(dst, arr, i, unpack)
	}
	text, err := json.Marshal(arr.GetOneForMarshal(i))
	return append(dst, text...), err
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Inf"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Inf"`...)
	case abs != 0 && (abs < 1e-6 || abs >= 1e21):
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

// appendBytes writes bytes in base64, or the row that is packed into them.
func appendBytes(dst, data []byte, unpack Unpack) ([]byte, error) {
	if unpack != nil {
		if rec := unpack(data); rec != nil {
			return AppendRow(dst, rec, 0, unpack)
		}
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, '"'), nil
}

func appendItems(dst []byte, arr array.ListLike, i int, unpack Unpack) ([]byte, error) {
	start, end := arr.ValueOffsets(i)
	dst = append(dst, '[')
	var err error
	for j := start; j < end; j++ {
		if j > start {
			dst = append(dst, ',')
		}
		if dst, err = AppendJSON(dst, arr.ListValues(), int(j), unpack); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendMembers(dst []byte, arr *array.Struct, i int, unpack Unpack) ([]byte, error) {
	dst = append(dst, '{')
	var err error
	for j, f := range arr.DataType().(*arrow.StructType).Fields() {
		if j > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, f.Name), ':')
		if dst, err = AppendJSON(dst, arr.Field(j), i, unpack); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// appendEntries writes a map: an object when every key is text and occurs once,
// else an array of pairs.
func appendEntries(dst []byte, arr *array.Map, i int, unpack Unpack) ([]byte, error) {
	start, end := arr.ValueOffsets(i)
	asObject := distinctText(arr.Keys(), int(start), int(end))
	opening, between, closing := byte('['), byte(','), byte(']')
	if asObject {
		opening, between, closing = '{', ':', '}'
	}
	dst = append(dst, opening)
	var err error
	for j := int(start); j < int(end); j++ {
		if j > int(start) {
			dst = append(dst, ',')
		}
		if !asObject {
			dst = append(dst, '[')
		}
		if dst, err = AppendJSON(dst, arr.Keys(), j, unpack); err != nil {
			return nil, err
		}
		if dst, err = AppendJSON(append(dst, between), arr.Items(), j, unpack); err != nil {
			return nil, err
		}
		if !asObject {
			dst = append(dst, ']')
		}
	}
	return append(dst, closing), nil
}

// distinctText reports whether keys are text and differ from each other.
func distinctText(keys arrow.Array, start, end int) bool {
	words, at := keys, func(i int) int { return i }
	if d, ok := keys.(*array.Dictionary); ok {
		words, at = d.Dictionary(), d.GetValueIndex
	}
	text, ok := words.(array.StringLike)
	if !ok {
		return false
	}
	seen := make(map[string]bool, end-start)
	for i := start; i < end; i++ {
		key := text.Value(at(i))
		if seen[key] {
			return false
		}
		seen[key] = true
	}
	return true
}

// AppendString writes s in quotes. Control characters are escaped, so that what
// a server sends does not steer a terminal; bytes that are not UTF-8 become
// U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r < ' ' || (r >= 0x7F && r < 0xA0):
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// Indent is JSON over several lines, for people.
func Indent(text []byte) []byte {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return text
	}
	return b.Bytes()
}
