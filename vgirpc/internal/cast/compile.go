package cast

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// put appends the value at one index of its source to its builder. Its error is
// nil or has no row yet, and a path that starts below the column.
type put func(i int) *ValueError

// binder ties a cast, which is known from the types alone, to a builder and an
// array. The put is valid while both are.
type binder func(dst array.Builder, src arrow.Array, left *budget) put

// maxExpansion bounds what a batch may grow by: the limit of one message's body
// that the wire has by default (WIRE_PROTOCOL leaves it to the implementation).
const maxExpansion = 256 << 20

// nullCost is what one row of the null type counts for, which has no bytes.
const nullCost = 16

// budget counts bytes that a batch makes out of nothing.
type budget struct{ bytes int }

func (b *budget) take(n int) bool {
	b.bytes -= n
	return b.bytes >= 0
}

// compile returns the cast from one type to another, or nil if there is none.
func compile(from, to arrow.DataType, nullable bool) binder {
	if from.ID() == arrow.NULL {
		return nothing(from, to, nullable)
	}
	bind := values(from, to, nullable)
	if bind == nil {
		return nil
	}
	return func(dst array.Builder, src arrow.Array, left *budget) put {
		value := bind(dst, src, left)
		return func(i int) *ValueError {
			switch {
			case src.IsValid(i):
				return value(i)
			case !nullable:
				return &ValueError{Received: from, Expected: to, Reason: reasonNull}
			}
			dst.AppendNull()
			return nil
		}
	}
}

// values is compile for values that are not null. nullable matters only behind
// a dictionary, whose values may be null as well.
func values(from, to arrow.DataType, nullable bool) binder {
	if d, ok := from.(*arrow.DictionaryType); ok {
		return decode(d, to, nullable)
	}
	for _, rule := range []func(from, to arrow.DataType) binder{numbers, temporals, decimals, texts, containers, copies} {
		if bind := rule(from, to); bind != nil {
			return bind
		}
	}
	return nil
}

// nothing casts the null type, of which every value is null.
func nothing(from, to arrow.DataType, nullable bool) binder {
	if !buildable(to) {
		return nil
	}
	return func(dst array.Builder, _ arrow.Array, left *budget) put {
		return func(int) *ValueError {
			if !nullable {
				return &ValueError{Received: from, Expected: to, Reason: reasonNull}
			}
			if !left.take(nullCost) {
				return &ValueError{Received: from, Expected: to, Reason: reasonTooBig}
			}
			dst.AppendNull()
			return nil
		}
	}
}

// buildable reports whether [array.NewBuilder] takes the type. It panics for
// some dictionaries and for what it does not know.
func buildable(t arrow.DataType) bool {
	switch t := t.(type) {
	case arrow.ExtensionType, *arrow.RunEndEncodedType, arrow.UnionType:
		return false
	case *arrow.DictionaryType:
		return encodable(t)
	case arrow.NestedType:
		for _, f := range t.Fields() {
			if !buildable(f.Type) {
				return false
			}
		}
	}
	return true
}

// failure returns the function with which a cast reports a value.
func failure(from, to arrow.DataType) func(reason string) *ValueError {
	return func(reason string) *ValueError {
		return &ValueError{Received: from, Expected: to, Reason: reason}
	}
}

// copies casts a type to itself, which happens to children beside a sibling that
// changes. The types that other rules take are not here.
func copies(from, to arrow.DataType) binder {
	if !schemacmp.EqualTypes(from, to) {
		return nil
	}
	switch from.ID() {
	case arrow.BOOL:
		return same[bool]
	case arrow.FIXED_SIZE_BINARY:
		return sameBytes(from, to)
	case arrow.FLOAT16:
		return same[float16Num]
	case arrow.DECIMAL256:
		return same[decimal256Num]
	case arrow.INTERVAL_MONTHS:
		return same[arrow.MonthInterval]
	case arrow.INTERVAL_DAY_TIME:
		return same[arrow.DayTimeInterval]
	case arrow.INTERVAL_MONTH_DAY_NANO:
		return same[arrow.MonthDayNanoInterval]
	default:
		return nil
	}
}

// source and sink are what arrow-go's arrays and builders of T have in common.
type (
	source[T any] interface{ Value(int) T }
	sink[T any]   interface{ Append(T) }
)

func same[T any](dst array.Builder, src arrow.Array, _ *budget) put {
	from, to := src.(source[T]), dst.(sink[T])
	return func(i int) *ValueError {
		to.Append(from.Value(i))
		return nil
	}
}

// sameBytes copies binary of a fixed size. One of no size takes no space, so its
// rows are counted.
func sameBytes(from, to arrow.DataType) binder {
	fail := failure(from, to)
	empty := from.(*arrow.FixedSizeBinaryType).ByteWidth == 0
	return func(dst array.Builder, src arrow.Array, left *budget) put {
		values, out := src.(*array.FixedSizeBinary), dst.(*array.FixedSizeBinaryBuilder)
		return func(i int) *ValueError {
			if empty && !left.take(1) {
				return fail(reasonTooBig)
			}
			out.Append(values.Value(i))
			return nil
		}
	}
}
