package observability

import (
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
)

// appendType appends an Arrow type as text, in the words of Arrow's C++ and
// Python libraries and so of the reference: "list<item: int64>". Names are
// escaped for a JSON string.
func appendType(dst []byte, t arrow.DataType) []byte {
	if id := int(t.ID()); id < len(plainTypes) && plainTypes[id] != "" {
		return append(dst, plainTypes[id]...)
	}
	switch t := t.(type) {
	case *arrow.FixedSizeBinaryType:
		return appendIndex(append(dst, "fixed_size_binary"...), int64(t.ByteWidth))
	case *arrow.Time32Type:
		return appendUnit(append(dst, "time32["...), t.Unit, "")
	case *arrow.Time64Type:
		return appendUnit(append(dst, "time64["...), t.Unit, "")
	case *arrow.DurationType:
		return appendUnit(append(dst, "duration["...), t.Unit, "")
	case *arrow.TimestampType:
		return appendUnit(append(dst, "timestamp["...), t.Unit, t.TimeZone)
	case arrow.DecimalType:
		dst = append(dst, "decimal"...)
		dst = strconv.AppendInt(dst, int64(t.BitWidth()), 10)
		dst = append(dst, '(')
		dst = strconv.AppendInt(dst, int64(t.GetPrecision()), 10)
		dst = append(dst, ", "...)
		dst = strconv.AppendInt(dst, int64(t.GetScale()), 10)
		return append(dst, ')')
	case arrow.ExtensionType:
		return append(appendEscaped(append(dst, "extension<"...), t.ExtensionName()), '>')
	}
	return appendNestedType(dst, t)
}

// plainTypes are the types without parameters.
var plainTypes = [...]string{
	arrow.NULL: "null", arrow.BOOL: "bool",
	arrow.INT8: "int8", arrow.INT16: "int16", arrow.INT32: "int32", arrow.INT64: "int64",
	arrow.UINT8: "uint8", arrow.UINT16: "uint16", arrow.UINT32: "uint32", arrow.UINT64: "uint64",
	arrow.FLOAT16: "halffloat", arrow.FLOAT32: "float", arrow.FLOAT64: "double",
	arrow.STRING: "string", arrow.LARGE_STRING: "large_string", arrow.STRING_VIEW: "string_view",
	arrow.BINARY: "binary", arrow.LARGE_BINARY: "large_binary", arrow.BINARY_VIEW: "binary_view",
	arrow.DATE32: "date32[day]", arrow.DATE64: "date64[ms]",
	arrow.INTERVAL_MONTHS: "month_interval", arrow.INTERVAL_DAY_TIME: "day_time_interval",
	arrow.INTERVAL_MONTH_DAY_NANO: "month_day_nano_interval",
}

// appendNestedType appends a type that is made of others.
func appendNestedType(dst []byte, t arrow.DataType) []byte {
	switch t := t.(type) {
	case *arrow.ListType:
		return appendFields(dst, "list", t.ElemField())
	case *arrow.LargeListType:
		return appendFields(dst, "large_list", t.ElemField())
	case *arrow.ListViewType:
		return appendFields(dst, "list_view", t.ElemField())
	case *arrow.LargeListViewType:
		return appendFields(dst, "large_list_view", t.ElemField())
	case *arrow.FixedSizeListType:
		return appendIndex(appendFields(dst, "fixed_size_list", t.ElemField()), int64(t.Len()))
	case *arrow.StructType:
		return appendFields(dst, "struct", t.Fields()...)
	case *arrow.MapType:
		return appendMap(dst, t)
	case *arrow.DictionaryType:
		dst = appendType(append(dst, "dictionary<values="...), t.ValueType)
		dst = appendType(append(dst, ", indices="...), t.IndexType)
		if t.Ordered {
			return append(dst, ", ordered=1>"...)
		}
		return append(dst, ", ordered=0>"...)
	case arrow.UnionType:
		return appendUnion(dst, t)
	case *arrow.RunEndEncodedType:
		dst = appendType(append(dst, "run_end_encoded<run_ends: "...), t.RunEnds())
		return append(appendType(append(dst, ", values: "...), t.Encoded()), '>')
	}
	return appendEscaped(dst, t.Name())
}

// appendFields appends name<field: type, …>.
func appendFields(dst []byte, name string, fields ...arrow.Field) []byte {
	dst = append(append(dst, name...), '<')
	for i := range fields {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendField(dst, &fields[i])
	}
	return append(dst, '>')
}

func appendField(dst []byte, f *arrow.Field) []byte {
	dst = append(appendEscaped(dst, f.Name), ": "...)
	dst = appendType(dst, f.Type)
	if !f.Nullable {
		dst = append(dst, " not null"...)
	}
	return dst
}

// appendMap appends a map. Arrow-go gives its fields the usual names, so they
// need not be said.
func appendMap(dst []byte, t *arrow.MapType) []byte {
	dst = appendType(append(dst, "map<"...), t.KeyType())
	dst = appendType(append(dst, ", "...), t.ItemType())
	if t.KeysSorted {
		dst = append(dst, ", keys_sorted"...)
	}
	return append(dst, '>')
}

func appendUnion(dst []byte, t arrow.UnionType) []byte {
	name, codes := "dense_union<", t.TypeCodes()
	if t.Mode() == arrow.SparseMode {
		name = "sparse_union<"
	}
	dst = append(dst, name...)
	for i, f := range t.Fields() {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(appendField(dst, &f), '=')
		dst = strconv.AppendInt(dst, int64(codes[i]), 10)
	}
	return append(dst, '>')
}

func appendIndex(dst []byte, n int64) []byte {
	return append(strconv.AppendInt(append(dst, '['), n, 10), ']')
}

// appendUnit ends a type's parameters: a unit of time, and a zone unless empty.
func appendUnit(dst []byte, unit arrow.TimeUnit, zone string) []byte {
	dst = append(dst, unit.String()...)
	if zone != "" {
		dst = appendEscaped(append(dst, ", tz="...), zone)
	}
	return append(dst, ']')
}
