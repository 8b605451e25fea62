package codec

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unsafe"
)

// parseDefault compiles the text of default= into a function that writes the
// value. Text that is no value of t is an error. A slice or map can only be
// empty: "", "[]" or "{}". A pointer is nil with "null", and else points to a
// value of its own.
func parseDefault(t reflect.Type, text string) (func(unsafe.Pointer), error) {
	value, err := defaultValue(t, text)
	if err != nil {
		return nil, fmt.Errorf("default=%s: %w", text, err)
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		// Each value is its own: a handler may change it.
		return func(p unsafe.Pointer) {
			if v, err := defaultValue(t, text); err == nil {
				reflect.NewAt(t, p).Elem().Set(v)
			}
		}, nil
	}
	return func(p unsafe.Pointer) { reflect.NewAt(t, p).Elem().Set(value) }, nil
}

func defaultValue(t reflect.Type, text string) (reflect.Value, error) {
	out := reflect.New(t)
	v := out.Elem()
	if isNilable(t) || isPointer(t) {
		if text == "null" {
			return v, nil
		}
	}
	if isEnum(t) {
		return enumDefault(v, text)
	}
	if t == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		v.SetInt(int64(d))
		return v, err
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](out); ok {
		return v, u.UnmarshalText([]byte(text))
	}
	switch t.Kind() {
	case reflect.String:
		v.SetString(text)
		return v, nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return v, err
	case reflect.Pointer:
		elem, err := defaultValue(t.Elem(), text)
		if err == nil {
			v.Set(reflect.New(t.Elem()))
			v.Elem().Set(elem)
		}
		return v, err
	case reflect.Slice, reflect.Map:
		return emptyDefault(v, text)
	}
	return v, numberDefault(v, text)
}

func enumDefault(v reflect.Value, text string) (reflect.Value, error) {
	for i, name := range v.Addr().Interface().(Enum).EnumNames() {
		switch {
		case name != text:
		case v.Kind() == reflect.String:
			v.SetString(name)
			return v, nil
		case v.CanInt():
			v.SetInt(int64(i))
			return v, nil
		default:
			v.SetUint(uint64(i))
			return v, nil
		}
	}
	return v, fmt.Errorf("not a name of %v", v.Type())
}

func emptyDefault(v reflect.Value, text string) (reflect.Value, error) {
	if v.Kind() == reflect.Slice && isOctets(v.Type()) {
		v.SetBytes([]byte(text))
		return v, nil
	}
	if text != "" && text != "[]" && text != "{}" {
		return v, fmt.Errorf("the default of %v can only be empty", v.Type())
	}
	if v.Kind() == reflect.Map {
		v.Set(reflect.MakeMap(v.Type()))
	} else {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
	return v, nil
}

func numberDefault(v reflect.Value, text string) error {
	bits := int(v.Type().Size()) * 8
	switch {
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, bits)
		v.SetInt(n)
		return err
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, bits)
		v.SetUint(n)
		return err
	case v.CanFloat():
		n, err := strconv.ParseFloat(text, bits)
		v.SetFloat(n)
		return err
	}
	return fmt.Errorf("%v cannot have a default", v.Type())
}
