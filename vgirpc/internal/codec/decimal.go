package codec

import (
	"fmt"
	"math/big"
	"strings"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Decimal is a decimal number of up to 38 digits: an integer and the number of
// its digits behind the point. Numbers of equal value and different scale
// differ under ==; [Decimal.Cmp] compares values.
type Decimal struct {
	num   decimal128.Num
	scale int32
}

// NewDecimal returns num × 10^-scale.
func NewDecimal(num decimal128.Num, scale int32) Decimal { return Decimal{num, scale} }

// ParseDecimal parses a number such as "-12.340", whose scale is 3: the digits
// behind the point count, zeros too. There is no exponent.
func ParseDecimal(s string) (Decimal, error) {
	digits := s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		digits = s[1:]
	}
	whole, part, _ := strings.Cut(digits, ".")
	digits = whole + part
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return Decimal{}, fmt.Errorf("decimal %q: want digits with an optional sign and point", s)
	}
	if len(strings.TrimLeft(digits, "0")) > decimal128.MaxPrecision || len(part) > decimal128.MaxPrecision {
		return Decimal{}, fmt.Errorf("decimal of %d digits: at most %d are possible", len(digits), decimal128.MaxPrecision)
	}
	v, _ := new(big.Int).SetString(digits, 10)
	if s[0] == '-' {
		v.Neg(v)
	}
	return Decimal{decimal128.FromBigInt(v), int32(len(part))}, nil
}

// Num is the number without its point.
func (d Decimal) Num() decimal128.Num { return d.num }

// Scale is the number of digits behind the point.
func (d Decimal) Scale() int32 { return d.scale }

// Rescale returns the same number with another scale. It fails when digits
// would be lost, or there would be more than 38.
func (d Decimal) Rescale(scale int32) (Decimal, error) {
	if scale == d.scale || d.num == (decimal128.Num{}) {
		return Decimal{d.num, scale}, nil
	}
	v := d.num.BigInt()
	factor := power(scale, d.scale)
	if scale > d.scale {
		v.Mul(v, factor)
	} else {
		var rest big.Int
		if v.QuoRem(v, factor, &rest); rest.Sign() != 0 {
			return Decimal{}, fmt.Errorf("a decimal number with more than %d digits behind the point", scale)
		}
	}
	if len(new(big.Int).Abs(v).String()) > decimal128.MaxPrecision {
		return Decimal{}, fmt.Errorf("a decimal number of more than %d digits", decimal128.MaxPrecision)
	}
	return Decimal{decimal128.FromBigInt(v), scale}, nil
}

// Cmp compares the values of d and other: -1, 0 or 1.
func (d Decimal) Cmp(other Decimal) int {
	if d.scale == other.scale {
		return d.num.Cmp(other.num)
	}
	a, b := d.num.BigInt(), other.num.BigInt()
	gap := power(d.scale, other.scale)
	if d.scale < other.scale {
		a.Mul(a, gap)
	} else {
		b.Mul(b, gap)
	}
	return a.Cmp(b)
}

// power is ten to the difference of two scales, or a number beyond which no
// decimal reaches.
func power(a, b int32) *big.Int {
	gap := int64(a) - int64(b)
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(min(max(gap, -gap), 2*decimal128.MaxPrecision)), nil)
}

// Equal reports whether the values of d and other are the same.
func (d Decimal) Equal(other Decimal) bool { return d.Cmp(other) == 0 }

// String writes the number with all digits of its scale.
func (d Decimal) String() string {
	v := d.num.BigInt()
	digits := new(big.Int).Abs(v).String()
	if d.scale > 0 {
		if missing := int(d.scale) + 1 - len(digits); missing > 0 {
			digits = strings.Repeat("0", missing) + digits
		}
		point := len(digits) - int(d.scale)
		digits = digits[:point] + "." + digits[point:]
	} else {
		digits += strings.Repeat("0", int(-d.scale))
	}
	if v.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

// MarshalText writes the number as String does.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Decimal) UnmarshalText(text []byte) error {
	v, err := ParseDecimal(string(text))
	if err == nil {
		*d = v
	}
	return err
}

// MarshalBinary is MarshalText, for stream states.
func (d Decimal) MarshalBinary() ([]byte, error) { return d.MarshalText() }

// UnmarshalBinary is UnmarshalText.
func (d *Decimal) UnmarshalBinary(data []byte) error { return d.UnmarshalText(data) }

// scaledDecimals maps Decimal to a decimal128 column. What the column's scale
// cannot express is an error, never rounded.
type scaledDecimals struct{ typ *arrow.Decimal128Type }

func (scaledDecimals) traits() traits { return traits{bits: 128} }

func (v scaledDecimals) decode(_ *reading, c *wire.Column, at, n int, dst unsafe.Pointer, stride uintptr) error {
	if err := noNulls(c, at, n); err != nil {
		return err
	}
	values, err := cells[[2]uint64](c.Data, at, n)
	if err != nil {
		return err
	}
	for i, cell := range values {
		*(*Decimal)(add(dst, i, stride)) = Decimal{decimal128.New(int64(cell[1]), cell[0]), v.typ.Scale}
	}
	return nil
}

func (v scaledDecimals) encode(e *Encoder, c *wire.Column, s source) error {
	c.Rows = s.n
	data, out := fresh[[2]uint64](e, s.n)
	c.Data = data
	row := 0
	for _, r := range s.runs {
		for i := range r.n {
			var d Decimal
			if r.p != nil {
				d = *(*Decimal)(unsafe.Add(add(r.p, i, s.stride), s.off))
			}
			d, err := d.Rescale(v.typ.Scale)
			if err != nil {
				return valueErrorf(row, "%v", err)
			}
			if !d.num.FitsInPrecision(v.typ.Precision) {
				return valueErrorf(row, "a decimal number of more than %d digits", v.typ.Precision)
			}
			out[row] = [2]uint64{d.num.LowBits(), uint64(d.num.HighBits())}
			row++
		}
	}
	return nil
}
