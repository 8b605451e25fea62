package codec

import (
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"

	"github.com/vgirpc/vgirpc-go/wire"
)

// scalar maps fixed-width values whose memory in Go is their form in Arrow:
// integers, floats, decimal numbers, intervals, dates. T is memory of the same
// size and alignment.
type scalar[T fixed] struct{}

func (scalar[T]) traits() traits { return traits{bits: 8 * int(unsafe.Sizeof(*new(T)))} }

func (scalar[T]) decode(_ *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	values, err := cells[T](c.Data, at, n)
	if err != nil {
		return err
	}
	if n == 1 {
		*(*T)(dst) = values[0]
		return nil
	}
	if stride == unsafe.Sizeof(*new(T)) {
		copy(unsafe.Slice((*T)(dst), n), values)
		return nil
	}
	for i := range values {
		*(*T)(dst) = values[i]
		if i+1 < n {
			dst = unsafe.Add(dst, stride)
		}
	}
	return nil
}

// alias returns the memory of values at to at+n where it can stand for a slice
// of them.
func (scalar[T]) alias(c *wire.Column, at, n int) (unsafe.Pointer, error) {
	if err := noNulls(c, at, n); err != nil {
		return nil, err
	}
	values, err := cells[T](c.Data, at, n)
	return unsafe.Pointer(unsafe.SliceData(values)), err
}

func (scalar[T]) encode(e *Encoder, c *wire.Column, s source) error {
	size := unsafe.Sizeof(*new(T))
	c.Rows = s.n
	if s.lent && len(s.runs) == 1 && s.stride == size && s.runs[0].p != nil && uintptr(s.n)*size >= inline {
		c.Data = bytesOf(s.only(), s.n*int(size))
		return nil
	}
	data, out := fresh[T](e, s.n)
	c.Data = data
	for _, r := range s.runs {
		part := out[:r.n]
		out = out[r.n:]
		if r.p == nil {
			clear(part)
			continue
		}
		p := unsafe.Add(r.p, s.off)
		if s.stride == size {
			copy(part, unsafe.Slice((*T)(p), r.n))
			continue
		}
		for i := range part {
			part[i] = *(*T)(add(p, i, s.stride))
		}
	}
	return nil
}

// boolean maps bool, which Arrow stores as bits.
type boolean struct{}

func (boolean) traits() traits { return traits{bits: 1} }

func (boolean) decode(_ *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	if at+n > 8*len(c.Data) {
		return malformed("%d bytes of bits where %d bits are needed", len(c.Data), at+n)
	}
	for i := range n {
		row := at + i
		*(*bool)(add(dst, i, stride)) = c.Data[row>>3]&(1<<(row&7)) != 0
	}
	return nil
}

func (boolean) encode(e *Encoder, c *wire.Column, s source) error {
	c.Rows, c.Data = s.n, e.bitmap(s.n)
	row := 0
	for _, r := range s.runs {
		if r.p != nil {
			p := unsafe.Add(r.p, s.off)
			for i := range r.n {
				if *(*bool)(add(p, i, s.stride)) {
					setBit(c.Data, row+i)
				}
			}
		}
		row += r.n
	}
	return nil
}

// decimals128 maps decimal128.Num and holds it to the column's precision.
type decimals128 struct {
	scalar[[2]uint64]
	precision int32
}

func (d decimals128) encode(e *Encoder, c *wire.Column, s source) error {
	if err := d.scalar.encode(e, c, s); err != nil {
		return err
	}
	values := unsafe.Slice((*decimal128.Num)(unsafe.Pointer(unsafe.SliceData(c.Data))), c.Rows)
	for i := range values {
		if !values[i].FitsInPrecision(d.precision) {
			return valueErrorf(i, "a decimal number of more than %d digits", d.precision)
		}
	}
	return nil
}

// decimals256 maps decimal256.Num and holds it to the column's precision.
type decimals256 struct {
	scalar[[4]uint64]
	precision int32
}

func (d decimals256) encode(e *Encoder, c *wire.Column, s source) error {
	if err := d.scalar.encode(e, c, s); err != nil {
		return err
	}
	values := unsafe.Slice((*decimal256.Num)(unsafe.Pointer(unsafe.SliceData(c.Data))), c.Rows)
	for i := range values {
		if !values[i].FitsInPrecision(d.precision) {
			return valueErrorf(i, "a decimal number of more than %d digits", d.precision)
		}
	}
	return nil
}
