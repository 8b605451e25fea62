package objectkey

import (
	"strings"
	"testing"
	"time"
)

func TestKeysAreOfTheirDayAndUnlikeEachOther(t *testing.T) {
	night := time.Date(2026, 1, 2, 0, 30, 0, 0, time.FixedZone("", 3600)) // the first, in UTC
	a, b := New(Out, night), New(In, night)
	if !strings.HasPrefix(a, "out/2026-01-01/") || !strings.HasPrefix(b, "in/2026-01-01/") {
		t.Errorf("got %q and %q", a, b)
	}
	if a[len(a)-26:] == b[len(b)-26:] || !Valid(a) || !Valid(b) {
		t.Errorf("got %q and %q", a, b)
	}
}

func TestOnlyOurOwnKeysAreValid(t *testing.T) {
	good := New(Out, time.Unix(0, 0))
	for name, key := range map[string]string{
		"nothing":             "",
		"another kind":        strings.Replace(good, "out/", "etc/", 1),
		"a way up":            strings.Replace(good, "out/", "out/../", 1),
		"no date":             strings.Replace(good, "1970-01-01", "1970-01-00", 1),
		"a date's other form": strings.Replace(good, "1970-01-01", "1970-1-1", 1),
		"a capital":           strings.ToUpper(good[:len(good)-1]) + "a",
		"a character less":    good[:len(good)-1],
		"a character more":    good + "a",
		"a dot":               good[:len(good)-1] + ".",
		"a deeper one":        good[:len(good)-2] + "/a",
		"a NUL":               good[:len(good)-1] + "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			if Valid(key) {
				t.Errorf("%q is valid", key)
			}
		})
	}
}
