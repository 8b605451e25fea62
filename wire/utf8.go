package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

const (
	highBits  = 0x8080808080808080
	utf8Block = 32
)

// ValidUTF8 reports whether p is UTF-8, as utf8.Valid does. It is faster on
// text that mixes ASCII with two-byte characters, which it checks eight bytes at
// a time without branches: a column of names is checked on its way in and on
// its way out.
func ValidUTF8(p []byte) bool {
	var carry uint64 // 0x80 when the word before ended in a two-byte lead
	rest := p
	for len(rest) >= utf8Block {
		block := rest[:utf8Block]
		a, b := binary.LittleEndian.Uint64(block), binary.LittleEndian.Uint64(block[8:])
		c, d := binary.LittleEndian.Uint64(block[16:]), binary.LittleEndian.Uint64(block[24:])
		if (a|b|c|d)&highBits|carry == 0 {
			rest = rest[utf8Block:]
			continue
		}
		longA, badA, carryA := twoByteWord(a, carry)
		longB, badB, carryB := twoByteWord(b, carryA)
		longC, badC, carryC := twoByteWord(c, carryB)
		longD, badD, carryD := twoByteWord(d, carryC)
		if longA|longB|longC|longD != 0 {
			break // characters of three bytes and more: not for words
		}
		if badA|badB|badC|badD != 0 {
			return false
		}
		carry = carryD
		rest = rest[utf8Block:]
	}
	if carry != 0 {
		rest = p[len(p)-len(rest)-1:]
	}
	return utf8.Valid(rest)
}

// twoByteWord checks eight bytes that should be ASCII and two-byte characters.
// long is set when there is the lead of a longer one; bad when a lead and its
// continuation do not match, or a lead (C0, C1) says what one byte can.
func twoByteWord(w, carryIn uint64) (long, bad, carry uint64) {
	high := w & highBits
	lead := w << 1 & high
	long = lead & (w << 2)
	bad = lead&^(w<<3|w<<4|w<<5|w<<6) | (high &^ lead) ^ (lead<<8 | carryIn)
	return long, bad, lead >> 56
}
