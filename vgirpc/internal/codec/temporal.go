package codec

import (
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// timeCodec maps time.Time to a timestamp or a date. A timestamp without a zone
// and a date are what the wall clock shows in the time's own location, and are
// decoded in UTC; so is one whose zone is UTC.
func timeCodec(a arrow.DataType) (codec, error) {
	switch a := a.(type) {
	case *arrow.TimestampType:
		return timestampCodec(a)
	case *arrow.Date32Type:
		return converted[time.Time, int32]{
			load:  func(v int32) (time.Time, string) { return Date(v).Time(), "" },
			store: storeDate,
		}, nil
	case *arrow.Date64Type:
		return converted[time.Time, int64]{
			load: func(v int64) (time.Time, string) { return time.UnixMilli(v).UTC(), "" },
			store: func(t time.Time) (int64, string) {
				day, reason := storeDate(t)
				return int64(day) * millisPerDay, reason
			},
		}, nil
	}
	return nil, nil
}

const (
	secondsPerDay = 24 * 60 * 60
	millisPerDay  = secondsPerDay * 1000
)

func storeDate(t time.Time) (int32, string) {
	days := floorDiv(wallSeconds(t), secondsPerDay)
	if days < math.MinInt32 || days > math.MaxInt32 {
		return 0, "a time outside the range of dates"
	}
	return int32(days), ""
}

func timestampCodec(a *arrow.TimestampType) (codec, error) {
	loc, err := location(a.TimeZone)
	if err != nil {
		return nil, err
	}
	perSecond := int64(time.Second / a.Unit.Multiplier())
	nanos := int64(a.Unit.Multiplier())
	naive := a.TimeZone == ""
	return converted[time.Time, int64]{
		load: func(v int64) (time.Time, string) {
			sec := floorDiv(v, perSecond)
			return time.Unix(sec, (v-sec*perSecond)*nanos).In(loc), ""
		},
		store: func(t time.Time) (int64, string) {
			sec := t.Unix()
			if naive {
				sec = wallSeconds(t)
			}
			v, ok := scale(sec, perSecond)
			if !ok {
				return 0, "a time outside the range of the column's timestamps"
			}
			part := int64(t.Nanosecond()) / nanos
			if v > math.MaxInt64-part {
				return 0, "a time outside the range of the column's timestamps"
			}
			return v + part, ""
		},
	}, nil
}

// location is a timestamp's zone: a name of the zone database, or an offset as
// Arrow writes them, "+05:30".
func location(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return time.UTC, nil
	}
	if t, err := time.Parse("-07:00", name); err == nil {
		_, offset := t.Zone()
		return time.FixedZone(name, offset), nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q is not known here: use UTC, or import time/tzdata", name)
	}
	return loc, nil
}

// wallSeconds is t's wall clock as if it were UTC.
func wallSeconds(t time.Time) int64 {
	_, offset := t.Zone()
	return t.Unix() + int64(offset)
}

// durationCodec maps time.Duration to a duration. What is finer than the
// column's unit is cut off.
func durationCodec(a arrow.DataType) (codec, error) {
	switch a := a.(type) {
	case *arrow.DurationType:
		nanos := int64(a.Unit.Multiplier())
		return converted[time.Duration, int64]{
			load: func(v int64) (time.Duration, string) {
				d, ok := scale(v, nanos)
				if !ok {
					return 0, "a duration of more than 292 years"
				}
				return time.Duration(d), ""
			},
			store: func(d time.Duration) (int64, string) { return int64(d) / nanos, "" },
		}, nil
	case *arrow.Time32Type, *arrow.Time64Type:
		return clockCodec[time.Duration](a)
	}
	return nil, nil
}

// timeOfDayCodec maps TimeOfDay to a time.
func timeOfDayCodec(a arrow.DataType) (codec, error) { return clockCodec[TimeOfDay](a) }

func clockCodec[G ~int64](a arrow.DataType) (codec, error) {
	const outside = "a time of day outside 00:00 to 24:00"
	load := func(v, nanos int64) (G, string) {
		if v < 0 || v >= int64(24*time.Hour)/nanos {
			return 0, outside
		}
		return G(v * nanos), ""
	}
	store := func(g G, nanos int64) (int64, string) {
		if g < 0 || int64(g) >= int64(24*time.Hour) {
			return 0, outside
		}
		return int64(g) / nanos, ""
	}
	switch a := a.(type) {
	case *arrow.Time32Type:
		nanos := int64(a.Unit.Multiplier())
		return converted[G, int32]{
			load: func(v int32) (G, string) { return load(int64(v), nanos) },
			store: func(g G) (int32, string) {
				v, reason := store(g, nanos)
				return int32(v), reason
			},
		}, nil
	case *arrow.Time64Type:
		nanos := int64(a.Unit.Multiplier())
		return converted[G, int64]{
			load:  func(v int64) (G, string) { return load(v, nanos) },
			store: func(g G) (int64, string) { return store(g, nanos) },
		}, nil
	}
	return nil, nil
}

// dateCodec maps Date to a date.
func dateCodec(a arrow.DataType) (codec, error) {
	switch a.(type) {
	case *arrow.Date32Type:
		return scalar[uint32]{}, nil
	case *arrow.Date64Type:
		return converted[Date, int64]{
			load: func(v int64) (Date, string) {
				days := floorDiv(v, millisPerDay)
				if days < math.MinInt32 || days > math.MaxInt32 {
					return 0, "a date outside the range of dates"
				}
				return Date(days), ""
			},
			store: func(d Date) (int64, string) { return int64(d) * millisPerDay, "" },
		}, nil
	}
	return nil, nil
}

// scale multiplies and reports whether the product fits.
func scale(v, by int64) (int64, bool) {
	abs := uint64(v)
	if v < 0 {
		abs = -abs
	}
	hi, lo := bits.Mul64(abs, uint64(by))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	return v * by, true
}

func floorDiv(v, by int64) int64 {
	q := v / by
	if v%by < 0 {
		q--
	}
	return q
}
