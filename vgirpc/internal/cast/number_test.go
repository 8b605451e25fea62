package cast

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// span is the range of a type, and so what an oracle needs.
type span struct {
	dt       arrow.DataType
	min, max *big.Int
}

func signedSpan(dt arrow.DataType, bits uint) span {
	top := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return span{dt, new(big.Int).Neg(top), new(big.Int).Sub(top, big.NewInt(1))}
}

func unsignedSpan(dt arrow.DataType, bits uint) span {
	return span{dt, new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))}
}

// exactSpan is the range in which a floating-point type has every integer.
func exactSpan(dt arrow.DataType, bits uint) span {
	top := new(big.Int).Lsh(big.NewInt(1), bits)
	return span{dt, new(big.Int).Neg(top), top}
}

func (s span) has(n *big.Int) bool { return n.Cmp(s.min) >= 0 && n.Cmp(s.max) <= 0 }

func integerSpans() []span {
	return []span{
		signedSpan(i8, 8), signedSpan(i16, 16), signedSpan(i32, 32), signedSpan(i64, 64),
		unsignedSpan(u8, 8), unsignedSpan(u16, 16), unsignedSpan(u32, 32), unsignedSpan(u64, 64),
	}
}

// edges are the numbers around both ends of every span.
func edges(spans []span) []*big.Int {
	var out []*big.Int
	for _, s := range spans {
		for d := int64(-2); d <= 2; d++ {
			out = append(out, new(big.Int).Add(s.min, big.NewInt(d)), new(big.Int).Add(s.max, big.NewInt(d)))
		}
	}
	return out
}

// castOne casts a single value that is given, and returned, as text.
func castOne(t *testing.T, mem memory.Allocator, from, to arrow.DataType, value string) (string, error) {
	t.Helper()
	b := array.NewBuilder(mem, from)
	defer b.Release()
	if err := b.AppendValueFromString(value); err != nil {
		t.Fatal(err)
	}
	column := b.NewArray()
	defer column.Release()
	rec := array.NewRecordBatch(schemaOf(field("v", from)), []arrow.Array{column}, 1)
	defer rec.Release()
	got, err := record(mem, rec, schemaOf(field("v", to)))
	if err != nil {
		if _, ok := errors.AsType[*ValueError](err); !ok {
			t.Errorf("%s from %s to %s: err = %v, want a ValueError", value, from, to, err)
		}
		return "", err
	}
	defer got.Release()
	return got.Column(0).ValueStr(0), nil
}

func TestIntegersAreKeptExactlyWhereTheyFit(t *testing.T) {
	ints := integerSpans()
	targets := append(integerSpans(), exactSpan(f32, 24), exactSpan(f64, 53))
	for _, from := range ints {
		for _, to := range targets {
			t.Run(fmt.Sprintf("%s to %s", from.dt, to.dt), func(t *testing.T) {
				mem := checked(t)
				for _, n := range edges(targets) {
					if !from.has(n) {
						continue
					}
					got, err := castOne(t, mem, from.dt, to.dt, n.String())
					if (err == nil) != to.has(n) {
						t.Errorf("%s: err = %v", n, err)
					}
					if f, ok := new(big.Float).SetString(got); err == nil && (!ok || f.Cmp(new(big.Float).SetInt(n)) != 0) {
						t.Errorf("%s became %s", n, got)
					}
				}
			})
		}
	}
}

func TestFloatsBecomeIntegersWhereTheyAreWholeAndFit(t *testing.T) {
	values := []float64{0, 0.5, -0.5, 1e300, -1e300, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN()}
	for _, n := range edges(integerSpans()) {
		f, _ := new(big.Float).SetInt(n).Float64()
		values = append(values, f, math.Nextafter(f, math.Inf(1)), math.Nextafter(f, math.Inf(-1)), f+0.5)
	}
	for _, to := range integerSpans() {
		t.Run(to.dt.Name(), func(t *testing.T) {
			mem := checked(t)
			for _, f := range values {
				want, whole := new(big.Int), false
				if !math.IsNaN(f) && !math.IsInf(f, 0) {
					var accuracy big.Accuracy
					want, accuracy = big.NewFloat(f).Int(nil)
					whole = accuracy == big.Exact
				}
				got, err := castOne(t, mem, f64, to.dt, fmt.Sprint(f))
				if (err == nil) != (whole && to.has(want)) {
					t.Errorf("%v: err = %v", f, err)
				}
				if err == nil && got != want.String() {
					t.Errorf("%v became %s", f, got)
				}
			}
		})
	}
}
