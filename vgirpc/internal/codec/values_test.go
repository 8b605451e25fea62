package codec

import (
	"encoding"
	"math"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

func TestDecimalsAreWrittenWithAllDigitsOfTheirScale(t *testing.T) {
	for _, s := range []string{
		"0", "0.00", "1", "-1", "12.340", "-0.001", "0.5", "99999999999999999999999999999999999999",
		"-9.9999999999999999999999999999999999999",
	} {
		d, err := ParseDecimal(s)
		if err != nil {
			t.Fatal(err)
		}
		if d.String() != s {
			t.Errorf("%s became %s", s, d)
		}
	}
	for s, want := range map[string]string{"+1.5": "1.5", "007": "7", ".5": "0.5", "5.": "5", "-.25": "-0.25"} {
		if d, err := ParseDecimal(s); err != nil || d.String() != want {
			t.Errorf("%s became %s, %v", s, d, err)
		}
	}
	if got := NewDecimal(decimal128.FromI64(12), -2).String(); got != "1200" {
		t.Error(got)
	}
}

func TestTextThatIsNoDecimalIsRefused(t *testing.T) {
	for _, s := range []string{
		"", "-", ".", "+", "1e5", "1.2.3", "--1", "-+1", " 1", "1 ", "0x1", "NaN", "١",
		"100000000000000000000000000000000000000", "0.000000000000000000000000000000000000001",
	} {
		if d, err := ParseDecimal(s); err == nil {
			t.Errorf("%q became %s", s, d)
		}
	}
}

func TestRescalingADecimalNeverLosesDigits(t *testing.T) {
	for _, tc := range []struct {
		in    string
		scale int32
		want  string
	}{
		{"1.50", 1, "1.5"},
		{"1.5", 4, "1.5000"},
		{"0", 30, "0.000000000000000000000000000000"},
		{"-2", 0, "-2"},
		{"1.55", 1, ""},
		{"99999999999999999999999999999999999999", 1, ""},
		{"1", math.MaxInt32, ""},
		{"1", math.MinInt32, ""},
	} {
		d := decimals(tc.in)[0]
		got, err := d.Rescale(tc.scale)
		if (err != nil) != (tc.want == "") || (err == nil && got.String() != tc.want) {
			t.Errorf("%s at scale %d is %v, %v; want %s", tc.in, tc.scale, got, err, tc.want)
		}
	}
}

func TestDecimalsCompareByValue(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"1.0", "1", 0}, {"1.1", "1", 1}, {"-1", "0.001", -1}, {"0", "0.000", 0}, {"2", "10.5", -1}} {
		a, b := decimals(tc.a)[0], decimals(tc.b)[0]
		if a.Cmp(b) != tc.want || b.Cmp(a) != -tc.want || a.Equal(b) != (tc.want == 0) {
			t.Errorf("%s and %s compare as %d", a, b, a.Cmp(b))
		}
	}
}

func TestDatesAndTimesOfDayAreWhatTheClockShows(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 30, 0, 250_000_000, time.FixedZone("", -5*3600))
	if d := DateOf(at); d.String() != "2024-02-29" || d != NewDate(2024, time.February, 29) {
		t.Error(d)
	}
	if c := TimeOfDayOf(at); c.String() != "23:30:00.25" || c.Duration() != 23*time.Hour+30*time.Minute+250*time.Millisecond {
		t.Error(c)
	}
	if d := NewDate(1969, 12, 31); d != -1 || d.String() != "1969-12-31" {
		t.Error(d)
	}
	if got := NewTimeOfDay(1, 2, 3, 4).On(NewDate(2000, 1, 2)); !got.Equal(time.Date(2000, 1, 2, 1, 2, 3, 4, time.UTC)) {
		t.Error(got)
	}
}

func TestValuesReadTheTextThatTheyWrite(t *testing.T) {
	for _, tc := range []struct {
		in  encoding.TextMarshaler
		out encoding.TextUnmarshaler
	}{
		{NewDate(2024, 2, 29), new(Date)},
		{NewTimeOfDay(23, 59, 59, 1), new(TimeOfDay)},
		{decimals("-1.50")[0], new(Decimal)},
	} {
		text, err := tc.in.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := tc.out.UnmarshalText(text); err != nil {
			t.Fatal(err)
		}
		again, _ := tc.out.(encoding.TextMarshaler).MarshalText()
		if string(again) != string(text) {
			t.Errorf("%s became %s", text, again)
		}
		if tc.out.UnmarshalText([]byte("nonsense")) == nil {
			t.Errorf("%T reads nonsense", tc.out)
		}
	}
}
