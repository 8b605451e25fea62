package cast

import (
	"math"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
)

type float16Num = float16.Num

// whole is an integer from -(2^64-1) to 2^64-1, which holds every value of every
// integer type and makes all ranges one question.
type whole struct {
	mag uint64
	neg bool
}

type (
	signedInt interface {
		~int8 | ~int16 | ~int32 | ~int64
	}
	unsignedInt interface {
		~uint8 | ~uint16 | ~uint32 | ~uint64
	}
)

// readWhole returns a reader for an array of integers, or of a temporal type,
// which is one underneath.
func readWhole(src arrow.Array) func(int) whole {
	switch a := src.(type) {
	case *array.Int8:
		return readSigned[int8](a)
	case *array.Int16:
		return readSigned[int16](a)
	case *array.Int32:
		return readSigned[int32](a)
	case *array.Int64:
		return readSigned[int64](a)
	case *array.Uint8:
		return readUnsigned[uint8](a)
	case *array.Uint16:
		return readUnsigned[uint16](a)
	case *array.Uint32:
		return readUnsigned[uint32](a)
	case *array.Uint64:
		return readUnsigned[uint64](a)
	case *array.Date32:
		return readSigned[arrow.Date32](a)
	case *array.Date64:
		return readSigned[arrow.Date64](a)
	case *array.Time32:
		return readSigned[arrow.Time32](a)
	case *array.Time64:
		return readSigned[arrow.Time64](a)
	case *array.Timestamp:
		return readSigned[arrow.Timestamp](a)
	case *array.Duration:
		return readSigned[arrow.Duration](a)
	}
	return nil
}

func readSigned[T signedInt](a source[T]) func(int) whole {
	return func(i int) whole {
		n := int64(a.Value(i))
		if n < 0 {
			return whole{mag: -uint64(n), neg: true}
		}
		return whole{mag: uint64(n)}
	}
}

func readUnsigned[T unsignedInt](a source[T]) func(int) whole {
	return func(i int) whole { return whole{mag: uint64(a.Value(i))} }
}

// writeWhole returns a writer for a builder of the types of readWhole. The
// writer reports whether the number fits, and appends it if so.
func writeWhole(dst array.Builder) func(whole) bool {
	switch b := dst.(type) {
	case *array.Int8Builder:
		return writeSigned[int8](b)
	case *array.Int16Builder:
		return writeSigned[int16](b)
	case *array.Int32Builder:
		return writeSigned[int32](b)
	case *array.Int64Builder:
		return writeSigned[int64](b)
	case *array.Uint8Builder:
		return writeUnsigned[uint8](b)
	case *array.Uint16Builder:
		return writeUnsigned[uint16](b)
	case *array.Uint32Builder:
		return writeUnsigned[uint32](b)
	case *array.Uint64Builder:
		return writeUnsigned[uint64](b)
	case *array.Date32Builder:
		return writeSigned[arrow.Date32](b)
	case *array.Date64Builder:
		return writeSigned[arrow.Date64](b)
	case *array.Time32Builder:
		return writeSigned[arrow.Time32](b)
	case *array.Time64Builder:
		return writeSigned[arrow.Time64](b)
	case *array.TimestampBuilder:
		return writeSigned[arrow.Timestamp](b)
	case *array.DurationBuilder:
		return writeSigned[arrow.Duration](b)
	}
	return nil
}

func writeSigned[T signedInt](b sink[T]) func(whole) bool {
	return func(w whole) bool {
		n, most := int64(w.mag), uint64(math.MaxInt64)
		if w.neg {
			n, most = -n, most+1
		}
		v := T(n)
		if w.mag > most || int64(v) != n {
			return false
		}
		b.Append(v)
		return true
	}
}

func writeUnsigned[T unsignedInt](b sink[T]) func(whole) bool {
	return func(w whole) bool {
		v := T(w.mag)
		if uint64(v) != w.mag || w.neg && w.mag != 0 {
			return false
		}
		b.Append(v)
		return true
	}
}

// numbers casts integers and floating point.
func numbers(from, to arrow.DataType) binder {
	switch {
	case arrow.IsInteger(from.ID()) && arrow.IsInteger(to.ID()):
		return scaled(from, to, 1, 1)
	case arrow.IsInteger(from.ID()) && to.ID() == arrow.FLOAT32:
		return intToFloat(from, to, 1<<24)
	case arrow.IsInteger(from.ID()) && to.ID() == arrow.FLOAT64:
		return intToFloat(from, to, 1<<53)
	case arrow.IsFloating(from.ID()) && arrow.IsInteger(to.ID()):
		return floatToInt(from, to)
	case arrow.IsFloating(from.ID()) && (to.ID() == arrow.FLOAT32 || to.ID() == arrow.FLOAT64):
		return floatToFloat(from, to)
	}
	return nil
}

// scaled casts integers to integers through value*mul/div. One of the factors
// is 1.
func scaled(from, to arrow.DataType, mul, div uint64) binder {
	fail := failure(from, to)
	return func(dst array.Builder, src arrow.Array, _ *budget) put {
		read, write := readWhole(src), writeWhole(dst)
		return func(i int) *ValueError {
			w := read(i)
			over, mag := bits.Mul64(w.mag, mul)
			if mag%div != 0 {
				return fail(reasonLoss)
			}
			if over != 0 || !write(whole{mag: mag / div, neg: w.neg}) {
				return fail(reasonRange)
			}
			return nil
		}
	}
}

// intToFloat casts integers of at most the magnitude up to which the target has
// every integer.
func intToFloat(from, to arrow.DataType, most uint64) binder {
	fail := failure(from, to)
	return func(dst array.Builder, src arrow.Array, _ *budget) put {
		read, write := readWhole(src), writeFloat(dst)
		return func(i int) *ValueError {
			w := read(i)
			if w.mag > most {
				return fail(reasonLoss)
			}
			f := float64(w.mag)
			if w.neg {
				f = -f
			}
			write(f)
			return nil
		}
	}
}

func floatToInt(from, to arrow.DataType) binder {
	fail := failure(from, to)
	return func(dst array.Builder, src arrow.Array, _ *budget) put {
		read, write := readFloat(src), writeWhole(dst)
		return func(i int) *ValueError {
			f := read(i)
			if f != math.Trunc(f) { // NaN as well
				return fail(reasonLoss)
			}
			if math.Abs(f) >= 1<<64 || !write(whole{mag: uint64(math.Abs(f)), neg: f < 0}) {
				return fail(reasonRange)
			}
			return nil
		}
	}
}

func floatToFloat(from, to arrow.DataType) binder {
	fail := failure(from, to)
	return func(dst array.Builder, src arrow.Array, _ *budget) put {
		read, write := readFloat(src), writeFloat(dst)
		return func(i int) *ValueError {
			if !write(read(i)) {
				return fail(reasonRange)
			}
			return nil
		}
	}
}

func readFloat(src arrow.Array) func(int) float64 {
	switch a := src.(type) {
	case *array.Float16:
		return func(i int) float64 { return float64(a.Value(i).Float32()) }
	case *array.Float32:
		return func(i int) float64 { return float64(a.Value(i)) }
	case *array.Float64:
		return a.Value
	}
	return nil
}

// writeFloat returns a writer that appends the nearest value, and refuses a
// finite one whose nearest is infinite.
func writeFloat(dst array.Builder) func(float64) bool {
	switch b := dst.(type) {
	case *array.Float32Builder:
		return func(f float64) bool {
			v := float32(f)
			if math.IsInf(float64(v), 0) && !math.IsInf(f, 0) {
				return false
			}
			b.Append(v)
			return true
		}
	case *array.Float64Builder:
		return func(f float64) bool {
			b.Append(f)
			return true
		}
	}
	return nil
}
