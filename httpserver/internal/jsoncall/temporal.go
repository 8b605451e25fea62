package jsoncall

import (
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// Layouts of values without a zone.
const (
	dayLayout   = time.DateOnly
	clockLayout = "15:04:05.999999999"
	localLayout = "2006-01-02T15:04:05.999999999"
)

// perSecond is how many units a second has, and their digits.
func perSecond(u arrow.TimeUnit) (units int64, digits int) {
	digits = 3 * int(u)
	return [...]int64{1, 1e3, 1e6, 1e9}[u], digits
}

// parseTime reads v by one of the layouts. What Go would cut off is refused.
func parseTime(v any, want string, layouts ...string) (time.Time, error) {
	text, ok := v.(string)
	if !ok {
		return time.Time{}, wrongKind(want, v)
	}
	if _, fraction, _ := strings.Cut(text, "."); len(fraction)-len(strings.TrimLeft(fraction, "0123456789")) <= 9 {
		for _, layout := range layouts {
			if t, err := time.Parse(layout, text); err == nil {
				return t, nil
			}
		}
	}
	return time.Time{}, refusef("want %s", want)
}

// instant reads a timestamp of type t.
func instant(v any, t *arrow.TimestampType) (arrow.Timestamp, error) {
	var at time.Time
	var err error
	if t.TimeZone == "" {
		at, err = parseTime(v, "a time without a zone, such as 2026-11-21T13:45:00", localLayout, localLayout+"Z")
	} else {
		at, err = parseTime(v, "a time of RFC 3339, such as 2026-11-21T13:45:00Z", time.RFC3339Nano)
	}
	if err != nil {
		return 0, err
	}
	n, err := inUnits(at.Unix(), at.Nanosecond(), t.Unit)
	return arrow.Timestamp(n), err
}

// inUnits is a number of seconds and nanoseconds in a unit that holds it.
func inUnits(seconds int64, nanos int, u arrow.TimeUnit) (int64, error) {
	units, _ := perSecond(u)
	step := int64(time.Second) / units
	if int64(nanos)%step != 0 {
		return 0, refusef("the value is finer than the column's unit, %v", u)
	}
	n := new(big.Int).Mul(big.NewInt(seconds), big.NewInt(units))
	n.Add(n, big.NewInt(int64(nanos)/step))
	if !n.IsInt64() {
		return 0, refusef("the value is outside the range of the column's unit, %v", u)
	}
	return n.Int64(), nil
}

// day reads a date as days since 1970.
func day(v any) (int64, error) {
	t, err := parseTime(v, "a date such as 2026-11-21", dayLayout)
	return t.Unix() / 86400, err
}

// clock reads a time of day.
func clock(v any, u arrow.TimeUnit) (int64, error) {
	t, err := parseTime(v, "a time of day such as 13:45:00.5", clockLayout, "15:04")
	if err != nil {
		return 0, err
	}
	return inUnits(int64(t.Hour()*3600+t.Minute()*60+t.Second()), t.Nanosecond(), u)
}

// span reads a duration: decimal seconds, or what Go writes.
func span(v any, u arrow.TimeUnit) (arrow.Duration, error) {
	const want = `a duration such as "90.5s"`
	text, ok := v.(string)
	if !ok {
		return 0, wrongKind(want, v)
	}
	d, ok := exact{}, false
	if seconds, found := strings.CutSuffix(text, "s"); found {
		d, ok = parseDecimal(seconds)
	}
	if !ok {
		parsed, err := time.ParseDuration(text)
		if err != nil {
			return 0, refusef("want %s", want)
		}
		d = exact{big.NewInt(int64(parsed)), 9}.normal()
	}
	_, digits := perSecond(u)
	n, ok := d.at(digits)
	switch {
	case !ok:
		return 0, refusef("the value is finer than the column's unit, %v", u)
	case !n.IsInt64():
		return 0, refusef("the value is outside the range of the column's unit, %v", u)
	}
	return arrow.Duration(n.Int64()), nil
}

// appendInstant writes a timestamp in UTC, without a zone where the column has
// none.
func appendInstant(dst []byte, v arrow.Timestamp, t *arrow.TimestampType) []byte {
	units, _ := perSecond(t.Unit)
	seconds, rest := int64(v)/units, int64(v)%units
	at := time.Unix(seconds, rest*(int64(time.Second)/units)).UTC()
	if t.TimeZone == "" {
		return at.AppendFormat(dst, localLayout)
	}
	return at.AppendFormat(dst, time.RFC3339Nano)
}

func appendDay(dst []byte, days int64) []byte {
	if days > math.MaxInt64/86400 || days < math.MinInt64/86400 {
		days = 0 // no date64 holds as many: its unit is the millisecond
	}
	return time.Unix(days*86400, 0).UTC().AppendFormat(dst, dayLayout)
}

func appendClock(dst []byte, v int64, u arrow.TimeUnit) []byte {
	units, _ := perSecond(u)
	return time.Unix(v/units, v%units*(int64(time.Second)/units)).UTC().AppendFormat(dst, clockLayout)
}

func appendSpan(dst []byte, v arrow.Duration, u arrow.TimeUnit) []byte {
	_, digits := perSecond(u)
	d := exact{big.NewInt(int64(v)), digits}.normal()
	return append(appendDecimal(dst, d.digits, d.scale), 's')
}

// interval reads the named whole numbers of an object, each of that many bits.
func interval(v any, bits int, names ...string) ([3]int64, error) {
	var out [3]int64
	o, ok := v.(*object)
	if !ok {
		return out, wrongKind("an object of "+strings.Join(names, ", "), v)
	}
	for i, name := range names {
		member, ok := o.get(name)
		if !ok {
			continue // a part that is not named is zero
		}
		width := bits
		if name == "nanoseconds" {
			width = 64
		}
		n, err := signed(member, width)
		if err != nil {
			return out, within(name, err)
		}
		out[i] = n
	}
	return out, onlyNames(o, names)
}
