package cast

import (
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
)

type decimal256Num = decimal256.Num

// maxDigits is the precision of decimal128.
const maxDigits = 38

// decimals casts decimal128 to other decimal128 types and to double.
func decimals(from, to arrow.DataType) binder {
	source, ok := from.(*arrow.Decimal128Type)
	if !ok {
		return nil
	}
	switch to := to.(type) {
	case *arrow.Decimal128Type:
		if to.Precision < 1 || to.Precision > maxDigits {
			return nil
		}
		return decimalToDecimal(source, to)
	case *arrow.Float64Type:
		return decimalToFloat(source, to)
	}
	return nil
}

func decimalToDecimal(from, to *arrow.Decimal128Type) binder {
	fail := failure(from, to)
	step := int(to.Scale) - int(from.Scale)
	return func(dst array.Builder, src arrow.Array, _ *budget) put {
		values, out := src.(*array.Decimal128), dst.(*array.Decimal128Builder)
		return func(i int) *ValueError {
			n, reason := rescale(values.Value(i), step, int(to.Precision))
			if reason != "" {
				return fail(reason)
			}
			out.Append(n)
			return nil
		}
	}
}

// rescale returns n times 10^step, or the reason why that is no number of the
// given precision. arrow-go's Rescale is not used: it indexes a table by the
// step, which a peer's scale decides.
func rescale(n decimal128.Num, step, precision int) (decimal128.Num, string) {
	switch {
	case n.Sign() == 0:
		return n, ""
	case step < -maxDigits:
		return n, reasonLoss
	case step < 0:
		quotient, rest := n.Div(decimal128.GetScaleMultiplier(-step))
		if rest.Sign() != 0 {
			return n, reasonLoss
		}
		n, step = quotient, 0
	}
	// Checked before the product, which might not fit the 128 bits.
	if !hasDigits(n, precision-step) {
		return n, reasonRange
	}
	return n.Mul(decimal128.GetScaleMultiplier(step)), ""
}

// hasDigits reports whether n, which is not zero, is below 10^digits on either
// side. The lowest number has no absolute value.
func hasDigits(n decimal128.Num, digits int) bool {
	if digits < 1 {
		return false
	}
	limit := decimal128.GetScaleMultiplier(digits)
	return n.Less(limit) && n.Greater(limit.Negate())
}

func decimalToFloat(from *arrow.Decimal128Type, to arrow.DataType) binder {
	fail := failure(from, to)
	exponent := strconv.Itoa(-int(from.Scale))
	return func(dst array.Builder, src arrow.Array, _ *budget) put {
		values, write := src.(*array.Decimal128), writeFloat(dst)
		return func(i int) *ValueError {
			// Text, because a product with a power of ten is rounded twice: 0.3
			// would not be the double that is written 0.3.
			f, err := strconv.ParseFloat(values.Value(i).BigInt().String()+"e"+exponent, 64)
			if err != nil || math.IsInf(f, 0) {
				return fail(reasonRange)
			}
			write(f)
			return nil
		}
	}
}
