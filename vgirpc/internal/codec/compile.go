package codec

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/float16"

	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// special is a Go type with a form of its own, whatever its kind.
type special struct {
	arrow arrow.DataType // by default; nil when type= must say
	takes string         // the tokens that it can be
	codec func(c *compiler, a arrow.DataType) (codec, error)
}

var specials = map[reflect.Type]*special{
	reflect.TypeFor[time.Time](): {
		&arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, "timestamp(…), date32 or date64", plain(timeCodec),
	},
	reflect.TypeFor[time.Duration](): {
		&arrow.DurationType{Unit: arrow.Microsecond}, "duration(…), time32(…) or time64(…)", plain(durationCodec),
	},
	reflect.TypeFor[Date]():      {arrow.FixedWidthTypes.Date32, "date32 or date64", plain(dateCodec)},
	reflect.TypeFor[TimeOfDay](): {arrow.FixedWidthTypes.Time64us, "time32(…) or time64(…)", plain(timeOfDayCodec)},
	reflect.TypeFor[Decimal](): {nil, "decimal128(precision,scale)", func(_ *compiler, a arrow.DataType) (codec, error) {
		if a, ok := a.(*arrow.Decimal128Type); ok {
			return scaledDecimals{a}, nil
		}
		return nil, nil
	}},
	reflect.TypeFor[decimal128.Num](): {nil, "decimal128(precision,scale)", func(_ *compiler, a arrow.DataType) (codec, error) {
		if a, ok := a.(*arrow.Decimal128Type); ok {
			return decimals128{precision: a.Precision}, nil
		}
		return nil, nil
	}},
	reflect.TypeFor[decimal256.Num](): {nil, "decimal256(precision,scale)", func(_ *compiler, a arrow.DataType) (codec, error) {
		if a, ok := a.(*arrow.Decimal256Type); ok {
			return decimals256{precision: a.Precision}, nil
		}
		return nil, nil
	}},
	reflect.TypeFor[float16.Num]():                only(arrow.FixedWidthTypes.Float16, scalar[uint16]{}),
	reflect.TypeFor[arrow.MonthInterval]():        only(arrow.FixedWidthTypes.MonthInterval, scalar[uint32]{}),
	reflect.TypeFor[arrow.DayTimeInterval]():      only(arrow.FixedWidthTypes.DayTimeInterval, scalar[[2]uint32]{}),
	reflect.TypeFor[arrow.MonthDayNanoInterval](): only(arrow.FixedWidthTypes.MonthDayNanoInterval, scalar[[2]uint64]{}),
	reflect.TypeFor[arrow.RecordBatch](): {arrow.BinaryTypes.Binary, "binary or large_binary", func(c *compiler, a arrow.DataType) (codec, error) {
		return pack(records{c.streams, new(atomic.Pointer[wire.Schema])}, a), nil
	}},
	reflect.TypeFor[*arrow.Schema](): {arrow.BinaryTypes.Binary, "binary or large_binary", func(c *compiler, a arrow.DataType) (codec, error) {
		return pack(arrowSchemas{schemas{c.streams}}, a), nil
	}},
	reflect.TypeFor[*wire.Schema](): {arrow.BinaryTypes.Binary, "binary or large_binary", func(c *compiler, a arrow.DataType) (codec, error) {
		return pack(schemas{c.streams}, a), nil
	}},
}

func plain(f func(arrow.DataType) (codec, error)) func(*compiler, arrow.DataType) (codec, error) {
	return func(_ *compiler, a arrow.DataType) (codec, error) { return f(a) }
}

// only is a special type with one Arrow type.
func only(t arrow.DataType, cd codec) *special {
	return &special{t, token(t), func(_ *compiler, a arrow.DataType) (codec, error) {
		if a.ID() == t.ID() {
			return cd, nil
		}
		return nil, nil
	}}
}

// pack is the codec of p in a binary column, or nil for another column.
func pack(p packer, a arrow.DataType) codec {
	switch a.ID() {
	case arrow.BINARY:
		return packed[int32]{p}
	case arrow.LARGE_BINARY:
		return packed[int64]{p}
	}
	return nil
}

// opaque reports whether t is a struct whose fields do not count.
func (c *compiler) opaque(t reflect.Type) bool {
	return specials[t] != nil || (c.level == state && marshals(t))
}

func isEnum(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return reflect.PointerTo(t).Implements(reflect.TypeFor[Enum]())
	}
	return false
}

func isPairs(t reflect.Type) bool { return t.Implements(reflect.TypeFor[ordered]()) }

// isOctets reports whether t is a slice or array of plain bytes.
func isOctets(t reflect.Type) bool { return t.Elem().Kind() == reflect.Uint8 && !isEnum(t.Elem()) }

// token is t's type token, for texts.
func token(t arrow.DataType) string {
	if s, err := typetoken.Of(t); err == nil {
		return s
	}
	return t.String()
}

// intKindOf is the memory of a Go integer kind; its size is 0 for others.
func intKindOf(k reflect.Kind) intKind {
	switch k {
	case reflect.Int:
		return intKind{unsafe.Sizeof(0), true, "int"}
	case reflect.Uint:
		return intKind{unsafe.Sizeof(uint(0)), false, "uint"}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return intKind{1 << (k - reflect.Int8), true, k.String()}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return intKind{1 << (k - reflect.Uint8), false, k.String()}
	}
	return intKind{}
}

// cellKindOf is the memory of an Arrow integer type; its size is 0 for others.
func cellKindOf(a arrow.DataType) intKind {
	if !arrow.IsInteger(a.ID()) {
		return intKind{}
	}
	return intKind{uintptr(a.(arrow.FixedWidthDataType).BitWidth() / 8), arrow.IsSignedInteger(a.ID()), token(a)}
}

// scalarOf moves values of size bytes.
func scalarOf(size uintptr) codec {
	switch size {
	case 1:
		return scalar[uint8]{}
	case 2:
		return scalar[uint16]{}
	case 4:
		return scalar[uint32]{}
	}
	return scalar[uint64]{}
}

// mismatch reports a Go type that cannot be a column of type a.
func mismatch(t reflect.Type, a arrow.DataType, takes string) error {
	return fmt.Errorf("%v cannot be %s: it can be %s", t, token(a), takes)
}
