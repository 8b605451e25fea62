package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/shm"
)

const (
	// durationVariable is how long the load lasts, "2m" for instance, seedVariable
	// what its random choices begin with, and onlyVariable the transports to
	// load, with commas between, when it should not be all.
	durationVariable = "VGI_SOAK"
	seedVariable     = "VGI_SOAK_SEED"
	onlyVariable     = "VGI_SOAK_ONLY"
	// settling is how long processes may take to come to rest.
	settling = time.Minute
)

// everyone is 64 callers.
var everyone = map[string]int{"stdio": 1, "pool": 7, "unix": 12, "shm": 10, "tcp": 10, "tls": 10, "http": 14}

// results is where the graph and the rest lie, from this package on.
const results = "../../.cache/soak"

func TestSoak(t *testing.T) {
	text := os.Getenv(durationVariable)
	if text == "" {
		t.Skipf("it takes as long as it is told to: set %s to a duration", durationVariable)
	}
	length, err := time.ParseDuration(text)
	if err != nil || length < 10*time.Second {
		t.Fatalf("%s=%q: want a duration of 10s or more", durationVariable, text)
	}
	kinds := []string{"stdio", "unix", "shm", "tcp", "tls", "http"}
	callers := maps.Clone(everyone)
	if only := os.Getenv(onlyVariable); only != "" {
		kinds = strings.Split(only, ",")
		maps.DeleteFunc(callers, func(k string, _ int) bool { return !slices.Contains(kinds, k) })
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "pool" })
	}
	if !shm.Supported {
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "shm" })
	}
	run := &run{length: length, seed: seed(t), kinds: kinds, callers: callers, dir: results, name: "soak", settle: settling}
	c := run.soak(t)
	for _, g := range c.judge() {
		t.Error(g)
	}
	run.keep(t, c.processes)
	if t.Failed() {
		t.Logf("%s=%d repeats the random choices; the graph is %s.svg", seedVariable, run.seed, filepath.Join(results, run.name))
	}
}

// TestALeakIsFound is the test of the test: a worker that keeps something of every
// call has to be found out.
func TestALeakIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs some seconds for each kind of leak")
	}
	for what, quantity := range map[string]string{"goroutines": "goroutines", "descriptors": "descriptors", "heap": "heap in use"} {
		t.Run(what, func(t *testing.T) {
			r := &run{
				length: 3 * time.Second, seed: 1, kinds: []string{"tcp"}, callers: map[string]int{"tcp": 8},
				env: []string{leakVariable + "=" + what}, dir: t.TempDir(), name: what, settle: 4 * time.Second,
			}
			grown := r.soak(t).judge()
			if !slices.ContainsFunc(grown, func(g growth) bool { return g.process == "tcp" && g.quantity == quantity }) {
				t.Errorf("a leak of %s was not found: %v", what, grown)
			}
		})
	}
}

// seed is the one that was asked for, or another one.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv(seedVariable)
	if text == "" {
		return uint64(rand.Uint32())
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", seedVariable, err)
	}
	return n
}

// run is a load of some length, and what is seen of it.
type run struct {
	length  time.Duration
	seed    uint64
	kinds   []string
	callers map[string]int
	env     []string // more of the workers' environment
	dir     string   // of what it writes
	name    string
	settle  time.Duration // how long processes may take to come to rest

	profiles map[string][]byte // by the name of the file: at rest, before the load
}

// soak warms the workers up with a part of the load, looks at them at rest, looks
// at them once a second under load, and at rest again. Where something seems to
// rise, the load comes again, and what rises has to go on.
func (r *run) soak(t *testing.T) *course {
	t.Helper()
	if err := os.MkdirAll(r.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, %v", r.seed, r.length)
	sites := openSites(t, r.dir, r.kinds, r.env)
	c := &course{processes: processes(sites)}
	l := &load{sites: sites, seed: r.seed, callers: r.callers, tally: newTally()}

	// What is made once, and buffers and pools at their usual size, are no growth.
	warm := min(max(r.length/8, time.Second), 30*time.Second)
	if _, err := r.under(t, l, c.processes, time.Now(), warm, 0); err != nil {
		t.Fatal(err)
	}
	c.before = r.rest(t, c.processes)
	r.profiles = profiles(t, c.processes, "before")
	begun := time.Now()
	for look := uint64(1); look <= looks; look++ {
		samples, err := r.under(t, l, c.processes, begun, r.length, look)
		if err != nil {
			t.Fatal(err)
		}
		c.load = append(c.load, samples...)
		rises := c.trends(samples[len(samples)/2:])
		if look > 1 {
			rises = still(c.rising, rises)
		}
		if c.rising = rises; len(rises) == 0 {
			break
		}
		t.Logf("looked at for the %d. time, of %d: %v", look, looks, rises)
	}
	c.before.at = min(-time.Second, -r.length/50)
	c.after = r.rest(t, c.processes, c.before)
	c.after.at = time.Since(begun)

	t.Log(l.tally)
	r.write(t, "svg", func(w io.Writer) error {
		return c.chart(w, fmt.Sprintf("%v under load, %d callers, seed %d", r.length, total(r.callers), r.seed))
	})
	r.write(t, "csv", c.table)
	t.Log(c.summary())
	for _, p := range l.tally.problems {
		t.Error(p)
	}
	return c
}

func total(callers map[string]int) (n int) {
	for _, c := range callers {
		n += c
	}
	return n
}

// under samples every second while the load lasts, by the time since begun. Every
// run has a phase of its own.
func (r *run) under(t *testing.T, l *load, all []process, begun time.Time, length time.Duration, phase uint64) (samples []sample, err error) {
	t.Helper()
	// Not a deadline, which connecting would have as well, and miss.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	defer time.AfterFunc(length, cancel).Stop()
	done := make(chan error, 1)
	go func() { done <- l.run(ctx, phase) }()
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			select {
			case ended := <-done:
				return samples, errors.Join(err, ended)
			case <-time.After(2 * calmly): // twice what a call may take
				r.keep(t, all)
				return samples, errors.Join(err, fmt.Errorf("callers hang: see client.after.goroutines.txt in %s", r.dir))
			}
		}
		s, failed := measure(t.Context(), all, time.Since(begun))
		if failed != nil {
			cancel() // a worker that does not answer is of no further interest
			err = failed
			continue
		}
		samples = append(samples, s)
	}
}

// rest waits until all processes have come to rest: until nothing is in use any
// more, and each holds as little as before, if there was a before, or as it did a
// while ago.
func (r *run) rest(t *testing.T, all []process, before ...sample) sample {
	t.Helper()
	deadline := time.Now().Add(r.settle)
	for _, p := range all {
		if p.site == nil || p.site.client == nil {
			continue
		}
		// A connection that lasts keeps the memory of large messages over some
		// small ones.
		for range 40 {
			if err := echoBytes(t.Context(), &caller{client: p.site.client, rand: rand.New(rand.NewPCG(1, 1))}, 6<<10); err != nil {
				t.Fatalf("%s: %v", p.name, err)
			}
		}
	}
	var last sample
	for quiet := 0; ; {
		s, err := measure(t.Context(), all, 0)
		if err != nil {
			t.Fatal(err)
		}
		if last.held != nil && settled(s, last) {
			quiet++
		} else {
			quiet = 0
		}
		last = s
		c := course{processes: all, after: s}
		calm := quiet >= 4
		if len(before) > 0 {
			c.before = before[0]
			calm = calm && len(c.kept()) == 0
		}
		if calm || time.Now().After(deadline) {
			return s
		}
		wait(t.Context(), 500*time.Millisecond)
	}
}

// settled reports whether nothing is in use, and whether nothing goes on.
func settled(now, last sample) bool {
	for p, held := range now.held {
		for _, q := range []int{sessions, objects, messages} {
			if held[q] > 0 {
				return false
			}
		}
		for _, q := range []int{goroutines, descriptors, connections, children, segments} {
			if held[q] > last.held[p][q] {
				return false
			}
		}
	}
	return true
}

// summary is a line for each process: at rest, the median under load, at rest.
func (c *course) summary() string {
	var b strings.Builder
	b.WriteString("at rest before, median under load, at rest after:")
	for p, process := range c.processes {
		fmt.Fprintf(&b, "\n  %-7s", process.name)
		for i, q := range quantities {
			values := make([]float64, len(c.load))
			for j, s := range c.load {
				values[j] = s.held[p][i]
			}
			before, during, after := c.before.held[p][i], median(values), c.after.held[p][i]
			if before == 0 && during == 0 && after == 0 {
				continue
			}
			fmt.Fprintf(&b, "%s %.4g / %.4g / %s; ", q.name, before/q.scale, during/q.scale, q.show(after))
		}
	}
	return b.String()
}

// write writes a file of results.
func (r *run) write(t *testing.T, kind string, content func(io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	path := filepath.Join(r.dir, r.name+"."+kind)
	if err := errors.Join(content(&b), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Error(err)
		return
	}
	t.Logf("wrote %s", path)
}

// profiles are the heap and the goroutines of all processes, by the name of a file.
func profiles(t *testing.T, all []process, when string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, p := range all {
		heap, stacks := p.name+"."+when+".heap.pb.gz", p.name+"."+when+".goroutines.txt"
		if p.site == nil {
			runtime.GC()
			var h, g bytes.Buffer
			if err := errors.Join(pprof.Lookup("heap").WriteTo(&h, 0), pprof.Lookup("goroutine").WriteTo(&g, 1)); err != nil {
				t.Error(err)
			}
			out[heap], out[stacks] = h.Bytes(), g.Bytes()
			continue
		}
		for name, path := range map[string]string{heap: "/debug/pprof/heap?gc=1", stacks: "/debug/pprof/goroutine?debug=1"} {
			body, err := p.site.get(t.Context(), path)
			if err != nil {
				t.Error(err)
			}
			out[name] = body
		}
	}
	return out
}

// keep writes the profiles of before the load and of now.
func (r *run) keep(t *testing.T, all []process) {
	t.Helper()
	for _, set := range []map[string][]byte{r.profiles, profiles(t, all, "after")} {
		for name, body := range set {
			if err := os.WriteFile(filepath.Join(r.dir, name), body, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("profiles of all processes, before the load and after it, are in %s: go tool pprof -base BEFORE AFTER", r.dir)
}
