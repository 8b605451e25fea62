package wire

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	utf8x "github.com/segmentio/asm/utf8"
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
func checkOffsets(l *layout, c *Column, width, end int, level Validation) error {
	first, last := offset(c.Offsets, 0, width), offset(c.Offsets, c.Rows, width)
	if first < 0 || last < first || last > int64(end) {
		return batchErrorf(l.field, "offsets run from %d to %d over %d values", first, last, end)
	}
	if level != ValidateFull {
		return nil
	}
	var row int
	if width == 4 {
		row = firstFall(castSlice[int32](c.Offsets)[:c.Rows+1])
	} else {
		row = firstFall(castSlice[int64](c.Offsets)[:c.Rows+1])
	}
	if row >= 0 {
		return batchErrorf(l.field, "the offset of row %d is smaller than the one before it", row)
	}
	return nil
}

// firstFall is the index of the first offset that is smaller than the one
// before it, or -1.
func firstFall[O int32 | int64](offsets []O) int {
	prev := offsets[0]
	for i, next := range offsets {
		if next < prev {
			return i
		}
		prev = next
	}
	return -1
}

// checkUTF8 checks every value of a string column: the bytes as a whole, and
// that no value begins inside a character.
func checkUTF8(l *layout, c *Column, width int) error {
	first, last := offset(c.Offsets, 0, width), offset(c.Offsets, c.Rows, width)
	if !utf8x.Valid(c.Data[first:last]) {
		return batchErrorf(l.field, "a value is not valid UTF-8")
	}
	var row int
	if width == 4 {
		row = firstCut(c.Data[:last], castSlice[int32](c.Offsets)[:c.Rows])
	} else {
		row = firstCut(c.Data[:last], castSlice[int64](c.Offsets)[:c.Rows])
	}
	if row >= 0 {
		return batchErrorf(l.field, "the value of row %d is not valid UTF-8", row)
	}
	return nil
}

// firstCut is the index of the first offset that lies inside a character of
// text, or -1.
func firstCut[O int32 | int64](text []byte, offsets []O) int {
	for i, at := range offsets {
		if uint64(at) < uint64(len(text)) && !utf8.RuneStart(text[at]) {
			return i
		}
	}
	return -1
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
