package arrowjson

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Bounds of numbers in text, far beyond what any Arrow type holds: they keep
// "1e999999999" from being written out.
const (
	maxDigits   = 512
	maxExponent = 1024
)

// exact is a decimal number: digits / 10^scale.
type exact struct {
	digits *big.Int
	scale  int // of what parseDecimal and normal return, 0 or more
}

// parseDecimal reads a number as JSON and people write it.
func parseDecimal(text string) (exact, bool) {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		n, err := strconv.Atoi(text[i+1:])
		if err != nil || n < -maxExponent || n > maxExponent {
			return exact{}, false
		}
		mantissa, exponent = text[:i], n
	}
	whole, fraction, point := strings.Cut(mantissa, ".")
	digits := whole + fraction
	if len(digits) > maxDigits || (point && fraction == "") || !isNumber(digits) || strings.ContainsAny(fraction, "+-") {
		return exact{}, false
	}
	n, ok := new(big.Int).SetString(digits, 10)
	return exact{n, len(fraction) - exponent}.normal(), ok
}

// isNumber reports whether s is digits, maybe after a sign. big.Int takes
// underscores as well.
func isNumber(s string) bool {
	s = strings.TrimLeft(s[:min(1, len(s))], "+-") + s[min(1, len(s)):]
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// normal is d without zeros at the end, and with a scale of 0 at least.
func (d exact) normal() exact {
	if d.digits == nil || d.digits.Sign() == 0 {
		return exact{new(big.Int), 0}
	}
	if d.scale < 0 {
		return exact{new(big.Int).Mul(d.digits, pow10(-d.scale)), 0}
	}
	ten, rest := big.NewInt(10), new(big.Int)
	for d.scale > 0 {
		q, r := new(big.Int).QuoRem(d.digits, ten, rest)
		if r.Sign() != 0 {
			break
		}
		d.digits, d.scale = q, d.scale-1
	}
	return d
}

// at is d * 10^scale, when that is a whole number.
func (d exact) at(scale int) (*big.Int, bool) {
	switch {
	case d.scale <= scale:
		return new(big.Int).Mul(d.digits, pow10(scale-d.scale)), true
	case scale >= 0:
		return nil, false
	}
	q, r := new(big.Int).QuoRem(d.digits, pow10(-scale), new(big.Int))
	return q, d.scale == 0 && r.Sign() == 0
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// append writes the number in full.
func (d exact) append(dst []byte) []byte {
	if d.digits.Sign() < 0 {
		dst = append(dst, '-')
	}
	text := new(big.Int).Abs(d.digits).String()
	switch {
	case d.scale <= 0:
		dst = append(dst, text...)
		if d.digits.Sign() != 0 {
			dst = append(dst, strings.Repeat("0", -d.scale)...)
		}
		return dst
	case len(text) <= d.scale:
		text = strings.Repeat("0", d.scale-len(text)+1) + text
	}
	dst = append(dst, text[:len(text)-d.scale]...)
	dst = append(dst, '.')
	return append(dst, text[len(text)-d.scale:]...)
}

// numberText is the text of a number, or of a string that may stand for one.
func numberText(v any) (string, bool) {
	switch v := v.(type) {
	case json.Number:
		return v.String(), true
	case string:
		return v, true
	}
	return "", false
}

// signed reads an integer of that many bits.
func signed(v any, bits int) (int64, error) {
	text, ok := numberText(v)
	if !ok {
		return 0, WrongKind("an integer", v)
	}
	n, err := strconv.ParseInt(text, 10, bits)
	if err == nil {
		return n, nil
	}
	whole, err := integer(text)
	if err != nil {
		return 0, err
	}
	limit := int64(math.MaxInt64) >> (64 - bits)
	if !whole.IsInt64() || whole.Int64() > limit || whole.Int64() < -limit-1 {
		return 0, valuef("the number is outside the range of int%d", bits)
	}
	return whole.Int64(), nil
}

// unsigned reads an integer of that many bits that is not negative.
func unsigned(v any, bits int) (uint64, error) {
	text, ok := numberText(v)
	if !ok {
		return 0, WrongKind("an integer", v)
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err == nil {
		return n, nil
	}
	whole, err := integer(text)
	if err != nil {
		return 0, err
	}
	if !whole.IsUint64() || whole.Uint64() > math.MaxUint64>>(64-bits) {
		return 0, valuef("the number is outside the range of uint%d", bits)
	}
	return whole.Uint64(), nil
}

func integer(text string) (*big.Int, error) {
	d, ok := parseDecimal(text)
	if !ok {
		return nil, formf("want an integer, as a number or a string of digits")
	}
	whole, ok := d.at(0)
	if !ok {
		return nil, valuef("want an integer, got a number with a fraction")
	}
	return whole, nil
}

// float reads a floating-point number of that many bits.
func (o ReadOptions) float(v any, bits int) (float64, error) {
	text, ok := numberText(v)
	if !ok {
		return 0, WrongKind("a number", v)
	}
	if _, isString := v.(string); isString {
		switch text {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		if f, err := strconv.ParseFloat(text, bits); err == nil && o.Lenient {
			return f, nil
		}
		return 0, formf(`want a number, or one of the strings "NaN", "Infinity", "-Infinity"`)
	}
	f, err := strconv.ParseFloat(text, bits)
	if err != nil {
		return 0, valuef("the number is outside the range of float%d", bits)
	}
	return f, nil
}

// fixedPoint reads a decimal number as the digits of type t.
func fixedPoint(v any, t arrow.DecimalType) (*big.Int, error) {
	text, ok := numberText(v)
	if !ok {
		return nil, WrongKind("a decimal number in a string", v)
	}
	d, ok := parseDecimal(text)
	if !ok {
		return nil, formf(`want a decimal number in a string, such as "12.50"`)
	}
	n, ok := d.at(int(t.GetScale()))
	if !ok {
		e := refusef(KindFraction, "more than %d digits after the point", t.GetScale())
		e.Have = d.scale
		return nil, e
	}
	if new(big.Int).Abs(n).Cmp(pow10(int(t.GetPrecision()))) >= 0 {
		return nil, valuef("more than %d digits", t.GetPrecision())
	}
	return n, nil
}
