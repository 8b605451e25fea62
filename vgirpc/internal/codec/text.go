package codec

import (
	"math"
	"unicode/utf8"
	"unsafe"

	utf8x "github.com/segmentio/asm/utf8"

	"github.com/vgirpc/vgirpc-go/wire"
)

// text maps string to utf8 (O is int32) or large_utf8 (int64).
type text[O offset] struct{}

func (text[O]) traits() traits { return variable[O]() }

func (text[O]) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if n == 0 {
		return nil
	}
	offs, err := valueSpans[O](c, at, n)
	if err != nil {
		return err
	}
	all := textOf(d, c.Data[offs[0]:offs[n]])
	if n == 1 {
		*(*string)(dst) = all
		return nil
	}
	base, first := offs[0], unsafe.Pointer(unsafe.StringData(all))
	for i := range n {
		from, to := offs[i], offs[i+1] // in bounds and rising: checkSpans
		p := (*stringHeader)(add(dst, i, stride))
		if from == to {
			*p = stringHeader{} // a pointer past the end would keep somebody else's memory
			continue
		}
		*p = stringHeader{unsafe.Add(first, from-base), int(to - from)}
	}
	return nil
}

// stringHeader is the memory of a string.
type stringHeader struct {
	data unsafe.Pointer
	len  int
}

// textOf is p as a string: the memory itself when it may be kept, else a copy.
func textOf(d *reading, p []byte) string {
	if d.owned {
		return unsafe.String(unsafe.SliceData(p), len(p))
	}
	return string(p)
}

func (text[O]) encode(e *Encoder, c *wire.Column, s source) error {
	if s.n == 1 {
		var v string
		if p := s.only(); p != nil {
			v = *(*string)(p)
		}
		if !utf8.ValidString(v) {
			return errNotText(0)
		}
		return encodeOne[O](e, c, unsafe.Slice(unsafe.StringData(v), len(v)))
	}
	offs, err := gather[O](e, c, s)
	if err != nil {
		return err
	}
	if row := invalidText(c.Data, offs); row >= 0 {
		return errNotText(row)
	}
	return nil
}

func errNotText(row int) error { return valueErrorf(row, "text that is not valid UTF-8") }

// octets maps []byte to binary (O is int32) or large_binary (int64).
type octets[O offset] struct{}

func (octets[O]) traits() traits { return variable[O]() }

// variable are the traits of variable-size values.
func variable[O offset]() traits {
	width := int(unsafe.Sizeof(O(0)))
	return traits{holds: true, bits: 8 * width, offsets: width}
}

func (octets[O]) decode(d *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if n == 0 {
		return nil
	}
	offs, err := valueSpans[O](c, at, n)
	if err != nil {
		return err
	}
	all := octetsOf(d, c.Data[offs[0]:offs[n]])
	base := offs[0]
	for i := range n {
		from, to := offs[i]-base, offs[i+1]-base
		*(*[]byte)(add(dst, i, stride)) = all[from:to:to]
	}
	return nil
}

// octetsOf is p itself when it may be kept, else a copy. It is never nil.
func octetsOf(d *reading, p []byte) []byte {
	if d.owned && p != nil {
		return p
	}
	return append(make([]byte, 0, len(p)), p...)
}

func (octets[O]) encode(e *Encoder, c *wire.Column, s source) error {
	if s.n == 1 {
		var v []byte
		if p := s.only(); p != nil {
			v = *(*[]byte)(p)
		}
		return encodeOne[O](e, c, v)
	}
	_, err := gather[O](e, c, s)
	return err
}

// encodeOne makes c a column of one variable-size value.
func encodeOne[O offset](e *Encoder, c *wire.Column, v []byte) error {
	if err := checkSize[O](len(v)); err != nil {
		return err
	}
	p, offs := fresh[O](e, 2)
	offs[0], offs[1] = 0, O(len(v))
	c.Rows, c.Offsets = 1, p
	if len(v) >= inline {
		c.Data = v
		return nil
	}
	c.Data = e.bytes(len(v))
	copy(c.Data, v)
	return nil
}

func checkSize[O offset](n int) error {
	if unsafe.Sizeof(O(0)) == 4 && n > math.MaxInt32 {
		return valueErrorf(0, "more than 2 GiB of data in one column: declare it as a large type, or send less at once")
	}
	return nil
}

// gather copies variable-size values into c. Strings are read through their
// first two words, which are those of a slice as well.
func gather[O offset](e *Encoder, c *wire.Column, s source) ([]O, error) {
	p, offs := fresh[O](e, s.n+1)
	c.Rows, c.Offsets = s.n, p
	total, row := 0, 0
	for _, r := range s.runs {
		for i := range r.n {
			offs[row] = O(total)
			row++
			if r.p != nil {
				total += len(*(*string)(unsafe.Add(add(r.p, i, s.stride), s.off)))
			}
		}
		if err := checkSize[O](total); err != nil {
			return nil, err
		}
	}
	offs[row] = O(total)
	c.Data = e.bytes(total)
	rest := c.Data
	for _, r := range s.runs {
		if r.p == nil {
			continue
		}
		for i := range r.n {
			n := copy(rest, *(*string)(unsafe.Add(add(r.p, i, s.stride), s.off)))
			rest = rest[n:]
		}
	}
	return offs, nil
}

// invalidText returns the row of a value that is not UTF-8, or -1. Values may
// be well-formed together and not each for itself.
func invalidText[O offset](data []byte, offs []O) int {
	if utf8x.Valid(data) && !cutText(data, offs) {
		return -1
	}
	for i := range len(offs) - 1 {
		if !utf8.Valid(data[offs[i]:offs[i+1]]) {
			return i
		}
	}
	return -1
}

// cutText reports whether a value begins inside a character.
func cutText[O offset](data []byte, offs []O) bool {
	for _, at := range offs {
		if uint64(at) < uint64(len(data)) && !utf8.RuneStart(data[at]) {
			return true
		}
	}
	return false
}
