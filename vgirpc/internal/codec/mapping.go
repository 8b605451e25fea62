package codec

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"sort"
	"time"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/vgirpc/vgirpc-go/wire"
)

// mapping maps a Go map to map<…>, or a map[K]struct{} to a list, by way of a
// slice of its entries. Reflection is unavoidable here: maps have no layout.
type mapping struct {
	typ     reflect.Type
	entries reflect.Type // slice of struct{ Key K; Value V }, or of K for a set
	size    uintptr      // of an entry
	value   uintptr      // offset of Value in it
	set     bool
	list    codec // of entries
	less    func(a, b unsafe.Pointer) bool
}

// entryType is the struct that stands for an entry of a map type.
func entryType(t reflect.Type) reflect.Type {
	return reflect.StructOf([]reflect.StructField{{Name: "Key", Type: t.Key()}, {Name: "Value", Type: t.Elem()}})
}

func isSet(t reflect.Type) bool { return t.Elem() == reflect.TypeFor[struct{}]() }

func (m *mapping) traits() traits { return m.list.traits() }

func (m *mapping) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if n == 0 {
		return nil
	}
	if n > unchecked && len(c.Offsets) < n {
		return malformed("%d bytes of offsets for %d maps", len(c.Offsets), n)
	}
	slices := make([]sliceHeader, n)
	err := m.list.decode(d, c, at, n, unsafe.Pointer(unsafe.SliceData(slices)), unsafe.Sizeof(sliceHeader{}))
	if err != nil {
		return err
	}
	for i, s := range slices {
		*(*unsafe.Pointer)(add(dst, i, stride)) = m.build(s).UnsafePointer()
	}
	return nil
}

// build makes the map of some entries; of a key that comes twice the last value
// counts.
func (m *mapping) build(s sliceHeader) reflect.Value {
	out := reflect.MakeMapWithSize(m.typ, s.len)
	value := reflect.Zero(m.typ.Elem())
	for i := range s.len {
		p := add(s.data, i, m.size)
		if !m.set {
			value = reflect.NewAt(m.typ.Elem(), unsafe.Add(p, m.value)).Elem()
		}
		out.SetMapIndex(reflect.NewAt(m.typ.Key(), p).Elem(), value)
	}
	return out
}

func (m *mapping) encode(e *Encoder, c *wire.Column, s source) error {
	slices := make([]sliceHeader, max(s.n, 1))
	row := 0
	for _, r := range s.runs {
		for i := range r.n {
			if r.p != nil {
				slices[row] = m.sorted(reflect.NewAt(m.typ, unsafe.Add(add(r.p, i, s.stride), s.off)).Elem())
			}
			row++
		}
	}
	mark := len(e.runs)
	defer e.pop(mark)
	return m.list.encode(e, c, e.values(unsafe.Pointer(unsafe.SliceData(slices)), s.n, unsafe.Sizeof(sliceHeader{})))
}

// sorted copies a map's entries into a slice, in the order of the keys: the
// same map always makes the same bytes.
func (m *mapping) sorted(v reflect.Value) sliceHeader {
	n := v.Len()
	if n == 0 {
		return sliceHeader{}
	}
	out := reflect.MakeSlice(m.entries, n, n)
	base := out.UnsafePointer()
	iter := v.MapRange()
	for i := 0; i < n && iter.Next(); i++ {
		p := add(base, i, m.size)
		reflect.NewAt(m.typ.Key(), p).Elem().SetIterKey(iter)
		if !m.set {
			reflect.NewAt(m.typ.Elem(), unsafe.Add(p, m.value)).Elem().SetIterValue(iter)
		}
	}
	sort.Slice(out.Interface(), func(i, j int) bool { return m.less(add(base, i, m.size), add(base, j, m.size)) })
	return sliceHeader{base, n, n}
}

// lessKeys is the order of a key type.
func lessKeys(t reflect.Type) (func(a, b unsafe.Pointer) bool, error) {
	switch t {
	case reflect.TypeFor[Decimal]():
		return func(a, b unsafe.Pointer) bool { return (*Decimal)(a).Cmp(*(*Decimal)(b)) < 0 }, nil
	case reflect.TypeFor[decimal128.Num]():
		return func(a, b unsafe.Pointer) bool { return (*decimal128.Num)(a).Cmp(*(*decimal128.Num)(b)) < 0 }, nil
	case reflect.TypeFor[time.Time]():
		return func(a, b unsafe.Pointer) bool { return (*time.Time)(a).Before(*(*time.Time)(b)) }, nil
	}
	switch t.Kind() {
	case reflect.String:
		return less[string], nil
	case reflect.Bool:
		return func(a, b unsafe.Pointer) bool { return !*(*bool)(a) && *(*bool)(b) }, nil
	case reflect.Float32:
		return less[float32], nil
	case reflect.Float64:
		return less[float64], nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return lessInts(t.Size(), less[int8], less[int16], less[int32], less[int64]), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return lessInts(t.Size(), less[uint8], less[uint16], less[uint32], less[uint64]), nil
	case reflect.Array:
		if n := t.Len(); t.Elem().Kind() == reflect.Uint8 {
			return func(a, b unsafe.Pointer) bool { return bytes.Compare(bytesOf(a, n), bytesOf(b, n)) < 0 }, nil
		}
	}
	return nil, fmt.Errorf("a map key of type %v has no order here: use a string, number, date or array of bytes, or Pairs", t)
}

func less[T cmp.Ordered](a, b unsafe.Pointer) bool { return cmp.Less(*(*T)(a), *(*T)(b)) }

// lessInts picks the comparison for integers of size bytes.
func lessInts(size uintptr, by ...func(a, b unsafe.Pointer) bool) func(a, b unsafe.Pointer) bool {
	for i := range by {
		if size == 1<<i {
			return by[i]
		}
	}
	return nil
}
