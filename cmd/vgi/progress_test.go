package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProgressIsALineThatIsRewritten(t *testing.T) {
	now := time.Unix(0, 0)
	var out bytes.Buffer
	p := newProgress(&out, 400, func() time.Time { return now })
	for range 4 {
		now = now.Add(500 * time.Millisecond)
		p.add(100, 1<<20)
	}
	p.clear()
	var shown []string
	for part := range strings.SplitSeq(out.String(), "\r") {
		shown = append(shown, strings.TrimRight(part, " "))
	}
	want := []string{
		"",
		"[##########..........]  50%  200 rows  2.0 MiB  200 rows/s  2.0 MiB/s  1s",
		"[###############.....]  75%  300 rows  3.0 MiB  200 rows/s  2.0 MiB/s  2s",
		"[####################] 100%  400 rows  4.0 MiB  200 rows/s  2.0 MiB/s  2s",
		"", "",
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProgressOfAShortStreamIsNotShown(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 0, func() time.Time { return time.Unix(0, 0) })
	p.add(1, 1)
	p.clear()
	var none *progress
	none.add(1, 1)
	none.clear()
	if out.Len() > 0 {
		t.Errorf("shown: %q", out.String())
	}
	if text := p.text(2 * time.Second); text != "1 rows  1 B  0 rows/s  0 B/s  2s" {
		t.Errorf("text %q", text)
	}
}

func TestSizesHaveUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "65536": 65536, "64K": 64 << 10, "64KiB": 64 << 10, "64kb": 64 << 10, "3MiB": 3 << 20, "2G": 2 << 30, "1TiB": 1 << 40, "12B": 12,
		"": 0, "0": 0, "-1": 0, "x": 0, "1.5M": 0, "9999999999999T": 0, "1KK": 0, "M": 0,
	} {
		var s size
		if err := s.Set(text); (err == nil) != (want > 0) || int64(s) != want {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
}
