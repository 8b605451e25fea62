package jsoncall

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/float16"
)

// supported refuses types that have no form in JSON here, when a method is
// compiled and not when it is called.
func supported(t arrow.DataType) error {
	switch t := t.(type) {
	case arrow.ExtensionType:
		return supported(t.StorageType())
	case *arrow.DictionaryType:
		if id := t.ValueType.ID(); id != arrow.STRING && id != arrow.LARGE_STRING {
			return refusef("%v: a dictionary of other values than text has no form in JSON", t)
		}
		return nil
	case *arrow.RunEndEncodedType, arrow.UnionType:
		return refusef("%v has no form in JSON", t)
	case arrow.NestedType:
		for _, f := range t.Fields() {
			if err := supported(f.Type); err != nil {
				return within(f.Name, err)
			}
		}
	}
	return nil
}

// appendField appends a value of field f.
func appendField(b array.Builder, f arrow.Field, v any) error {
	if v != nil {
		return appendValue(b, v)
	}
	if !f.Nullable {
		return refusef("null where a value is required")
	}
	b.AppendNull()
	return nil
}

// appendValue appends a value that is not null. What it appended before an
// error is of no use.
func appendValue(b array.Builder, v any) error {
	switch b := b.(type) {
	case *array.BooleanBuilder:
		on, ok := v.(bool)
		if !ok {
			return wrongKind("true or false", v)
		}
		b.Append(on)
		return nil
	case array.StringLikeBuilder:
		return appendText(v, func(s string) error { b.Append(s); return nil })
	case *array.BinaryDictionaryBuilder:
		return appendText(v, b.AppendString)
	case *array.BinaryBuilder, *array.BinaryViewBuilder, *array.FixedSizeBinaryBuilder:
		return appendBinary(b, v)
	case *array.MapBuilder:
		return appendMap(b, v)
	case array.ListLikeBuilder:
		return appendList(b, v)
	case *array.StructBuilder:
		return appendStruct(b, v)
	case *array.ExtensionBuilder:
		return appendValue(b.StorageBuilder(), v)
	case *array.NullBuilder:
		return wrongKind("null", v)
	}
	if done, err := appendInteger(b, v); done {
		return err
	}
	if done, err := appendReal(b, v); done {
		return err
	}
	if done, err := appendTemporal(b, v); done {
		return err
	}
	return refusef("%v has no form in JSON", b.Type())
}

// put appends v unless reading it failed.
func put[V, A any](appendTo func(A), v V, err error, as func(V) A) (bool, error) {
	if err == nil {
		appendTo(as(v))
	}
	return true, err
}

func appendInteger(b array.Builder, v any) (bool, error) {
	switch b := b.(type) {
	case *array.Int8Builder:
		n, err := signed(v, 8)
		return put(b.Append, n, err, func(n int64) int8 { return int8(n) })
	case *array.Int16Builder:
		n, err := signed(v, 16)
		return put(b.Append, n, err, func(n int64) int16 { return int16(n) })
	case *array.Int32Builder:
		n, err := signed(v, 32)
		return put(b.Append, n, err, func(n int64) int32 { return int32(n) })
	case *array.Int64Builder:
		n, err := signed(v, 64)
		return put(b.Append, n, err, func(n int64) int64 { return n })
	case *array.Uint8Builder:
		n, err := unsigned(v, 8)
		return put(b.Append, n, err, func(n uint64) uint8 { return uint8(n) })
	case *array.Uint16Builder:
		n, err := unsigned(v, 16)
		return put(b.Append, n, err, func(n uint64) uint16 { return uint16(n) })
	case *array.Uint32Builder:
		n, err := unsigned(v, 32)
		return put(b.Append, n, err, func(n uint64) uint32 { return uint32(n) })
	case *array.Uint64Builder:
		n, err := unsigned(v, 64)
		return put(b.Append, n, err, func(n uint64) uint64 { return n })
	}
	return false, nil
}

func appendReal(b array.Builder, v any) (bool, error) {
	switch b := b.(type) {
	case *array.Float16Builder:
		f, err := float(v, 32)
		if n := float16.New(float32(f)); err == nil && n.IsInf() && f-f == 0 {
			return true, refusef("the number is outside the range of float16")
		}
		return put(b.Append, f, err, func(f float64) float16.Num { return float16.New(float32(f)) })
	case *array.Float32Builder:
		f, err := float(v, 32)
		return put(b.Append, f, err, func(f float64) float32 { return float32(f) })
	case *array.Float64Builder:
		f, err := float(v, 64)
		return put(b.Append, f, err, func(f float64) float64 { return f })
	}
	t, ok := b.Type().(arrow.DecimalType)
	if !ok {
		return false, nil
	}
	n, err := fixedPoint(v, t)
	if err != nil {
		return true, err
	}
	switch b := b.(type) {
	case *array.Decimal32Builder:
		b.Append(decimal.Decimal32(n.Int64()))
	case *array.Decimal64Builder:
		b.Append(decimal.Decimal64(n.Int64()))
	case *array.Decimal128Builder:
		b.Append(decimal128.FromBigInt(n))
	case *array.Decimal256Builder:
		b.Append(decimal256.FromBigInt(n))
	}
	return true, nil
}

func appendTemporal(b array.Builder, v any) (bool, error) {
	switch b := b.(type) {
	case *array.TimestampBuilder:
		n, err := instant(v, b.Type().(*arrow.TimestampType))
		return put(b.Append, n, err, func(n arrow.Timestamp) arrow.Timestamp { return n })
	case *array.Date32Builder:
		n, err := day(v)
		return put(b.Append, n, err, func(n int64) arrow.Date32 { return arrow.Date32(n) })
	case *array.Date64Builder:
		n, err := day(v)
		return put(b.Append, n, err, func(n int64) arrow.Date64 { return arrow.Date64(n * 86400_000) })
	case *array.Time32Builder:
		n, err := clock(v, b.Type().(*arrow.Time32Type).Unit)
		return put(b.Append, n, err, func(n int64) arrow.Time32 { return arrow.Time32(n) })
	case *array.Time64Builder:
		n, err := clock(v, b.Type().(*arrow.Time64Type).Unit)
		return put(b.Append, n, err, func(n int64) arrow.Time64 { return arrow.Time64(n) })
	case *array.DurationBuilder:
		n, err := span(v, b.Type().(*arrow.DurationType).Unit)
		return put(b.Append, n, err, func(n arrow.Duration) arrow.Duration { return n })
	case *array.MonthIntervalBuilder:
		n, err := interval(v, 32, "months")
		return put(b.Append, n, err, func(n [3]int64) arrow.MonthInterval { return arrow.MonthInterval(n[0]) })
	case *array.DayTimeIntervalBuilder:
		n, err := interval(v, 32, "days", "milliseconds")
		return put(b.Append, n, err, func(n [3]int64) arrow.DayTimeInterval {
			return arrow.DayTimeInterval{Days: int32(n[0]), Milliseconds: int32(n[1])}
		})
	case *array.MonthDayNanoIntervalBuilder:
		n, err := interval(v, 32, "months", "days", "nanoseconds")
		return put(b.Append, n, err, func(n [3]int64) arrow.MonthDayNanoInterval {
			return arrow.MonthDayNanoInterval{Months: int32(n[0]), Days: int32(n[1]), Nanoseconds: n[2]}
		})
	}
	return false, nil
}

func appendText(v any, appendTo func(string) error) error {
	s, ok := v.(string)
	if !ok {
		return wrongKind("a string", v)
	}
	return appendTo(s)
}

func appendBinary(b array.Builder, v any) error {
	data, err := unbase64(v)
	if err != nil {
		return err
	}
	switch b := b.(type) {
	case *array.BinaryBuilder:
		b.Append(data)
	case *array.BinaryViewBuilder:
		b.Append(data)
	case *array.FixedSizeBinaryBuilder:
		if want := b.Type().(*arrow.FixedSizeBinaryType).ByteWidth; len(data) != want {
			return refusef("want %d bytes, got %d", want, len(data))
		}
		b.Append(data)
	}
	return nil
}

// unbase64 reads bytes in standard or URL-safe base64, padded or not.
func unbase64(v any) ([]byte, error) {
	s, ok := v.(string)
	if !ok {
		return nil, wrongKind("a string of base64", v)
	}
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.RawURLEncoding
	}
	if len(s)%4 == 0 {
		s = strings.TrimSuffix(strings.TrimSuffix(s, "="), "=")
	}
	data, err := encoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, refusef("want a string of base64")
	}
	return data, nil
}

func appendList(b array.ListLikeBuilder, v any) error {
	items, ok := v.([]any)
	if !ok {
		return wrongKind("an array", v)
	}
	t := b.Type().(arrow.ListLikeType)
	if sized, ok := t.(*arrow.FixedSizeListType); ok && len(items) != int(sized.Len()) {
		return refusef("want %d elements, got %d", sized.Len(), len(items))
	}
	switch b := b.(type) {
	case *array.FixedSizeListBuilder: // its AppendWithSize is that of a list with offsets
		b.Append(true)
	case array.VarLenListLikeBuilder:
		b.AppendWithSize(true, len(items))
	}
	field := t.ElemField()
	for i, item := range items {
		if err := appendField(b.ValueBuilder(), field, item); err != nil {
			return withinItem(i, err)
		}
	}
	return nil
}

// appendMap takes an object, or an array of pairs.
func appendMap(b *array.MapBuilder, v any) error {
	b.Append(true)
	t := b.Type().(*arrow.MapType)
	entry := func(key, item any) error {
		if err := appendField(b.KeyBuilder(), arrow.Field{Type: t.KeyType()}, key); err != nil {
			return err
		}
		return appendField(b.ItemBuilder(), t.ItemField(), item)
	}
	switch v := v.(type) {
	case *object:
		for i, name := range v.names {
			if err := entry(name, v.values[i]); err != nil {
				return withinItem(i, err)
			}
		}
		return nil
	case []any:
		for i, item := range v {
			pair, ok := item.([]any)
			if !ok || len(pair) != 2 {
				return withinItem(i, refusef("want a [key, value] pair"))
			}
			if err := entry(pair[0], pair[1]); err != nil {
				return withinItem(i, err)
			}
		}
		return nil
	}
	return wrongKind("an object, or an array of [key, value] pairs", v)
}

func appendStruct(b *array.StructBuilder, v any) error {
	o, ok := v.(*object)
	if !ok {
		return wrongKind("an object", v)
	}
	b.Append(true)
	var names []string
	for i, f := range b.Type().(*arrow.StructType).Fields() {
		names = append(names, f.Name)
		member, ok := o.get(f.Name)
		if !ok {
			return within(f.Name, refusef("missing"))
		}
		if err := appendField(b.FieldBuilder(i), f, member); err != nil {
			return within(f.Name, err)
		}
	}
	return onlyNames(o, names)
}

// onlyNames refuses members that have none of the names.
func onlyNames(o *object, names []string) error {
	for _, name := range o.names {
		if slices.Contains(names, name) {
			continue
		}
		if len(names) == 0 {
			return refusef("unknown name %.64q: there are none", name)
		}
		return refusef("unknown name %.64q: want %s", name, strings.Join(names, ", "))
	}
	return nil
}
