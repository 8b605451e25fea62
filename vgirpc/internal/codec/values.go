package codec

import (
	"fmt"
	"time"
)

// Date is a calendar day as the number of days since 1970-01-01: Arrow's
// date32. Dates compare with == and <.
type Date int32

// NewDate returns the day of the proleptic Gregorian calendar; a day or month
// out of range is normalized as by time.Date.
func NewDate(year int, month time.Month, day int) Date {
	return DateOf(time.Date(year, month, day, 0, 0, 0, 0, time.UTC))
}

// DateOf is the day that the wall clock shows at t, in t's own location.
func DateOf(t time.Time) Date { return Date(floorDiv(wallSeconds(t), secondsPerDay)) }

// ParseDate parses a day written as 2006-01-02.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("date %q: want year-month-day, as in 2006-01-02", s)
	}
	return DateOf(t), nil
}

// Time is the beginning of the day in UTC.
func (d Date) Time() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

// String writes the day as 2006-01-02.
func (d Date) String() string { return d.Time().Format(time.DateOnly) }

// MarshalText writes the day as String does.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Date) UnmarshalText(text []byte) error {
	v, err := ParseDate(string(text))
	if err == nil {
		*d = v
	}
	return err
}

// TimeOfDay is a time on the clock without a day, as nanoseconds since
// midnight: Arrow's time32 and time64. It compares with == and <.
type TimeOfDay int64

// NewTimeOfDay returns a time on the clock. It does not check the ranges;
// encoding does.
func NewTimeOfDay(hour, minute, second, nanosecond int) TimeOfDay {
	return TimeOfDay(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute +
		time.Duration(second)*time.Second + time.Duration(nanosecond))
}

// TimeOfDayOf is what the wall clock shows at t, in t's own location.
func TimeOfDayOf(t time.Time) TimeOfDay {
	return NewTimeOfDay(t.Hour(), t.Minute(), t.Second(), t.Nanosecond())
}

// ParseTimeOfDay parses a time written as 15:04:05, with or without a fraction.
func ParseTimeOfDay(s string) (TimeOfDay, error) {
	t, err := time.Parse(time.TimeOnly, s)
	if err != nil {
		return 0, fmt.Errorf("time of day %q: want hour:minute:second, as in 15:04:05.25", s)
	}
	return TimeOfDayOf(t), nil
}

// Duration is the time since midnight.
func (t TimeOfDay) Duration() time.Duration { return time.Duration(t) }

// On is this time on a day, in UTC.
func (t TimeOfDay) On(d Date) time.Time { return d.Time().Add(time.Duration(t)) }

// String writes the time as 15:04:05, with a fraction where there is one.
func (t TimeOfDay) String() string { return t.On(0).Format("15:04:05.999999999") }

// MarshalText writes the time as String does.
func (t TimeOfDay) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (t *TimeOfDay) UnmarshalText(text []byte) error {
	v, err := ParseTimeOfDay(string(text))
	if err == nil {
		*t = v
	}
	return err
}

// Enum is an enumeration: a string type, whose values are names, or an integer
// type, whose values count the names from zero. It travels as its name
// (WIRE_PROTOCOL section 4).
type Enum interface {
	// EnumNames lists the names. They must not depend on the receiver.
	EnumNames() []string
}

// Pair is one entry of an ordered map.
type Pair[K, V any] struct {
	Key   K
	Value V
}

// Pairs is a map that keeps the order of its entries, and duplicate keys.
type Pairs[K, V any] []Pair[K, V]

func (Pairs[K, V]) pairs() {}

// ordered is implemented by every Pairs.
type ordered interface{ pairs() }
