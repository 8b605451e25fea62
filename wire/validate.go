package wire

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// countBits counts the set bits among the first n of a bitmap.
func countBits(bitmap []byte, n int) int {
	set, full := 0, n/8
	i := 0
	for ; i+8 <= full; i += 8 {
		set += bits.OnesCount64(binary.LittleEndian.Uint64(bitmap[i:]))
	}
	for ; i < full; i++ {
		set += bits.OnesCount8(bitmap[i])
	}
	if rest := n % 8; rest > 0 {
		set += bits.OnesCount8(bitmap[full] & (1<<rest - 1))
	}
	return set
}

// offset is the i-th value of an offsets buffer.
func offset(p []byte, i, width int) int64 {
	if width == 4 {
		return int64(int32(binary.LittleEndian.Uint32(p[4*i:])))
	}
	return int64(binary.LittleEndian.Uint64(p[8*i:]))
}

// checkOffsets checks that offsets rise, from 0 or more, to at most end.
func checkOffsets(l *layout, p []byte, rows, width, end int, level Validation) error {
	first, last := offset(p, 0, width), offset(p, rows, width)
	if first < 0 || last < first || last > int64(end) {
		return batchErrorf(l.field, "offsets run from %d to %d over %d values", first, last, end)
	}
	if level != ValidateFull {
		return nil
	}
	prev := first
	for i := 1; i <= rows; i++ {
		next := offset(p, i, width)
		if next < prev {
			return batchErrorf(l.field, "offset %d of row %d is smaller than %d before it", next, i, prev)
		}
		prev = next
	}
	return nil
}

// checkUTF8 checks every value of a string column: the bytes as a whole, and
// that no value begins inside a character.
func checkUTF8(l *layout, c *Column, width int) error {
	first, last := offset(c.Offsets, 0, width), offset(c.Offsets, c.Rows, width)
	if !utf8.Valid(c.Data[first:last]) {
		return batchErrorf(l.field, "a value is not valid UTF-8")
	}
	for i := 1; i < c.Rows; i++ {
		if o := offset(c.Offsets, i, width); o < last && !utf8.RuneStart(c.Data[o]) {
			return batchErrorf(l.field, "the value of row %d is not valid UTF-8", i)
		}
	}
	return nil
}

// checkIndices checks that every valid dictionary index has a value.
func checkIndices(l *layout, c *Column, values int) error {
	unsigned := isUnsignedIndex(l)
	for i := range c.Rows {
		if c.IsNull(i) {
			continue
		}
		if at := dictIndex(c.Data, i, l.width, unsigned); at < 0 || at >= int64(values) {
			return batchErrorf(l.field, "dictionary index %d of row %d, but the dictionary has %d values", at, i, values)
		}
	}
	return nil
}

// dictIndex is the i-th index of a dictionary column.
func dictIndex(p []byte, i, width int, unsigned bool) int64 {
	switch width {
	case 1:
		if unsigned {
			return int64(p[i])
		}
		return int64(int8(p[i]))
	case 2:
		v := binary.LittleEndian.Uint16(p[2*i:])
		if unsigned {
			return int64(v)
		}
		return int64(int16(v))
	case 4:
		v := binary.LittleEndian.Uint32(p[4*i:])
		if unsigned {
			return int64(v)
		}
		return int64(int32(v))
	}
	return int64(binary.LittleEndian.Uint64(p[8*i:]))
}
