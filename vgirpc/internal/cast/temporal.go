package cast

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// temporals casts dates to dates and units to units. Dates and times of day do
// not mix, nor do zones.
func temporals(from, to arrow.DataType) binder {
	unit, ok := ticks(from, to)
	if !ok {
		return nil
	}
	other, _ := ticks(to, from) // a family works both ways
	if unit >= other {
		return scaled(from, to, uint64(unit/other), 1)
	}
	return scaled(from, to, 1, uint64(other/unit))
}

// ticks returns how long one step of t is, if other is of the same family.
func ticks(t, other arrow.DataType) (time.Duration, bool) {
	switch t := t.(type) {
	case *arrow.Date32Type:
		return 24 * time.Hour, isDate(other)
	case *arrow.Date64Type:
		return time.Millisecond, isDate(other)
	case *arrow.Time32Type:
		return t.Unit.Multiplier(), isTime(other)
	case *arrow.Time64Type:
		return t.Unit.Multiplier(), isTime(other)
	case *arrow.DurationType:
		return t.Unit.Multiplier(), other.ID() == arrow.DURATION
	case *arrow.TimestampType:
		o, ok := other.(*arrow.TimestampType)
		return t.Unit.Multiplier(), ok && o.TimeZone == t.TimeZone
	}
	return 0, false
}

func isDate(t arrow.DataType) bool { return t.ID() == arrow.DATE32 || t.ID() == arrow.DATE64 }

func isTime(t arrow.DataType) bool { return t.ID() == arrow.TIME32 || t.ID() == arrow.TIME64 }
