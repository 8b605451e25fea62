package jsoncall

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

// maxExact is the largest integer up to which every integer is a JavaScript
// number.
const maxExact = 1<<53 - 1

// binaryLike is an array of bytes, in any of its layouts.
type binaryLike interface {
	arrow.Array
	Value(i int) []byte
}

// appendJSON writes value i of an array.
func appendJSON(dst []byte, arr arrow.Array, i int) ([]byte, error) {
	if arr.IsNull(i) {
		return append(dst, "null"...), nil
	}
	switch arr := arr.(type) {
	case *array.Null:
		return append(dst, "null"...), nil
	case *array.Boolean:
		return strconv.AppendBool(dst, arr.Value(i)), nil
	case array.StringLike:
		return appendString(dst, arr.Value(i)), nil
	case *array.Dictionary:
		return appendJSON(dst, arr.Dictionary(), arr.GetValueIndex(i))
	case binaryLike:
		return appendBase64(dst, arr.Value(i)), nil
	case *array.Map:
		return appendEntries(dst, arr, i)
	case array.ListLike:
		return appendItems(dst, arr, i)
	case *array.Struct:
		return appendMembers(dst, arr, i)
	case array.ExtensionArray:
		return appendJSON(dst, arr.Storage(), i)
	}
	if out, ok := appendNumber(dst, arr, i); ok {
		return out, nil
	}
	if out, ok := appendMoment(dst, arr, i); ok {
		return out, nil
	}
	return nil, fmt.Errorf("%v has no form in JSON", arr.DataType())
}

func appendNumber(dst []byte, arr arrow.Array, i int) ([]byte, bool) {
	switch arr := arr.(type) {
	case *array.Int8:
		return strconv.AppendInt(dst, int64(arr.Value(i)), 10), true
	case *array.Int16:
		return strconv.AppendInt(dst, int64(arr.Value(i)), 10), true
	case *array.Int32:
		return strconv.AppendInt(dst, int64(arr.Value(i)), 10), true
	case *array.Int64:
		v := arr.Value(i)
		return quoteIf(v > maxExact || v < -maxExact, dst, func(dst []byte) []byte { return strconv.AppendInt(dst, v, 10) }), true
	case *array.Uint8:
		return strconv.AppendUint(dst, uint64(arr.Value(i)), 10), true
	case *array.Uint16:
		return strconv.AppendUint(dst, uint64(arr.Value(i)), 10), true
	case *array.Uint32:
		return strconv.AppendUint(dst, uint64(arr.Value(i)), 10), true
	case *array.Uint64:
		v := arr.Value(i)
		return quoteIf(v > maxExact, dst, func(dst []byte) []byte { return strconv.AppendUint(dst, v, 10) }), true
	case *array.Float16:
		return appendFloat(dst, float64(arr.Value(i).Float32()), 32), true
	case *array.Float32:
		return appendFloat(dst, float64(arr.Value(i)), 32), true
	case *array.Float64:
		return appendFloat(dst, arr.Value(i), 64), true
	case *array.Decimal32:
		return appendFixed(dst, big.NewInt(int64(arr.Value(i))), arr.DataType()), true
	case *array.Decimal64:
		return appendFixed(dst, big.NewInt(int64(arr.Value(i))), arr.DataType()), true
	case *array.Decimal128:
		return appendFixed(dst, arr.Value(i).BigInt(), arr.DataType()), true
	case *array.Decimal256:
		return appendFixed(dst, arr.Value(i).BigInt(), arr.DataType()), true
	}
	return nil, false
}

func appendMoment(dst []byte, arr arrow.Array, i int) ([]byte, bool) {
	quoted := func(write func([]byte) []byte) ([]byte, bool) { return quoteIf(true, dst, write), true }
	switch arr := arr.(type) {
	case *array.Timestamp:
		return quoted(func(dst []byte) []byte {
			return appendInstant(dst, arr.Value(i), arr.DataType().(*arrow.TimestampType))
		})
	case *array.Date32:
		return quoted(func(dst []byte) []byte { return appendDay(dst, int64(arr.Value(i))) })
	case *array.Date64:
		return quoted(func(dst []byte) []byte {
			return appendDay(dst, int64(math.Floor(float64(arr.Value(i))/86400_000)))
		})
	case *array.Time32:
		return quoted(func(dst []byte) []byte {
			return appendClock(dst, int64(arr.Value(i)), arr.DataType().(*arrow.Time32Type).Unit)
		})
	case *array.Time64:
		return quoted(func(dst []byte) []byte {
			return appendClock(dst, int64(arr.Value(i)), arr.DataType().(*arrow.Time64Type).Unit)
		})
	case *array.Duration:
		return quoted(func(dst []byte) []byte {
			return appendSpan(dst, arr.Value(i), arr.DataType().(*arrow.DurationType).Unit)
		})
	case *array.MonthInterval:
		return fmt.Appendf(dst, `{"months":%d}`, arr.Value(i)), true
	case *array.DayTimeInterval:
		v := arr.Value(i)
		return fmt.Appendf(dst, `{"days":%d,"milliseconds":%d}`, v.Days, v.Milliseconds), true
	case *array.MonthDayNanoInterval:
		v := arr.Value(i)
		dst = fmt.Appendf(dst, `{"months":%d,"days":%d,"nanoseconds":`, v.Months, v.Days)
		large := v.Nanoseconds > maxExact || v.Nanoseconds < -maxExact
		dst = quoteIf(large, dst, func(dst []byte) []byte { return strconv.AppendInt(dst, v.Nanoseconds, 10) })
		return append(dst, '}'), true
	}
	return nil, false
}

// quoteIf puts what write appends in quotes where quoted says so. It must need
// no escapes.
func quoteIf(quoted bool, dst []byte, write func([]byte) []byte) []byte {
	if !quoted {
		return write(dst)
	}
	return append(write(append(dst, '"')), '"')
}

func appendFixed(dst []byte, v *big.Int, t arrow.DataType) []byte {
	scale := int(t.(arrow.DecimalType).GetScale())
	return quoteIf(true, dst, func(dst []byte) []byte { return appendDecimal(dst, v, scale) })
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	case abs != 0 && (abs < 1e-6 || abs >= 1e21):
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

func appendBase64(dst, data []byte) []byte {
	return quoteIf(true, dst, func(dst []byte) []byte { return base64.StdEncoding.AppendEncode(dst, data) })
}

func appendItems(dst []byte, arr array.ListLike, i int) ([]byte, error) {
	start, end := arr.ValueOffsets(i)
	dst = append(dst, '[')
	var err error
	for j := start; j < end; j++ {
		if j > start {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, arr.ListValues(), int(j)); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendMembers(dst []byte, arr *array.Struct, i int) ([]byte, error) {
	dst = append(dst, '{')
	var err error
	for j, f := range arr.DataType().(*arrow.StructType).Fields() {
		if j > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, f.Name), ':')
		if dst, err = appendJSON(dst, arr.Field(j), i); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// appendEntries writes a map: an object when every key is text and occurs
// once, else an array of pairs.
func appendEntries(dst []byte, arr *array.Map, i int) ([]byte, error) {
	start, end := arr.ValueOffsets(i)
	names := textKeys(arr.Keys(), int(start), int(end))
	opening, between, closing, last := "[", ",", "]", byte(']')
	if names != nil {
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
		if dst, err = appendJSON(append(dst, opening...), arr.Keys(), j); err != nil {
			return nil, err
		}
		if dst, err = appendJSON(append(dst, between...), arr.Items(), j); err != nil {
			return nil, err
		}
		dst = append(dst, closing...)
	}
	return append(dst, last), nil
}

// textKeys is the set of keys from start to end, nil unless they are text and
// different from each other.
func textKeys(keys arrow.Array, start, end int) map[string]bool {
	words, at := keys, func(i int) int { return i }
	if d, ok := keys.(*array.Dictionary); ok {
		words, at = d.Dictionary(), d.GetValueIndex
	}
	text, ok := words.(array.StringLike)
	if !ok {
		return nil
	}
	names := map[string]bool{}
	for i := start; i < end; i++ {
		name := text.Value(at(i))
		if names[name] {
			return nil
		}
		names[name] = true
	}
	return names
}

// appendString writes s in quotes. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r < ' ' || r == 0x7F:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		case r == 0x2028 || r == 0x2029:
			dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
