package codec

import (
	"encoding"
	"errors"
	"reflect"
	"unsafe"
)

// CompileState compiles the struct type of a stream's state, for Marshal and
// Unmarshal. A stored state must come back as it was: slices and maps keep
// being nil, durations keep their nanoseconds, and a type that implements
// encoding.BinaryMarshaler and encoding.BinaryUnmarshaler, time.Time among
// them, is stored through them. A field that would be lost, an unexported one
// among them, is a [StateError], unless its tag is `vgi:"-"`.
func CompileState(t reflect.Type) (*Plan, error) {
	p, err := compilePlan(t, state)
	if compile, ok := errors.AsType[*CompileError](err); ok {
		return nil, &StateError{Type: compile.Type, Field: compile.Field, Reason: compile.Reason}
	}
	return p, err
}

// marshals reports whether a stream state may store t through its own methods.
func marshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[encoding.BinaryMarshaler]()) && p.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]())
}

// marshaled packs a value through its own methods.
type marshaled struct{ typ reflect.Type }

func (m marshaled) pack(_ *Encoder, p unsafe.Pointer) ([]byte, error) {
	data, err := reflect.NewAt(m.typ, p).Interface().(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, valueErrorf(-1, "%v: %v", m.typ, err)
	}
	return data, nil
}

func (m marshaled) unpack(data []byte, p unsafe.Pointer) error {
	// The method may keep what it is given, and data belongs to a batch.
	data = append(make([]byte, 0, len(data)), data...)
	if err := reflect.NewAt(m.typ, p).Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(data); err != nil {
		return valueErrorf(-1, "%v: %v", m.typ, err)
	}
	return nil
}
