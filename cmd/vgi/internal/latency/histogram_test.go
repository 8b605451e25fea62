package latency_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/latency"
)

func TestQuantilesAreRightToSixPercent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		name string
		draw func() time.Duration
	}{
		{"small integers", func() time.Duration { return time.Duration(r.IntN(16)) }},
		{"microseconds", func() time.Duration { return time.Duration(r.IntN(1_000_000)) }},
		{"many orders of magnitude", func() time.Duration { return time.Duration(1) << r.IntN(62) }},
		{"all alike", func() time.Duration { return 1234 * time.Microsecond }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all, even, odd latency.Histogram
			var exact []time.Duration
			for i := range 10_000 {
				d := tt.draw()
				exact = append(exact, d)
				if i%2 == 0 {
					even.Record(d)
				} else {
					odd.Record(d)
				}
			}
			all.Add(&even)
			all.Add(&odd)
			slices.Sort(exact)
			for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
				want := exact[max(0, int(q*float64(len(exact)))-1)]
				got := all.Quantile(q)
				if got < want || float64(got) > float64(want)*(1+1.0/16) {
					t.Errorf("quantile %v is %v, and exactly %v", q, got, want)
				}
			}
			if all.Max() != exact[len(exact)-1] || all.Min() != exact[0] || all.Count() != int64(len(exact)) {
				t.Errorf("%d from %v to %v", all.Count(), all.Min(), all.Max())
			}
			var sum int64
			for _, bar := range all.Bars() {
				sum += bar.Count
			}
			if sum != all.Count() {
				t.Errorf("the bars have %d of %d", sum, all.Count())
			}
		})
	}
}

func TestAnEmptyHistogramHasNoNumbers(t *testing.T) {
	var h, other latency.Histogram
	h.Add(&other)
	got := []time.Duration{h.Min(), h.Max(), h.Mean(), h.Quantile(0.5), time.Duration(len(h.Bars()))}
	if diff := cmp.Diff(make([]time.Duration, 5), got); diff != "" {
		t.Error(diff)
	}
	h.Record(-5)
	if h.Max() != 0 || h.Count() != 1 {
		t.Errorf("a negative duration counts as %v", h.Max())
	}
}
