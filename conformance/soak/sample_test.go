package soak

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A quantity is something that a process holds.
type quantity struct {
	name  string
	unit  string
	scale float64 // of a unit
	// rest is how much more of it there may be at rest than before the load, and
	// trend how much more at the end of the second half of the load than at its
	// beginning; both as a part of what there was, and at least so much.
	rest, trend         float64
	restPart, trendPart float64
	// read finds it in the worker's figures; nil where the operating system is asked.
	read string
}

const mib = 1 << 20

// quantities are what is looked at, in the order of the graph. Memory after a
// collection is what the program holds; of the rest the runtime gives back
// what it does not use as slowly as it sees fit, hence the room for it. Sessions
// and objects live for seconds: there are as many as the machine is fast. A trend
// has to be more than a few messages that happen to be under way, of 10 MiB each;
// what was not given back at rest is the finer measure.
var quantities = []quantity{
	{name: "resident memory", unit: "MiB", scale: mib, rest: 32 * mib, restPart: 0.25, trend: 40 * mib, trendPart: 0.25},
	{name: "heap in use", unit: "MiB", scale: mib, rest: 8 * mib, restPart: 0.1, trend: 16 * mib, trendPart: 0.25, read: "go_memstats_heap_alloc_bytes"},
	{name: "goroutines", scale: 1, rest: 2, trend: 10, trendPart: 0.1, read: "go_goroutines"},
	{name: "descriptors", scale: 1, rest: 2, trend: 10, trendPart: 0.1},
	{name: "shared memory", unit: "segments", scale: 1, trend: 5},
	{name: "connections", scale: 1, trend: 8, read: "vgi_rpc_connections_open"},
	{name: "messages in memory", unit: "MiB", scale: mib, trend: 32 * mib, read: "vgi_rpc_memory_bytes"},
	{name: "sessions", scale: 1, trend: 20, trendPart: 1, read: "vgi_rpc_http_sessions"},
	{name: "stored objects", scale: 1, trend: 200, trendPart: 1},
	{name: "child processes", scale: 1, trend: 3},
}

const (
	residentMemory = iota
	heapInUse
	goroutines
	descriptors
	segments
	connections
	messages
	sessions
	objects
	children
)

// figures are how much there is of each quantity.
type figures [children + 1]float64

// A sample is what all processes held at a time.
type sample struct {
	at   time.Duration // since the load began
	held []figures     // in the order of the processes
}

// process is one that is looked at: a worker, or this one.
type process struct {
	name string
	site *site // nil for this one
}

// processes are the workers, and this process.
func processes(sites []*site) (all []process) {
	for _, s := range sites {
		all = append(all, process{s.name, s})
	}
	return append(all, process{name: "client"})
}

// measure asks all processes at once, each after a collection.
func measure(ctx context.Context, all []process, at time.Duration) (sample, error) {
	got := sample{at, make([]figures, len(all))}
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { got.held[i], errs[i] = p.measure(ctx) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return got, err
		}
	}
	// The goroutines that asked are not part of what there is.
	got.held[len(all)-1][goroutines] = float64(runtime.NumGoroutine())
	return got, nil
}

func (p process) measure(ctx context.Context) (figures, error) {
	var f figures
	if p.site == nil {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		f[heapInUse] = float64(stats.HeapAlloc)
		return f, f.system(os.Getpid())
	}
	if _, err := p.site.get(ctx, "/debug/pprof/heap?gc=1"); err != nil {
		return f, err
	}
	metrics, err := p.site.get(ctx, "/metrics")
	if err != nil {
		return f, err
	}
	f.metrics(metrics)
	if p.site.files != "" {
		f[objects] = float64(count(p.site.files))
	}
	return f, f.system(p.site.pid)
}

// metrics takes what a worker says of itself.
func (f *figures) metrics(text []byte) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		for i, q := range quantities {
			if q.read != "" && q.read == name {
				f[i], _ = strconv.ParseFloat(value, 64)
			}
		}
	}
}

// system takes what the operating system says of a process.
func (f *figures) system(pid int) error {
	dir := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseFloat(strings.Fields(kib)[0], 64)
			if err != nil {
				return fmt.Errorf("%s/status: %w", dir, err)
			}
			f[residentMemory] = n * 1024
		}
	}
	f[descriptors] = float64(count(dir + "/fd"))
	maps, err := os.ReadFile(dir + "/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "/vgirpcgo_") || strings.Contains(line, "/memfd:") {
			f[segments]++
		}
	}
	threads, err := filepath.Glob(dir + "/task/*/children")
	for _, path := range threads {
		pids, _ := os.ReadFile(path) // of a thread that may be gone
		f[children] += float64(len(bytes.Fields(pids)))
	}
	return err
}

// count is how many files lie below a directory, those of links not followed.
func count(dir string) (n int) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() { // some are gone already
			n++
		}
		return nil
	})
	return n
}
