package arrowjson

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// ReadOptions say what is read. The zero value reads what [WriteOptions] writes
// with ShortInf off, and what means the same to a program.
type ReadOptions struct {
	// Lenient reads what people write as well: floats in strings ("1.5", "inf"),
	// base64 over several lines, times without seconds or zone (UTC then), a
	// space for the T; and a member of a struct that is not there is null.
	Lenient bool
	// NameKeys has errors name an entry of a map by its key, not by its position:
	// for those who may be shown what they wrote.
	NameKeys bool
}

// Supported refuses types that have no form in JSON that a program can rely on:
// unions, run-end encodings, and dictionaries of other values than text.
// [WriteOptions.Append] writes them all the same, for people.
func Supported(t arrow.DataType) error {
	switch t := t.(type) {
	case arrow.ExtensionType:
		return Supported(t.StorageType())
	case *arrow.DictionaryType:
		if id := t.ValueType.ID(); id != arrow.STRING && id != arrow.LARGE_STRING {
			return valuef("%v: a dictionary of other values than text has no form in JSON", t)
		}
		return nil
	case *arrow.RunEndEncodedType, arrow.UnionType:
		return valuef("%v has no form in JSON", t)
	case arrow.NestedType:
		for _, f := range t.Fields() {
			if err := Supported(f.Type); err != nil {
				return Within(f.Name, err)
			}
		}
	}
	return nil
}

// Append appends a value of field f, as [Parse] returns them, to a builder of
// the field's type. The error is an [*Error]; what was appended before it is of
// no use.
func (o ReadOptions) Append(b array.Builder, f arrow.Field, v any) error {
	return o.appendField(b, f.Type, f.Nullable, v)
}

func (o ReadOptions) appendField(b array.Builder, t arrow.DataType, nullable bool, v any) error {
	if v == nil {
		if !nullable && t.ID() != arrow.NULL {
			e := refusef(KindNull, "null where a value is required")
			e.Type = t
			return e
		}
		b.AppendNull()
		return nil
	}
	return o.appendValue(b, t, v)
}

// appendValue appends a value that is not null. An error has the innermost type
// and its value.
func (o ReadOptions) appendValue(b array.Builder, t arrow.DataType, v any) error {
	err := o.convert(b, t, v)
	if e, ok := err.(*Error); ok && e.Type == nil { //nolint:errorlint // by identity: it was just made
		e.Type = t
		if e.Value == nil {
			e.Value = v
		}
	}
	return err
}

func (o ReadOptions) convert(b array.Builder, t arrow.DataType, v any) error {
	switch b := b.(type) {
	case *array.BooleanBuilder:
		on, ok := v.(bool)
		if !ok {
			return WrongKind("true or false", v)
		}
		b.Append(on)
		return nil
	case array.StringLikeBuilder:
		text, err := stringOf(v)
		if err == nil {
			b.Append(text)
		}
		return err
	case array.DictionaryBuilder:
		return o.appendWord(b, t.(*arrow.DictionaryType).ValueType, v)
	case *array.BinaryBuilder, *array.BinaryViewBuilder, *array.FixedSizeBinaryBuilder:
		return o.appendBinary(b, t, v)
	case *array.MapBuilder:
		return o.appendMap(b, t.(*arrow.MapType), v)
	case array.ListLikeBuilder:
		return o.appendList(b, t.(arrow.ListLikeType), v)
	case *array.StructBuilder:
		return o.appendStruct(b, t.(*arrow.StructType), v)
	case interface{ StorageBuilder() array.Builder }: // some types have builders of their own
		return o.appendValue(b.StorageBuilder(), t.(arrow.ExtensionType).StorageType(), v)
	case *array.RunEndEncodedBuilder:
		b.Append(1)
		return o.appendValue(b.ValueBuilder(), t.(*arrow.RunEndEncodedType).Encoded(), v)
	case *array.NullBuilder:
		return WrongKind("null", v)
	}
	if done, err := appendInteger(b, v); done {
		return err
	}
	if done, err := o.appendReal(b, t, v); done {
		return err
	}
	if done, err := o.appendTemporal(b, t, v); done {
		return err
	}
	return valuef("%v has no form in JSON", t)
}

// put appends v unless reading it failed.
func put[V, A any](appendTo func(A), v V, err error, as func(V) A) (bool, error) {
	if err == nil {
		appendTo(as(v))
	}
	return true, err
}

func same[V any](v V) V { return v }

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
		return put(b.Append, n, err, same[int64])
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
		return put(b.Append, n, err, same[uint64])
	}
	return false, nil
}

func (o ReadOptions) appendReal(b array.Builder, t arrow.DataType, v any) (bool, error) {
	switch b := b.(type) {
	case *array.Float16Builder:
		f, err := o.float(v, 32)
		if n := float16.New(float32(f)); err == nil && n.IsInf() && f-f == 0 {
			return true, valuef("the number is outside the range of float16")
		}
		return put(b.Append, f, err, func(f float64) float16.Num { return float16.New(float32(f)) })
	case *array.Float32Builder:
		f, err := o.float(v, 32)
		return put(b.Append, f, err, func(f float64) float32 { return float32(f) })
	case *array.Float64Builder:
		f, err := o.float(v, 64)
		return put(b.Append, f, err, same[float64])
	}
	fixed, ok := t.(arrow.DecimalType)
	if !ok {
		return false, nil
	}
	n, err := fixedPoint(v, fixed)
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

func (o ReadOptions) appendTemporal(b array.Builder, t arrow.DataType, v any) (bool, error) {
	switch b := b.(type) {
	case *array.TimestampBuilder:
		n, err := o.instant(v, t.(*arrow.TimestampType))
		return put(b.Append, n, err, same[arrow.Timestamp])
	case *array.Date32Builder:
		n, err := day32(v)
		return put(b.Append, n, err, same[arrow.Date32])
	case *array.Date64Builder:
		n, err := day64(v)
		return put(b.Append, n, err, same[arrow.Date64])
	case *array.Time32Builder:
		n, err := clock(v, t.(*arrow.Time32Type).Unit)
		return put(b.Append, n, err, func(n int64) arrow.Time32 { return arrow.Time32(n) })
	case *array.Time64Builder:
		n, err := clock(v, t.(*arrow.Time64Type).Unit)
		return put(b.Append, n, err, func(n int64) arrow.Time64 { return arrow.Time64(n) })
	case *array.DurationBuilder:
		n, err := span(v, t.(*arrow.DurationType).Unit)
		return put(b.Append, n, err, same[arrow.Duration])
	case *array.MonthIntervalBuilder:
		n, err := interval(v, "months")
		return put(b.Append, n, err, func(n [3]int64) arrow.MonthInterval { return arrow.MonthInterval(n[0]) })
	case *array.DayTimeIntervalBuilder:
		n, err := interval(v, "days", "milliseconds")
		return put(b.Append, n, err, func(n [3]int64) arrow.DayTimeInterval {
			return arrow.DayTimeInterval{Days: int32(n[0]), Milliseconds: int32(n[1])}
		})
	case *array.MonthDayNanoIntervalBuilder:
		n, err := interval(v, "months", "days", "nanoseconds")
		return put(b.Append, n, err, func(n [3]int64) arrow.MonthDayNanoInterval {
			return arrow.MonthDayNanoInterval{Months: int32(n[0]), Days: int32(n[1]), Nanoseconds: n[2]}
		})
	}
	return false, nil
}

func stringOf(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", WrongKind("a string", v)
	}
	return s, nil
}

// appendWord appends a value of a dictionary.
func (o ReadOptions) appendWord(b array.DictionaryBuilder, t arrow.DataType, v any) error {
	if text, ok := b.(*array.BinaryDictionaryBuilder); ok && (t.ID() == arrow.STRING || t.ID() == arrow.LARGE_STRING) {
		s, err := stringOf(v)
		if err != nil {
			return err
		}
		return text.AppendString(s)
	}
	word := array.NewBuilder(memory.DefaultAllocator, t)
	if err := o.appendValue(word, t, v); err != nil {
		return err
	}
	if err := b.AppendArray(word.NewArray()); err != nil {
		return valuef("%v has no form in JSON: %v", b.Type(), err)
	}
	return nil
}

func (o ReadOptions) appendBinary(b array.Builder, t arrow.DataType, v any) error {
	data, err := o.unbase64(v)
	if err != nil {
		return err
	}
	switch b := b.(type) {
	case *array.BinaryBuilder:
		b.Append(data)
	case *array.BinaryViewBuilder:
		b.Append(data)
	case *array.FixedSizeBinaryBuilder:
		if want := t.(*arrow.FixedSizeBinaryType).ByteWidth; len(data) != want {
			return sizef(len(data), "want %d bytes, got %d", want)
		}
		b.Append(data)
	}
	return nil
}

func sizef(have int, format string, want int) error {
	e := refusef(KindSize, format, want, have)
	e.Have = have
	return e
}

// unbase64 reads bytes in standard or URL-safe base64, padded or not.
func (o ReadOptions) unbase64(v any) ([]byte, error) {
	s, ok := v.(string)
	if !ok {
		return nil, WrongKind("a string of base64", v)
	}
	if o.Lenient && strings.ContainsAny(s, "\r\n") {
		s = strings.NewReplacer("\r", "", "\n", "").Replace(s)
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
		return nil, refusef(KindBase64, "want a string of base64")
	}
	return data, nil
}

func (o ReadOptions) appendList(b array.ListLikeBuilder, t arrow.ListLikeType, v any) error {
	items, ok := v.([]any)
	if !ok {
		return WrongKind("an array", v)
	}
	if sized, ok := t.(*arrow.FixedSizeListType); ok && len(items) != int(sized.Len()) {
		return sizef(len(items), "want %d elements, got %d", int(sized.Len()))
	}
	switch b := b.(type) {
	case *array.FixedSizeListBuilder: // its AppendWithSize is that of a list with offsets
		b.Append(true)
	case array.VarLenListLikeBuilder:
		b.AppendWithSize(true, len(items))
	}
	field, values := t.ElemField(), b.ValueBuilder()
	for i, item := range items {
		if err := o.Append(values, field, item); err != nil {
			return withinItem(i, err)
		}
	}
	return nil
}

// appendMap takes an object, or an array of pairs.
func (o ReadOptions) appendMap(b *array.MapBuilder, t *arrow.MapType, v any) error {
	b.Append(true)
	item := t.ItemField()
	entry := func(i int, key, value any) error {
		if err := o.appendField(b.KeyBuilder(), t.KeyType(), false, key); err != nil {
			return withinItem(i, err)
		}
		err := o.Append(b.ItemBuilder(), item, value)
		if text, ok := numberText(key); ok && o.NameKeys && err != nil {
			return Within(fmt.Sprintf("[%.64q]", text), err)
		}
		return withinItem(i, err)
	}
	switch v := v.(type) {
	case *Object:
		for i, name := range v.names {
			if err := entry(i, name, v.values[i]); err != nil {
				return err
			}
		}
		return nil
	case []any:
		for i, item := range v {
			pair, ok := item.([]any)
			if !ok || len(pair) != 2 {
				e := refusef(KindPair, "want a [key, value] pair")
				e.Type, e.Value = t, item
				return withinItem(i, e)
			}
			if err := entry(i, pair[0], pair[1]); err != nil {
				return err
			}
		}
		return nil
	}
	return WrongKind("an object, or an array of [key, value] pairs", v)
}

func (o ReadOptions) appendStruct(b *array.StructBuilder, t *arrow.StructType, v any) error {
	members, ok := v.(*Object)
	if !ok {
		return WrongKind("an object", v)
	}
	if err := members.Only(t.NumFields(), func(i int) string { return t.Field(i).Name }); err != nil {
		return err
	}
	b.Append(true)
	for i := range t.NumFields() {
		f := t.Field(i)
		member, ok := members.Get(f.Name)
		if !ok && (!o.Lenient || !f.Nullable) {
			e := refusef(KindMissing, "missing")
			e.Type = f.Type
			return Within(f.Name, e)
		}
		if err := o.Append(b.FieldBuilder(i), f, member); err != nil {
			return Within(f.Name, err)
		}
	}
	return nil
}
