package values

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// TypeName is the name of a type for people: its token (WIRE_PROTOCOL section
// 14), or Arrow's name where it has none.
func TypeName(t arrow.DataType) string {
	if token, err := typetoken.Of(t); err == nil {
		return token
	}
	return t.String()
}

// Record makes rows of objects. A member that a nullable field lacks is null.
// Every object may have the members of the schema and no other. The memory
// belongs to the garbage collector.
func Record(schema *arrow.Schema, rows []*Object) (arrow.RecordBatch, error) {
	for i, row := range rows {
		if err := onlyFields(row, schema.Fields()); err != nil {
			return nil, inRow(len(rows), i, err)
		}
	}
	columns := make([]arrow.Array, schema.NumFields())
	for i, f := range schema.Fields() {
		items := make([]any, len(rows))
		for j, row := range rows {
			v, ok := row.Values[f.Name]
			if !ok && !f.Nullable {
				return nil, inRow(len(rows), j, within(f.Name, refusef("missing: it is required, of type %s", TypeName(f.Type))))
			}
			shaped, err := shapeField(f, v)
			if err != nil {
				return nil, inRow(len(rows), j, within(f.Name, err))
			}
			items[j] = shaped
		}
		var err error
		if columns[i], err = convert(f, items); err != nil {
			return nil, err
		}
	}
	return array.NewRecordBatch(schema, columns, int64(len(rows))), nil
}

// inRow names the row, counted from 1, where there are several.
func inRow(rows, i int, err error) error {
	if rows == 1 {
		return err
	}
	return within("row "+strconv.Itoa(i+1), err)
}

// onlyFields refuses members that no field has.
func onlyFields(o *Object, fields []arrow.Field) error {
	for _, name := range o.Names {
		if slices.ContainsFunc(fields, func(f arrow.Field) bool { return f.Name == name }) {
			continue
		}
		if len(fields) == 0 {
			return refusef("unknown name %q: there are none", name)
		}
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.Name
		}
		return refusef("unknown name %q%s: want %s", name, DidYouMean(name, names), strings.Join(names, ", "))
	}
	return nil
}

// convert makes a column of values that have the shape of its type.
func convert(f arrow.Field, items []any) (arrow.Array, error) {
	text, err := json.Marshal(items)
	if err != nil {
		return nil, within(f.Name, refusef("%v", err))
	}
	column, _, err := array.FromJSON(memory.DefaultAllocator, f.Type, bytes.NewReader(text))
	if err == nil {
		return column, nil
	}
	if len(items) > 1 { // find the one
		for i := range items {
			if _, err := convert(f, items[i:i+1]); err != nil {
				return nil, inRow(len(items), i, err)
			}
		}
	}
	var v any
	if len(items) > 0 {
		v = items[0]
	}
	return nil, within(f.Name, refusef("%s is not of type %s", describe(v), TypeName(f.Type)))
}

// shapeField checks a value of a field, and gives it the form in which Arrow
// takes it.
func shapeField(f arrow.Field, v any) (any, error) {
	if v == nil {
		if !f.Nullable && f.Type.ID() != arrow.NULL {
			return nil, refusef("null is not of type %s: it is required", TypeName(f.Type))
		}
		return nil, nil //nolint:nilnil // JSON's null
	}
	return shape(f.Type, v)
}

func shape(t arrow.DataType, v any) (any, error) {
	wrong := refusef("%s is not of type %s", describe(v), TypeName(t))
	switch t := t.(type) {
	case arrow.ExtensionType:
		return shape(t.StorageType(), v)
	case *arrow.DictionaryType:
		return shape(t.ValueType, v)
	case *arrow.StructType:
		return shapeStruct(t, v, wrong)
	case *arrow.MapType:
		return shapeMap(t, v, wrong)
	case arrow.ListLikeType:
		return shapeList(t, v, wrong)
	case *arrow.BooleanType:
		if _, ok := v.(bool); !ok {
			return nil, wrong
		}
		return v, nil
	case arrow.DecimalType:
		return shapeDecimal(t, v, wrong)
	}
	return shapeScalar(t, v, wrong)
}

func shapeScalar(t arrow.DataType, v any, wrong *Error) (any, error) {
	switch id := t.ID(); {
	case id == arrow.BINARY || id == arrow.LARGE_BINARY || id == arrow.FIXED_SIZE_BINARY || id == arrow.BINARY_VIEW:
		return shapeBinary(t, v)
	case arrow.IsInteger(id):
		if text, ok := number(v); !ok || !isInteger(text, t) {
			return nil, wrong
		}
	case arrow.IsFloating(id):
		if text, ok := number(v); !ok || !isFloat(text, t) {
			return nil, wrong
		}
	case id == arrow.INTERVAL_MONTHS || id == arrow.INTERVAL_DAY_TIME || id == arrow.INTERVAL_MONTH_DAY_NANO:
		if _, ok := v.(*Object); !ok {
			return nil, wrong
		}
	case id == arrow.DURATION:
		if _, ok := v.(string); !ok {
			return nil, refusef("%s is not of type %s: want a string such as \"90.5s\"", describe(v), TypeName(t))
		}
	default: // text, dates and times
		if _, ok := v.(string); !ok {
			return nil, wrong
		}
	}
	return v, nil
}

// number is the text of a number, which may stand in a string.
func number(v any) (string, bool) {
	switch v := v.(type) {
	case json.Number:
		return v.String(), true
	case string:
		return v, v != ""
	}
	return "", false
}

func isInteger(text string, t arrow.DataType) bool {
	width := t.(arrow.FixedWidthDataType).BitWidth()
	if arrow.IsUnsignedInteger(t.ID()) {
		_, err := strconv.ParseUint(text, 10, width)
		return err == nil
	}
	_, err := strconv.ParseInt(text, 10, width)
	return err == nil
}

func isFloat(text string, t arrow.DataType) bool {
	f, err := strconv.ParseFloat(text, max(32, t.(arrow.FixedWidthDataType).BitWidth()))
	return err == nil && (t.ID() != arrow.FLOAT16 || math.Abs(f) <= 65504 || math.IsInf(f, 0))
}

// shapeDecimal refuses digits that Arrow would round away.
func shapeDecimal(t arrow.DecimalType, v any, wrong *Error) (any, error) {
	text, ok := number(v)
	if !ok {
		return nil, wrong
	}
	mantissa, _, exponent := strings.Cut(strings.ToLower(text), "e")
	_, fraction, _ := strings.Cut(mantissa, ".")
	if exponent || strings.Trim(mantissa, "+-.0123456789") != "" {
		return nil, refusef("%s is not of type %s: want digits such as 12.50", describe(v), TypeName(t))
	}
	if digits := len(strings.TrimRight(fraction, "0")); digits > int(t.GetScale()) {
		return nil, refusef("%s has %d digits behind the point: a %s has %d", describe(v), digits, TypeName(t), t.GetScale())
	}
	return text, nil
}

func shapeBinary(t arrow.DataType, v any) (any, error) {
	text, ok := v.(string)
	if !ok {
		hint := ""
		if _, ok := v.(*Object); ok {
			hint = ", and its description does not say which fields are packed into it (see --pack)"
		}
		return nil, refusef("%s is not of type %s: want a string of base64%s", describe(v), TypeName(t), hint)
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, refusef("%s is not base64, as a %s is written", describe(v), TypeName(t))
	}
	if fixed, ok := t.(*arrow.FixedSizeBinaryType); ok && len(data) != fixed.ByteWidth {
		return nil, refusef("%d bytes are not of type %s", len(data), TypeName(t))
	}
	return text, nil
}

func shapeList(t arrow.ListLikeType, v any, wrong *Error) (any, error) {
	items, ok := v.([]any)
	if !ok {
		return nil, wrong
	}
	if fixed, ok := t.(*arrow.FixedSizeListType); ok && len(items) != int(fixed.Len()) {
		return nil, refusef("%d items are not of type %s", len(items), TypeName(t))
	}
	out := make([]any, len(items))
	for i, item := range items {
		var err error
		if out[i], err = shapeField(t.ElemField(), item); err != nil {
			return nil, within("["+strconv.Itoa(i)+"]", err)
		}
	}
	return out, nil
}

func shapeStruct(t *arrow.StructType, v any, wrong *Error) (any, error) {
	o, ok := v.(*Object)
	if !ok {
		return nil, wrong
	}
	if err := onlyFields(o, t.Fields()); err != nil {
		return nil, err
	}
	out := NewObject()
	for _, f := range t.Fields() {
		member, ok := o.Values[f.Name]
		if !ok && !f.Nullable {
			return nil, within(f.Name, refusef("missing: it is required, of type %s", TypeName(f.Type)))
		}
		shaped, err := shapeField(f, member)
		if err != nil {
			return nil, within(f.Name, err)
		}
		out.Set(f.Name, shaped)
	}
	return out, nil
}

// shapeMap takes an object, or an array of pairs, and gives Arrow's array of
// entries.
func shapeMap(t *arrow.MapType, v any, wrong *Error) (any, error) {
	var pairs [][2]any
	switch v := v.(type) {
	case *Object:
		for _, name := range v.Names {
			pairs = append(pairs, [2]any{name, v.Values[name]})
		}
	case []any:
		for i, item := range v {
			pair, ok := item.([]any)
			if !ok || len(pair) != 2 {
				return nil, within("["+strconv.Itoa(i)+"]", refusef("%s is not a [key, value] pair", describe(item)))
			}
			pairs = append(pairs, [2]any(pair))
		}
	default:
		return nil, wrong
	}
	out := make([]any, len(pairs))
	for i, pair := range pairs {
		key, err := shapeField(arrow.Field{Type: t.KeyType()}, pair[0])
		if err != nil {
			return nil, within("["+strconv.Itoa(i)+"]", err)
		}
		item, err := shapeField(t.ItemField(), pair[1])
		if err != nil {
			return nil, within("["+describe(pair[0])+"]", err)
		}
		out[i] = map[string]any{"key": key, "value": item}
	}
	return out, nil
}

// FromText is the JSON value that plain text stands for in a field: text itself
// for strings, dates and the like, JSON for lists, structs and maps. "null" is
// null for a nullable field that is not a string.
func FromText(f arrow.Field, text string) (any, error) {
	t := f.Type
	for {
		if d, ok := t.(*arrow.DictionaryType); ok {
			t = d.ValueType
		} else if e, ok := t.(arrow.ExtensionType); ok {
			t = e.StorageType()
		} else {
			break
		}
	}
	switch id := t.ID(); {
	case id == arrow.STRING || id == arrow.LARGE_STRING || id == arrow.STRING_VIEW:
		return text, nil
	case text == "null" && f.Nullable:
		return nil, nil //nolint:nilnil // JSON's null
	case arrow.IsNested(id), arrow.IsInteger(id), id == arrow.BOOL, id == arrow.NULL,
		id == arrow.INTERVAL_MONTHS, id == arrow.INTERVAL_DAY_TIME, id == arrow.INTERVAL_MONTH_DAY_NANO:
		if v, err := Parse([]byte(text)); err == nil {
			return v, nil
		} else if arrow.IsNested(id) {
			return nil, refusef("%s is not of type %s: want JSON: %v", describe(text), TypeName(f.Type), err)
		}
	}
	return text, nil
}
