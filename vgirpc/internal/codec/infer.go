package codec

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// infer is the Arrow type of a Go type that no tag gives. top says that the
// type is a field of the plan's own type, or what such a field points to.
func (c *compiler) infer(t reflect.Type, top bool) (arrow.DataType, error) {
	if c.level == state {
		switch {
		case marshals(t):
			return arrow.BinaryTypes.Binary, nil
		case t == reflect.TypeFor[time.Duration]():
			return arrow.FixedWidthTypes.Duration_ns, nil
		}
	}
	if s := specials[t]; s != nil {
		if s.arrow == nil {
			return nil, fmt.Errorf("%v needs type=%s", t, s.takes)
		}
		return s.arrow, nil
	}
	if isEnum(t) {
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}, nil
	}
	switch t.Kind() {
	case reflect.Slice:
		return c.inferSlice(t)
	case reflect.Array:
		return c.inferArray(t)
	case reflect.Map:
		return c.inferMap(t)
	case reflect.Struct:
		if top && c.level == Params {
			return arrow.BinaryTypes.Binary, nil
		}
		return c.inferStruct(t)
	}
	if a := kindTypes[t.Kind()]; a != nil {
		return a, nil
	}
	return nil, noForm(t)
}

var kindTypes = map[reflect.Kind]arrow.DataType{
	reflect.Bool: arrow.FixedWidthTypes.Boolean, reflect.String: arrow.BinaryTypes.String,
	reflect.Int: arrow.PrimitiveTypes.Int64, reflect.Uint: arrow.PrimitiveTypes.Uint64,
	reflect.Int8: arrow.PrimitiveTypes.Int8, reflect.Uint8: arrow.PrimitiveTypes.Uint8,
	reflect.Int16: arrow.PrimitiveTypes.Int16, reflect.Uint16: arrow.PrimitiveTypes.Uint16,
	reflect.Int32: arrow.PrimitiveTypes.Int32, reflect.Uint32: arrow.PrimitiveTypes.Uint32,
	reflect.Int64: arrow.PrimitiveTypes.Int64, reflect.Uint64: arrow.PrimitiveTypes.Uint64,
	reflect.Float32: arrow.PrimitiveTypes.Float32, reflect.Float64: arrow.PrimitiveTypes.Float64,
}

// noForm says what to do about a type without an Arrow form.
func noForm(t reflect.Type) error {
	switch t.Kind() {
	case reflect.Interface:
		return fmt.Errorf("interface %v has no Arrow form: use a concrete type", t)
	case reflect.Pointer:
		return fmt.Errorf("%v: a pointer to a pointer has no Arrow form", t)
	}
	return fmt.Errorf("%v has no Arrow form: use another type, or leave the field out with `vgi:\"-\"`", t)
}

func (c *compiler) inferSlice(t reflect.Type) (arrow.DataType, error) {
	if isOctets(t) {
		return arrow.BinaryTypes.Binary, nil
	}
	if isPairs(t) {
		key, _ := t.Elem().FieldByName("Key")
		value, _ := t.Elem().FieldByName("Value")
		return c.inferEntries(key.Type, value.Type)
	}
	elem, err := c.infer(pointee(t.Elem()), false)
	if err != nil {
		return nil, err
	}
	return arrow.ListOf(elem), nil
}

func (c *compiler) inferArray(t reflect.Type) (arrow.DataType, error) {
	if t.Len() == 0 {
		return nil, fmt.Errorf("%v has no Arrow form: an array needs a length", t)
	}
	if isOctets(t) {
		return &arrow.FixedSizeBinaryType{ByteWidth: t.Len()}, nil
	}
	elem, err := c.infer(pointee(t.Elem()), false)
	if err != nil {
		return nil, err
	}
	return arrow.FixedSizeListOf(int32(t.Len()), elem), nil
}

func (c *compiler) inferMap(t reflect.Type) (arrow.DataType, error) {
	if !isSet(t) {
		return c.inferEntries(t.Key(), t.Elem())
	}
	elem, err := c.infer(t.Key(), false)
	if err != nil {
		return nil, err
	}
	return arrow.ListOf(elem), nil
}

func (c *compiler) inferEntries(key, value reflect.Type) (arrow.DataType, error) {
	if isPointer(key) {
		return nil, errors.New("the key of a map cannot be a pointer: it is never null")
	}
	k, err := c.infer(key, false)
	if err != nil {
		return nil, err
	}
	v, err := c.infer(pointee(value), false)
	if err != nil {
		return nil, err
	}
	return arrow.MapOf(k, v), nil
}

func (c *compiler) inferStruct(t reflect.Type) (arrow.DataType, error) {
	if err := c.enter(t); err != nil {
		return nil, err
	}
	defer c.leave()
	fields, err := c.fields(t, false)
	if err != nil {
		return nil, err
	}
	columns := make([]arrow.Field, len(fields))
	for i := range fields {
		columns[i] = fields[i].arrow
	}
	return arrow.StructOf(columns...), nil
}
