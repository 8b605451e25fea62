package codec

import (
	"reflect"
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// elements are the values of one type for which decoding makes room: what a
// list holds, or what a pointer points to.
type elements struct {
	codec codec
	size  uintptr // of one value
	bits  int     // of its row in a batch, at least
	few   bool    // the rows are so small beside the values that their number is bounded
	alloc func(n int) unsafe.Pointer
}

func newElements(t reflect.Type, cd codec) elements {
	bits := cd.traits().bits
	return elements{codec: cd, size: t.Size(), bits: bits, few: isFew(t, bits), alloc: allocator(t)}
}

// A row that takes up next to nothing in a batch and a lot in memory would let
// a small message fill it: where a value is more than growth times as large as
// its row, or the row takes no bytes at all, there may be maxBareRows of them.
const (
	growth      = 256
	maxBareRows = 1 << 20
)

// isFew reports whether values of t take up so much more than their rows, each
// at least that many bits, that their number has to be bounded.
func isFew(t reflect.Type, bits int) bool {
	size := t.Size()
	if isPointer(t) {
		size += t.Elem().Size()
	}
	return bits == 0 || size*8 > growth*uintptr(bits)
}

// unchecked is the number of values for which room is made before their
// column's buffers have been looked at.
const unchecked = 4 << 10

// room makes room for n values of c, which has to hold that many.
func (m *elements) room(c *wire.Column, n int) (unsafe.Pointer, error) {
	if m.few && c.Rows > maxBareRows {
		return nil, malformed("%d values in next to no bytes: at most %d are accepted", c.Rows, maxBareRows)
	}
	if n > unchecked && columnBytes(c) < n/8*m.bits {
		return nil, malformed("%d bytes for %d values", columnBytes(c), n)
	}
	return m.alloc(n), nil
}

// columnBytes is the size of c's buffers, those of its children among them.
func columnBytes(c *wire.Column) int {
	return len(c.Validity) + len(c.Offsets) + len(c.Data) + columnsBytes(c.Children)
}

func columnsBytes(cols []wire.Column) int {
	n := 0
	for i := range cols {
		n += columnBytes(&cols[i])
	}
	return n
}

// allocator returns a function that makes room for n values of t in one piece,
// zeroed, as the garbage collector has to know it.
func allocator(t reflect.Type) func(n int) unsafe.Pointer {
	switch t.Kind() {
	case reflect.String:
		return room[string]
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return room[uint8]
	case reflect.Int16, reflect.Uint16:
		return room[uint16]
	case reflect.Int32, reflect.Uint32, reflect.Float32:
		return room[uint32]
	case reflect.Int64, reflect.Uint64, reflect.Float64:
		return room[uint64]
	case reflect.Int, reflect.Uint:
		return room[uint]
	case reflect.Slice:
		if isOctets(t) {
			return room[[]byte]
		}
	}
	slice := reflect.SliceOf(t)
	return func(n int) unsafe.Pointer {
		if n == 1 {
			return reflect.New(t).UnsafePointer()
		}
		return reflect.MakeSlice(slice, n, n).UnsafePointer()
	}
}

func room[T any](n int) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(make([]T, n))) }
