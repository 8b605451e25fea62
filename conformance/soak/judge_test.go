package soak

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// course is what was seen of all processes.
type course struct {
	processes []process
	before    sample // at rest, after the first load
	load      []sample
	after     sample   // at rest again
	rising    []growth // what rose every time that was looked at it
}

// growth is something that there is more of than there should be.
type growth struct {
	process, quantity string
	what              string
}

func (g growth) String() string { return fmt.Sprintf("%s: %s: %s", g.process, g.quantity, g.what) }

// judge finds what grew: what was not given back at rest, and what rose under load.
func (c *course) judge() []growth { return append(c.kept(), c.rising...) }

// kept is what was not given back at rest.
func (c *course) kept() (grown []growth) {
	for p, process := range c.processes {
		for i, q := range quantities {
			before, after := c.before.held[p][i], c.after.held[p][i]
			if limit := max(q.rest, q.restPart*before) + process.idle(i); after-before > limit {
				grown = append(grown, growth{process.name, q.name, fmt.Sprintf("%s at rest before the load, %s after it; %s more are allowed",
					q.show(before), q.show(after), q.show(limit))})
			}
		}
	}
	return grown
}

// trends are what rose in the course of samples.
func (c *course) trends(samples []sample) (rising []growth) {
	if len(samples) < 20 {
		return nil // no trend to speak of
	}
	at, values := make([]float64, len(samples)), make([]float64, len(samples))
	for p, process := range c.processes {
		for i, q := range quantities {
			for j, s := range samples {
				at[j], values[j] = s.at.Seconds(), s.held[p][i]
			}
			took := at[len(at)-1] - at[0]
			rise, usual := slope(at, values)*took, median(values)
			if limit := max(q.trend, q.trendPart*usual); rise > limit {
				rising = append(rising, growth{process.name, q.name, fmt.Sprintf("rises by %s in the last %.0f s of the load, around %s; %s are allowed",
					q.show(rise), took, q.show(usual), q.show(limit))})
			}
		}
	}
	return rising
}

// looks is how often something has to rise, one time after the other. Of what has
// no trend but much noise, as the heap of 64 callers has, one series of samples in
// thirty rises by more than is allowed; what leaks rises in all of them.
const looks = 3

// still is what of those that rose rises in later samples as well.
func still(rose, rises []growth) []growth {
	return slices.DeleteFunc(rises, func(g growth) bool {
		return !slices.ContainsFunc(rose, func(r growth) bool { return r.process == g.process && r.quantity == g.quantity })
	})
}

// idle is what a process may hold at rest for later requests: over HTTP a worker keeps
// the memory of as many requests as there were at once, up to a bound, and
// connections to the storage, which is in the worker itself.
func (p process) idle(quantity int) float64 {
	const kept = 6
	switch {
	case p.site == nil || p.site.files == "":
	case quantity == goroutines:
		return 3 * kept // two of the client, one of the server
	case quantity == descriptors:
		return 2 * kept
	case quantity == heapInUse:
		return 8 * mib
	}
	return 0
}

// show writes an amount with its unit.
func (q quantity) show(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.4g %s", v/q.scale, q.unit), " ")
}

// slope is the median of the slopes between all pairs of points (Theil and Sen):
// peaks, as many as there may be of them, do not move it.
func slope(x, y []float64) float64 {
	var all []float64
	for i := range x {
		for j := range i {
			if x[i] != x[j] {
				all = append(all, (y[i]-y[j])/(x[i]-x[j]))
			}
		}
	}
	return median(all)
}

// median is 0 of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func TestOnlyWhatGoesOnRisingIsALeak(t *testing.T) {
	heap, sessions := growth{"http", "heap in use", "by 20"}, growth{"http", "sessions", "by 30"}
	again := growth{"http", "heap in use", "by 25"}
	other := growth{"tcp", "heap in use", "by 25"}
	for _, test := range []struct {
		name               string
		rose, rises, still []growth
	}{
		{"nothing", []growth{heap}, nil, nil},
		{"something else", []growth{heap, sessions}, []growth{other}, nil},
		{"the same, by another amount", []growth{heap, sessions}, []growth{other, again}, []growth{again}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := still(test.rose, test.rises); !slices.Equal(got, test.still) {
				t.Errorf("got %v, want %v", got, test.still)
			}
		})
	}
}

func TestGrowthIsFound(t *testing.T) {
	const length = 60
	noise := func(i int) float64 { return float64((i*7919)%5) - 2 }
	tests := []struct {
		name     string
		quantity int
		before   float64
		load     func(i int) float64
		after    float64
		want     string // part of what grew; nothing when empty
	}{
		{"nothing grows", goroutines, 20, func(i int) float64 { return 40 + noise(i) }, 20, ""},
		{"one goroutine stays", goroutines, 20, func(i int) float64 { return 40 + noise(i) }, 21, ""},
		{"five goroutines stay", goroutines, 20, func(i int) float64 { return 40 + noise(i) }, 25, "20 at rest before the load, 25 after it"},
		{"a segment stays", segments, 0, func(int) float64 { return 3 }, 1, "0 segments at rest"},
		{"descriptors rise and are given back", descriptors, 10, func(i int) float64 { return 20 + float64(i) + noise(i) }, 10, "rises by"},
		{"the heap rises slowly", heapInUse, 10 * mib, func(i int) float64 { return (50 + float64(i)*1.2 + noise(i)) * mib }, 10 * mib, "rises by"},
		{"the heap has peaks", heapInUse, 10 * mib, func(i int) float64 { return (20 + 100*float64(i/5%2)) * mib }, 10 * mib, ""},
		{
			"memory rises at first and then no more", residentMemory, 40 * mib,
			func(i int) float64 { return min(100, 40+10*float64(i)) * mib }, 60 * mib, "",
		},
		{"memory falls", residentMemory, 90 * mib, func(i int) float64 { return (200 - float64(i)) * mib }, 30 * mib, ""},
		{"memory is kept", residentMemory, 40 * mib, func(int) float64 { return 100 * mib }, 90 * mib, "40 MiB at rest"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := course{processes: []process{{name: "p"}}}
			held := func(v float64) sample {
				s := sample{held: make([]figures, 1)}
				s.held[0][test.quantity] = v
				return s
			}
			c.before, c.after = held(test.before), held(test.after)
			for i := range length {
				s := held(test.load(i))
				s.at = time.Duration(i) * time.Second
				c.load = append(c.load, s)
			}
			c.rising = c.trends(c.load[len(c.load)/2:])
			grown := c.judge()
			if got := fmt.Sprint(grown); test.want == "" && len(grown) > 0 || !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %q", got, test.want)
			}
		})
	}
}
