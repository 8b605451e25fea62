package codec

import (
	"unsafe"

	"github.com/vgirpc/vgirpc-go/wire"
)

// inline is the size in bytes from which a value that stands alone is sent from
// where it lies instead of being copied, and from which decoded numbers alias a
// batch that is owned.
const inline = 32 << 10

// fixed is the memory of fixed-width values: what they mean does not matter for
// moving them.
type fixed interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int32 | ~int64 | [2]uint32 | [2]uint64 | [4]uint64
}

// offset is an entry of an offsets buffer.
type offset interface{ int32 | int64 }

// cells views values at to at+n of a buffer.
func cells[T fixed](p []byte, at, n int) ([]T, error) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	if at+n > len(p)/size {
		return nil, malformed("%d bytes of values where %d are needed", len(p), (at+n)*size)
	}
	if n == 0 {
		return nil, nil
	}
	p = aligned(p[at*size:(at+n)*size], unsafe.Alignof(zero))
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(p))), n), nil
}

// aligned is p, or a copy of it where values of that alignment can be read.
// Readers align what they read; a batch from elsewhere need not be.
func aligned(p []byte, alignment uintptr) []byte {
	if uintptr(unsafe.Pointer(unsafe.SliceData(p)))&(alignment-1) == 0 {
		return p
	}
	moved := make([]uint64, (len(p)+7)/8)
	return append(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(moved))), 8*len(moved))[:0], p...)
}

// bytesOf views n values at p as bytes.
func bytesOf(p unsafe.Pointer, n int) []byte { return unsafe.Slice((*byte)(p), n) }

// fresh makes room for n values in e.
func fresh[T fixed](e *Encoder, n int) (p []byte, values []T) {
	if n == 0 {
		return nil, nil
	}
	var zero T
	p = e.bytes(n * int(unsafe.Sizeof(zero)))
	return p, unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(p))), n)
}

// noNulls fails when one of the rows at to at+n is null.
func noNulls(c *wire.Column, at, n int) error {
	if c.Nulls == 0 {
		return nil
	}
	if row := nextNull(c, at, at+n); row < at+n {
		return nullError(row)
	}
	return nil
}

// isNull reports whether a row is null. A column with nulls and no bitmap has
// nothing else.
func isNull(c *wire.Column, i int) bool {
	return c.Nulls != 0 && (c.Validity == nil || c.Validity[i>>3]&(1<<(i&7)) == 0)
}

// nextNull is the first null row from i on, or end.
func nextNull(c *wire.Column, i, end int) int {
	for ; i < end; i++ {
		if i&7 == 0 && c.Validity != nil {
			for end-i >= 8 && c.Validity[i>>3] == 0xFF {
				i += 8
			}
			if i >= end {
				break
			}
		}
		if isNull(c, i) {
			return i
		}
	}
	return end
}

// nextValid is the first row from i on that is not null, or end.
func nextValid(c *wire.Column, i, end int) int {
	for i < end && isNull(c, i) {
		i++
	}
	return i
}

// rising checks that the offsets of rows at to at+n never fall. Rows behind
// nulls are read apart, and offsets that fall between them could make a small
// message decode to more than it holds.
func rising(c *wire.Column, at, n, width int) error {
	switch width {
	case 4:
		return risingOf[int32](c, at, n)
	case 8:
		return risingOf[int64](c, at, n)
	}
	return nil
}

func risingOf[O offset](c *wire.Column, at, n int) error {
	offs, err := cells[O](c.Offsets, at, n+1)
	if err != nil {
		return err
	}
	for i := range n {
		if offs[i+1] < offs[i] {
			return malformed("offset %d is smaller than %d before it", offs[i+1], offs[i])
		}
	}
	return nil
}

// checkSpans checks that offsets rise from 0 or more to end at most.
func checkSpans[O offset](offs []O, end int) error {
	prev := offs[0]
	if prev < 0 {
		return malformed("offset %d", prev)
	}
	bad := false
	for _, o := range offs[1:] {
		bad = bad || o < prev
		prev = o
	}
	if bad || int64(prev) > int64(end) {
		return malformed("offsets that do not rise, or pass the end of %d", end)
	}
	return nil
}

// valueSpans are the checked offsets of n variable-size values from row at on,
// none of which may be null.
func valueSpans[O offset](c *wire.Column, at, n int) ([]O, error) {
	if err := noNulls(c, at, n); err != nil {
		return nil, err
	}
	offs, err := cells[O](c.Offsets, at, n+1)
	if err != nil {
		return nil, err
	}
	return offs, checkSpans(offs, len(c.Data))
}

// setBit sets bit i of a bitmap.
func setBit(bitmap []byte, i int) { bitmap[i>>3] |= 1 << (i & 7) }
