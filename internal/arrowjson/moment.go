package arrowjson

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Layouts of a value without its year.
const (
	dayLayout   = "-01-02"
	clockLayout = "15:04:05.999999999"
	localLayout = dayLayout + "T" + clockLayout
	zonedLayout = localLayout + "Z07:00"
)

// The calendar repeats after this many years, which are that many days.
const (
	cycleYears = 400
	cycleDays  = 146097
	secondsDay = 86400
)

// perSecond is how many units a second has.
func perSecond(u arrow.TimeUnit) int64 { return [...]int64{1, 1e3, 1e6, 1e9}[u] }

// digitsOf is how many digits behind the point a second has in units.
func digitsOf(u arrow.TimeUnit) int { return 3 * int(u) }

// floorDiv is n / by and what remains, which is not negative.
func floorDiv(n, by int64) (quotient, rest int64) {
	quotient, rest = n/by, n%by
	if rest < 0 {
		quotient, rest = quotient-1, rest+by
	}
	return quotient, rest
}

// civil is the year of a day after 1970, or before, and a time on that day of
// another year with the same calendar, which package time can write: days of
// 64 bits are beyond its years.
func civil(days int64) (year int64, t time.Time) {
	cycles, day := floorDiv(days, cycleDays)
	t = time.Unix(day*secondsDay, 0).UTC()
	return int64(t.Year()) + cycles*cycleYears, t
}

// appendYear writes four digits, and a sign and six where a year has more.
func appendYear(dst []byte, year int64) []byte {
	digits := 4
	if year < 0 || year > 9999 {
		digits = 6
		if year < 0 {
			dst, year = append(dst, '-'), -year
		} else {
			dst = append(dst, '+')
		}
	}
	text := strconv.FormatInt(year, 10)
	for range digits - len(text) {
		dst = append(dst, '0')
	}
	return append(dst, text...)
}

// cutYear splits text after a year as appendYear writes it, and gives the days
// of the whole cycles by which it is another one of the same calendar, whose
// text stands in for it.
func cutYear(text string) (standIn string, days int64) {
	if text == "" || (text[0] != '+' && text[0] != '-') {
		return text, 0
	}
	end := strings.IndexByte(text[1:], '-') + 1
	if end < 1+6 || end > 1+12 || !isNumber(text[1:end]) {
		return "", 0 // no time by any layout
	}
	year, err := strconv.ParseInt(text[:end], 10, 64)
	if err != nil || (0 <= year && year <= 9999) {
		return "", 0
	}
	cycles, rest := floorDiv(year-2000, cycleYears)
	return strconv.FormatInt(2000+rest, 10) + text[end:], cycles * cycleDays
}

// moment is a time as its day after 1970 and the time of that day.
type moment struct {
	days    int64
	seconds int64 // 0 to 86399
	nanos   int64
}

// parseMoment reads v by one of the layouts, which begin with a year where
// dated says so. What Go would cut off is refused.
func parseMoment(v any, want string, dated bool, layouts ...string) (moment, error) {
	text, ok := v.(string)
	if !ok {
		return moment{}, WrongKind(want, v)
	}
	var days int64
	year := ""
	if dated {
		text, days = cutYear(text)
		year = "2006"
	}
	if _, fraction, _ := strings.Cut(text, "."); len(fraction)-len(strings.TrimLeft(fraction, "0123456789")) <= 9 {
		for _, layout := range layouts {
			if t, err := time.Parse(year+layout, text); err == nil {
				day, seconds := floorDiv(t.Unix(), secondsDay)
				return moment{days + day, seconds, int64(t.Nanosecond())}, nil
			}
		}
	}
	return moment{}, formf("want %s", want)
}

// in is a moment in a unit that holds it.
func (m moment) in(u arrow.TimeUnit) (int64, error) {
	units := perSecond(u)
	step := int64(time.Second) / units
	if m.nanos%step != 0 {
		return 0, finer(u)
	}
	days, rest := m.days, m.seconds*units+m.nanos/step
	if days < 0 && rest > 0 { // towards zero, where there is room
		days, rest = days+1, rest-secondsDay*units
	}
	n := days * (secondsDay * units)
	if n/(secondsDay*units) != days || (rest > 0 && n > math.MaxInt64-rest) || (rest < 0 && n < math.MinInt64-rest) {
		return 0, outside(u)
	}
	return n + rest, nil
}

func finer(u arrow.TimeUnit) error {
	return valuef("the value is finer than the column's unit, %v", u)
}

func outside(u arrow.TimeUnit) error {
	return valuef("the value is outside the range of the column's unit, %v", u)
}

// instant reads a timestamp of type t.
func (o ReadOptions) instant(v any, t *arrow.TimestampType) (arrow.Timestamp, error) {
	var m moment
	var err error
	if t.TimeZone == "" {
		m, err = parseMoment(v, "a time without a zone, such as 2026-11-21T13:45:00", true, localLayout, localLayout+"Z")
	} else {
		m, err = parseMoment(v, "a time of RFC 3339, such as 2026-11-21T13:45:00Z", true, zonedLayout)
	}
	if err == nil {
		n, err := m.in(t.Unit)
		return arrow.Timestamp(n), err
	}
	if text, ok := v.(string); ok && o.Lenient {
		if n, _, failed := arrow.TimestampFromStringInLocation(text, t.Unit, time.UTC); failed == nil {
			return n, nil
		}
	}
	return 0, err
}

// day reads a date as days since 1970.
func day(v any) (int64, error) {
	m, err := parseMoment(v, "a date such as 2026-11-21", true, dayLayout)
	return m.days, err
}

// day32 reads a date of 32 bits.
func day32(v any) (arrow.Date32, error) {
	n, err := day(v)
	if err == nil && int64(int32(n)) != n {
		err = valuef("the date is outside the range of date32")
	}
	return arrow.Date32(n), err
}

// day64 reads a date in milliseconds.
func day64(v any) (arrow.Date64, error) {
	n, err := day(v)
	const ms = secondsDay * 1000
	if err == nil && (n > math.MaxInt64/ms || n < math.MinInt64/ms) {
		err = valuef("the date is outside the range of date64")
	}
	return arrow.Date64(n * ms), err
}

// clock reads a time of day.
func clock(v any, u arrow.TimeUnit) (int64, error) {
	m, err := parseMoment(v, "a time of day such as 13:45:00.5", false, clockLayout, "15:04")
	if err != nil {
		return 0, err
	}
	m.days = 0
	return m.in(u)
}

// span reads a duration: a decimal number of one unit, or what Go writes.
func span(v any, u arrow.TimeUnit) (arrow.Duration, error) {
	const want = `a duration such as "90.5s"`
	text, ok := v.(string)
	if !ok {
		return 0, WrongKind(want, v)
	}
	d, ok := exact{}, false
	for i, suffix := range []string{"s", "ms", "us", "ns"} {
		number, found := strings.CutSuffix(text, suffix)
		if !found {
			continue
		}
		if d, ok = parseDecimal(number); ok {
			d = exact{d.digits, d.scale + 3*i}
			break
		}
	}
	if !ok {
		parsed, err := time.ParseDuration(text)
		if err != nil {
			return 0, formf("want %s", want)
		}
		d = exact{big.NewInt(int64(parsed)), 9}
	}
	n, ok := d.normal().at(digitsOf(u))
	switch {
	case !ok:
		return 0, finer(u)
	case !n.IsInt64():
		return 0, outside(u)
	}
	return arrow.Duration(n.Int64()), nil
}

// interval reads the named whole numbers of an object, of 32 bits but for
// nanoseconds.
func interval(v any, names ...string) ([3]int64, error) {
	var out [3]int64
	o, ok := v.(*Object)
	if !ok {
		return out, WrongKind("an object of "+strings.Join(names, ", "), v)
	}
	for i, name := range names {
		member, ok := o.Get(name)
		if !ok {
			continue // a part that is not named is zero
		}
		bits := 32
		if name == "nanoseconds" {
			bits = 64
		}
		n, err := signed(member, bits)
		if err != nil {
			return out, Within(name, err)
		}
		out[i] = n
	}
	return out, o.Only(len(names), func(i int) string { return names[i] })
}

func (o *WriteOptions) appendMoment(dst []byte, arr arrow.Array, i int) ([]byte, bool) {
	quoted := func(write func([]byte) []byte) ([]byte, bool) { return quoteIf(true, dst, write), true }
	switch arr := arr.(type) {
	case *array.Timestamp:
		return quoted(func(dst []byte) []byte {
			return appendInstant(dst, arr.Value(i), arr.DataType().(*arrow.TimestampType))
		})
	case *array.Date32:
		return quoted(func(dst []byte) []byte { return appendDay(dst, int64(arr.Value(i))) })
	case *array.Date64:
		days, _ := floorDiv(int64(arr.Value(i)), secondsDay*1000)
		return quoted(func(dst []byte) []byte { return appendDay(dst, days) })
	case *array.Time32:
		return quoted(func(dst []byte) []byte {
			return appendClock(dst, int64(arr.Value(i)), arr.DataType().(*arrow.Time32Type).Unit)
		})
	case *array.Time64:
		return quoted(func(dst []byte) []byte {
			return appendClock(dst, int64(arr.Value(i)), arr.DataType().(*arrow.Time64Type).Unit)
		})
	case *array.Duration:
		return quoted(func(dst []byte) []byte {
			return o.appendSpan(dst, arr.Value(i), arr.DataType().(*arrow.DurationType).Unit)
		})
	}
	return o.appendInterval(dst, arr, i)
}

func (o *WriteOptions) appendInterval(dst []byte, arr arrow.Array, i int) ([]byte, bool) {
	switch arr := arr.(type) {
	case *array.MonthInterval:
		dst = o.appendInt(append(dst, `{"months":`...), int64(arr.Value(i)))
	case *array.DayTimeInterval:
		v := arr.Value(i)
		dst = o.appendInt(append(dst, `{"days":`...), int64(v.Days))
		dst = o.appendInt(append(dst, `,"milliseconds":`...), int64(v.Milliseconds))
	case *array.MonthDayNanoInterval:
		v := arr.Value(i)
		dst = o.appendInt(append(dst, `{"months":`...), int64(v.Months))
		dst = o.appendInt(append(dst, `,"days":`...), int64(v.Days))
		dst = o.appendInt(append(dst, `,"nanoseconds":`...), v.Nanoseconds)
	default:
		return nil, false
	}
	return append(dst, '}'), true
}

// appendInstant writes a timestamp in UTC, without a zone where the column has
// none.
func appendInstant(dst []byte, v arrow.Timestamp, t *arrow.TimestampType) []byte {
	units := perSecond(t.Unit)
	seconds, rest := floorDiv(int64(v), units)
	days, ofDay := floorDiv(seconds, secondsDay)
	year, at := civil(days)
	at = at.Add(time.Duration(ofDay)*time.Second + time.Duration(rest*(int64(time.Second)/units)))
	layout := zonedLayout
	if t.TimeZone == "" {
		layout = localLayout
	}
	return at.AppendFormat(appendYear(dst, year), layout)
}

func appendDay(dst []byte, days int64) []byte {
	year, t := civil(days)
	return t.AppendFormat(appendYear(dst, year), dayLayout)
}

func appendClock(dst []byte, v int64, u arrow.TimeUnit) []byte {
	units := perSecond(u)
	return time.Unix(v/units, v%units*(int64(time.Second)/units)).UTC().AppendFormat(dst, clockLayout)
}

func (o *WriteOptions) appendSpan(dst []byte, v arrow.Duration, u arrow.TimeUnit) []byte {
	if o.DurationUnits {
		return append(strconv.AppendInt(dst, int64(v), 10), u.String()...)
	}
	d := exact{big.NewInt(int64(v)), digitsOf(u)}.normal()
	return append(d.append(dst), 's')
}
