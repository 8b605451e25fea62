package arrowjson

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// MaxExact is the largest integer up to which every integer is a JavaScript
// number.
const MaxExact = 1<<53 - 1

// WriteOptions say how values are written. The zero value works, and differs
// from the others in form alone: every form is read back as the same value.
type WriteOptions struct {
	// QuoteLarge writes integers beyond 2^53 as strings, for readers to whom all
	// numbers are floats.
	QuoteLarge bool
	// ShortInf writes infinities as "Inf" and "-Inf" instead of "Infinity" and
	// "-Infinity". Only lenient reading takes them.
	ShortInf bool
	// TrimDecimals leaves out zeros at the end of a decimal: "12.5" for "12.50".
	TrimDecimals bool
	// DurationUnits writes a duration as a whole number of the column's unit,
	// "90500ms", instead of in seconds, "90.5s".
	DurationUnits bool
	// Unpack returns the row that bytes hold and that is written in their place
	// as an object, nil for bytes that stand for themselves. It is asked of
	// binary columns of any length, and may be nil.
	Unpack func(data []byte) arrow.RecordBatch
}

// binaryLike is an array of bytes, in any of its layouts.
type binaryLike interface {
	arrow.Array
	Value(i int) []byte
}

// AppendRow writes row i of rec as an object, members in the order of the
// schema.
func (o *WriteOptions) AppendRow(dst []byte, rec arrow.RecordBatch, i int) ([]byte, error) {
	schema := rec.Schema()
	dst = append(dst, '{')
	var err error
	for j := range schema.NumFields() {
		if j > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, schema.Field(j).Name), ':')
		if dst, err = o.Append(dst, rec.Column(j), i); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// Append writes value i of an array. It fails for a type that this package does
// not know.
func (o *WriteOptions) Append(dst []byte, arr arrow.Array, i int) ([]byte, error) {
	if arr.IsNull(i) {
		return append(dst, "null"...), nil
	}
	switch arr := arr.(type) {
	case *array.Null:
		return append(dst, "null"...), nil
	case *array.Boolean:
		return strconv.AppendBool(dst, arr.Value(i)), nil
	case array.StringLike:
		return AppendString(dst, arr.Value(i)), nil
	case *array.Dictionary:
		return o.Append(dst, arr.Dictionary(), arr.GetValueIndex(i))
	case *array.FixedSizeBinary: // an identifier: never a packed row
		return appendBase64(dst, arr.Value(i)), nil
	case binaryLike:
		return o.appendBytes(dst, arr.Value(i))
	case *array.Map:
		return o.appendEntries(dst, arr, i)
	case array.ListLike:
		return o.appendItems(dst, arr, i)
	case *array.Struct:
		return o.appendMembers(dst, arr, i)
	case array.ExtensionArray:
		return o.Append(dst, arr.Storage(), i)
	case *array.RunEndEncoded:
		return o.Append(dst, arr.Values(), arr.GetPhysicalIndex(i))
	case array.Union:
		return o.appendUnion(dst, arr, i)
	}
	if out, ok := o.appendNumber(dst, arr, i); ok {
		return out, nil
	}
	if out, ok := o.appendMoment(dst, arr, i); ok {
		return out, nil
	}
	return nil, fmt.Errorf("%v has no form in JSON", arr.DataType())
}

func (o *WriteOptions) appendNumber(dst []byte, arr arrow.Array, i int) ([]byte, bool) {
	switch arr := arr.(type) {
	case *array.Int8:
		return strconv.AppendInt(dst, int64(arr.Value(i)), 10), true
	case *array.Int16:
		return strconv.AppendInt(dst, int64(arr.Value(i)), 10), true
	case *array.Int32:
		return strconv.AppendInt(dst, int64(arr.Value(i)), 10), true
	case *array.Int64:
		return o.appendInt(dst, arr.Value(i)), true
	case *array.Uint8:
		return strconv.AppendUint(dst, uint64(arr.Value(i)), 10), true
	case *array.Uint16:
		return strconv.AppendUint(dst, uint64(arr.Value(i)), 10), true
	case *array.Uint32:
		return strconv.AppendUint(dst, uint64(arr.Value(i)), 10), true
	case *array.Uint64:
		v := arr.Value(i)
		return quoteIf(o.QuoteLarge && v > MaxExact, dst, func(dst []byte) []byte { return strconv.AppendUint(dst, v, 10) }), true
	case *array.Float16:
		return o.appendFloat(dst, float64(arr.Value(i).Float32()), 32), true
	case *array.Float32:
		return o.appendFloat(dst, float64(arr.Value(i)), 32), true
	case *array.Float64:
		return o.appendFloat(dst, arr.Value(i), 64), true
	case *array.Decimal32:
		return o.appendDecimal(dst, big.NewInt(int64(arr.Value(i))), arr.DataType()), true
	case *array.Decimal64:
		return o.appendDecimal(dst, big.NewInt(int64(arr.Value(i))), arr.DataType()), true
	case *array.Decimal128:
		return o.appendDecimal(dst, arr.Value(i).BigInt(), arr.DataType()), true
	case *array.Decimal256:
		return o.appendDecimal(dst, arr.Value(i).BigInt(), arr.DataType()), true
	}
	return nil, false
}

func (o *WriteOptions) appendInt(dst []byte, v int64) []byte {
	large := v > MaxExact || v < -MaxExact
	return quoteIf(o.QuoteLarge && large, dst, func(dst []byte) []byte { return strconv.AppendInt(dst, v, 10) })
}

// quoteIf puts what write appends in quotes where quoted says so. It must need
// no escapes.
func quoteIf(quoted bool, dst []byte, write func([]byte) []byte) []byte {
	if !quoted {
		return write(dst)
	}
	return append(write(append(dst, '"')), '"')
}

func (o *WriteOptions) appendDecimal(dst []byte, v *big.Int, t arrow.DataType) []byte {
	d := exact{v, int(t.(arrow.DecimalType).GetScale())}
	if o.TrimDecimals {
		d = d.normal()
	}
	return quoteIf(true, dst, d.append)
}

func (o *WriteOptions) appendFloat(dst []byte, f float64, bits int) []byte {
	infinity := "Infinity"
	if o.ShortInf {
		infinity = "Inf"
	}
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(append(append(dst, '"'), infinity...), '"')
	case math.IsInf(f, -1):
		return append(append(append(dst, `"-`...), infinity...), '"')
	case abs != 0 && (abs < 1e-6 || abs >= 1e21):
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

// appendBytes writes bytes in base64, or the row that is packed into them.
func (o *WriteOptions) appendBytes(dst, data []byte) ([]byte, error) {
	if o.Unpack != nil {
		if rec := o.Unpack(data); rec != nil {
			return o.AppendRow(dst, rec, 0)
		}
	}
	return appendBase64(dst, data), nil
}

func appendBase64(dst, data []byte) []byte {
	return quoteIf(true, dst, func(dst []byte) []byte { return base64.StdEncoding.AppendEncode(dst, data) })
}

func (o *WriteOptions) appendItems(dst []byte, arr array.ListLike, i int) ([]byte, error) {
	start, end := arr.ValueOffsets(i)
	dst = append(dst, '[')
	var err error
	for j := start; j < end; j++ {
		if j > start {
			dst = append(dst, ',')
		}
		if dst, err = o.Append(dst, arr.ListValues(), int(j)); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func (o *WriteOptions) appendMembers(dst []byte, arr *array.Struct, i int) ([]byte, error) {
	t := arr.DataType().(*arrow.StructType)
	dst = append(dst, '{')
	var err error
	for j := range t.NumFields() {
		if j > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, t.Field(j).Name), ':')
		if dst, err = o.Append(dst, arr.Field(j), i); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// appendEntries writes a map: an object when every key is text and occurs
// once, else an array of pairs.
func (o *WriteOptions) appendEntries(dst []byte, arr *array.Map, i int) ([]byte, error) {
	start, end := arr.ValueOffsets(i)
	opening, between, closing, last := "[", ",", "]", byte(']')
	if distinctText(arr.Keys(), int(start), int(end)) {
		opening, between, closing, last = "", ":", "", '}'
		dst = append(dst, '{')
	} else {
		dst = append(dst, '[')
	}
	for j := int(start); j < int(end); j++ {
		if j > int(start) {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = o.Append(append(dst, opening...), arr.Keys(), j); err != nil {
			return nil, err
		}
		if dst, err = o.Append(append(dst, between...), arr.Items(), j); err != nil {
			return nil, err
		}
		dst = append(dst, closing...)
	}
	return append(dst, last), nil
}

// distinctText reports whether the keys from start to end are text and differ
// from each other as written, which those that are not UTF-8 may not.
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
		name := text.Value(at(i))
		if seen[name] || !utf8.ValidString(name) {
			return false
		}
		seen[name] = true
	}
	return true
}

func (o *WriteOptions) appendUnion(dst []byte, arr array.Union, i int) ([]byte, error) {
	child := arr.Field(arr.ChildID(i))
	dst = append(strconv.AppendInt(append(dst, '['), int64(arr.TypeCode(i)), 10), ',')
	if dense, ok := arr.(*array.DenseUnion); ok {
		i = int(dense.ValueOffset(i))
	}
	dst, err := o.Append(dst, child, i)
	return append(dst, ']'), err
}

// AppendString writes s in quotes. Control characters are escaped, so that what
// others send does not steer a terminal, and so are the line separators that
// end a line in a script; bytes that are not UTF-8 become U+FFFD.
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
		case r == 0x2028 || r == 0x2029:
			dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
