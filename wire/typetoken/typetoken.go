package typetoken

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
)

// extensionNameKey is the field metadata key under which Arrow carries the name
// of an extension type whose storage type stands in the field.
const extensionNameKey = "ARROW:extension:name"

// UnsupportedTypeError reports a type for which WIRE_PROTOCOL section 14 has no
// token: a decimal of 32 or 64 bits, a time with a unit that its width cannot
// have, an extension without a name or storage, a type that Arrow does not
// define, or no type at all.
type UnsupportedTypeError struct {
	// Type is the type without a token. It is the innermost one, not the list or
	// struct around it, and nil where a type was missing.
	Type arrow.DataType
}

// Error says which type has no token.
func (e *UnsupportedTypeError) Error() string {
	if e.Type == nil {
		return "typetoken: a missing type has no token"
	}
	return fmt.Sprintf("typetoken: type %s has no token", e.Type)
}

// Of returns the token of t (WIRE_PROTOCOL section 14, "Type tokens"), such as
// "list<item?:utf8>" or "timestamp(us,tz=UTC)".
//
// The child of a list is always called item, the children of a map key and
// value, because Arrow does not count those names as part of the type. What it
// does count stays: the nullability of children, names in structs and unions,
// type codes, a time zone as it is written, sorted keys, ordered dictionaries.
// The nullability of run-end encoded values is not part of the token.
//
// t itself has no metadata, so an extension is recognised at the top only as an
// [arrow.ExtensionType]; its children are fields, and treated as by [OfField].
//
// The error is an [UnsupportedTypeError].
func Of(t arrow.DataType) (string, error) {
	b, err := appendType(nil, t)
	if err != nil {
		return "", err
	}
	return string(b), nil
}

// OfField returns the token of f's type, without f's name and nullability. It
// knows an extension in both of its shapes: as an [arrow.ExtensionType], and as
// the storage type of a field whose metadata names the extension, which is what
// a reader leaves for an extension that it has not registered.
//
// The error is an [UnsupportedTypeError].
func OfField(f arrow.Field) (string, error) {
	b, err := appendField(nil, f)
	if err != nil {
		return "", err
	}
	return string(b), nil
}

func appendField(b []byte, f arrow.Field) ([]byte, error) {
	if _, registered := f.Type.(arrow.ExtensionType); registered {
		return appendType(b, f.Type)
	}
	name, named := f.Metadata.GetValue(extensionNameKey)
	if !named {
		return appendType(b, f.Type)
	}
	return appendExtension(b, f.Type, name, f.Type)
}

// appendType appends the token of t. Types with parameters or children have
// functions of their own below.
func appendType(b []byte, t arrow.DataType) ([]byte, error) {
	if name := plain(t); name != "" {
		return append(b, name...), nil
	}
	switch t := t.(type) {
	case arrow.ExtensionType:
		return appendExtension(b, t, t.ExtensionName(), t.StorageType())
	case *arrow.FixedSizeBinaryType:
		return fmt.Appendf(b, "fixed_size_binary(%d)", t.ByteWidth), nil
	case *arrow.Decimal128Type:
		return fmt.Appendf(b, "decimal128(%d,%d)", t.Precision, t.Scale), nil
	case *arrow.Decimal256Type:
		return fmt.Appendf(b, "decimal256(%d,%d)", t.Precision, t.Scale), nil
	case *arrow.Time32Type, *arrow.Time64Type, *arrow.DurationType, *arrow.TimestampType:
		return appendTemporal(b, t)
	case *arrow.ListType:
		return appendList(b, "list", t.ElemField())
	case *arrow.LargeListType:
		return appendList(b, "large_list", t.ElemField())
	case *arrow.ListViewType:
		return appendList(b, "list_view", t.ElemField())
	case *arrow.LargeListViewType:
		return appendList(b, "large_list_view", t.ElemField())
	case *arrow.FixedSizeListType:
		return appendList(b, "fixed_size_list("+strconv.Itoa(int(t.Len()))+")", t.ElemField())
	case *arrow.StructType:
		return appendStruct(b, t)
	case *arrow.MapType:
		return appendMap(b, t)
	case *arrow.SparseUnionType:
		return appendUnion(b, "sparse_union", t)
	case *arrow.DenseUnionType:
		return appendUnion(b, "dense_union", t)
	case *arrow.DictionaryType:
		return appendDictionary(b, t)
	case *arrow.RunEndEncodedType:
		return appendPair(b, "run_end_encoded<run_ends:", t.RunEnds(), ",values:", t.Encoded())
	}
	return nil, &UnsupportedTypeError{Type: t}
}

// plain returns the token of a type without parameters, or "".
func plain(t arrow.DataType) string {
	switch t.(type) {
	case *arrow.NullType:
		return "null"
	case *arrow.BooleanType:
		return "bool"
	case *arrow.Int8Type:
		return "int8"
	case *arrow.Int16Type:
		return "int16"
	case *arrow.Int32Type:
		return "int32"
	case *arrow.Int64Type:
		return "int64"
	case *arrow.Uint8Type:
		return "uint8"
	case *arrow.Uint16Type:
		return "uint16"
	case *arrow.Uint32Type:
		return "uint32"
	case *arrow.Uint64Type:
		return "uint64"
	case *arrow.Float16Type:
		return "float16"
	case *arrow.Float32Type:
		return "float32"
	case *arrow.Float64Type:
		return "float64"
	case *arrow.Date32Type:
		return "date32"
	case *arrow.Date64Type:
		return "date64"
	}
	return plainBytes(t)
}

// plainBytes is the half of [plain] that holds text, bytes and intervals.
func plainBytes(t arrow.DataType) string {
	switch t.(type) {
	case *arrow.StringType:
		return "utf8"
	case *arrow.LargeStringType:
		return "large_utf8"
	case *arrow.StringViewType:
		return "utf8_view"
	case *arrow.BinaryType:
		return "binary"
	case *arrow.LargeBinaryType:
		return "large_binary"
	case *arrow.BinaryViewType:
		return "binary_view"
	case *arrow.MonthIntervalType:
		return "interval_months"
	case *arrow.DayTimeIntervalType:
		return "interval_day_time"
	case *arrow.MonthDayNanoIntervalType:
		return "interval_month_day_nano"
	}
	return ""
}

// appendTemporal appends the token of a type that has a unit. Units outside
// Arrow's range, and those that a width of time cannot have, are unsupported:
// arrow-go lets a program build them, and no reader would accept them.
func appendTemporal(b []byte, t arrow.DataType) ([]byte, error) {
	name, zone := "", ""
	low, high := arrow.Second, arrow.Nanosecond
	switch t := t.(type) {
	case *arrow.Time32Type:
		name, high = "time32", arrow.Millisecond
	case *arrow.Time64Type:
		name, low = "time64", arrow.Microsecond
	case *arrow.DurationType:
		name = "duration"
	case *arrow.TimestampType:
		name = "timestamp"
		if t.TimeZone != "" {
			zone = ",tz=" + t.TimeZone
		}
	}
	unit := t.(arrow.TemporalWithUnit).TimeUnit()
	if unit < low || unit > high {
		return nil, &UnsupportedTypeError{Type: t}
	}
	return fmt.Appendf(b, "%s(%s%s)", name, unit, zone), nil
}

// appendExtension appends the token of the extension t, which a field's
// metadata or t itself names.
func appendExtension(b []byte, t arrow.DataType, name string, storage arrow.DataType) ([]byte, error) {
	if name == "" || storage == nil {
		return nil, &UnsupportedTypeError{Type: t}
	}
	b, err := appendType(append(append(append(b, "extension("...), name...), ")<"...), storage)
	if err != nil {
		return nil, err
	}
	return append(b, '>'), nil
}

func appendList(b []byte, kind string, item arrow.Field) ([]byte, error) {
	b, err := appendChild(append(append(b, kind...), '<'), "item", item)
	if err != nil {
		return nil, err
	}
	return append(b, '>'), nil
}

func appendStruct(b []byte, t *arrow.StructType) ([]byte, error) {
	b = append(b, "struct<"...)
	for i, f := range t.Fields() {
		var err error
		if b, err = appendChild(appendIf(b, i > 0, ","), f.Name, f); err != nil {
			return nil, err
		}
	}
	return append(b, '>'), nil
}

func appendMap(b []byte, t *arrow.MapType) ([]byte, error) {
	b, err := appendChild(append(b, "map<"...), "key", t.KeyField())
	if err != nil {
		return nil, err
	}
	if b, err = appendChild(append(b, ','), "value", t.ItemField()); err != nil {
		return nil, err
	}
	return appendIf(append(b, '>'), t.KeysSorted, ",keys_sorted"), nil
}

func appendUnion(b []byte, kind string, t arrow.UnionType) ([]byte, error) {
	b = append(append(b, kind...), '<')
	codes := t.TypeCodes()
	for i, f := range t.Fields() {
		var err error
		b = append(strconv.AppendInt(appendIf(b, i > 0, ","), int64(codes[i]), 10), '=')
		if b, err = appendChild(b, f.Name, f); err != nil {
			return nil, err
		}
	}
	return append(b, '>'), nil
}

func appendDictionary(b []byte, t *arrow.DictionaryType) ([]byte, error) {
	b, err := appendPair(b, "dictionary<index:", t.IndexType, ",value:", t.ValueType)
	if err != nil {
		return nil, err
	}
	return appendIf(b, t.Ordered, ",ordered"), nil
}

// appendPair appends an encoding: two types that are not fields.
func appendPair(b []byte, open string, first arrow.DataType, between string, second arrow.DataType) ([]byte, error) {
	b, err := appendType(append(b, open...), first)
	if err != nil {
		return nil, err
	}
	if b, err = appendType(append(b, between...), second); err != nil {
		return nil, err
	}
	return append(b, '>'), nil
}

func appendChild(b []byte, name string, f arrow.Field) ([]byte, error) {
	b = append(appendIf(append(b, name...), f.Nullable, "?"), ':')
	return appendField(b, f)
}

func appendIf(b []byte, cond bool, s string) []byte {
	if cond {
		return append(b, s...)
	}
	return b
}
