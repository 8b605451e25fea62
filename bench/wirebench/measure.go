//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// load says what to measure.
type load struct {
	Transport string `json:"transport"` // pipe, unix, tcp, http, or one of offband.go
	Case      string `json:"case"`
	Size      int    `json:"size"`        // bytes, rows or strings, where the case has a size
	N         int    `json:"n"`           // operations, over all connections
	Conns     int    `json:"connections"` // at once
}

// result is what one measurement found. What a case does not measure is zero.
type result struct {
	P50Micros     float64 `json:"p50_us"`            // as the client sees it
	P99Micros     float64 `json:"p99_us"`            //
	CPUMicros     float64 `json:"cpu_us"`            // of the worker, for each operation
	OpsPerSecond  float64 `json:"ops_per_s"`         //
	MBPerSecond   float64 `json:"mb_per_s"`          // batch bodies, both directions where both are large
	PeakMiB       float64 `json:"peak_rss_mib"`      // of the worker
	ConnectionKiB float64 `json:"connection_kib"`    // growth of the worker for each idle connection
	Err           string  `json:"error,omitempty"`   //
	Seconds       float64 `json:"seconds,omitempty"` // wall time of the measured part
}

// measureMain makes one measurement and prints load and result on one line.
func measureMain(ctx context.Context, args []string) error {
	var l load
	fs := flag.NewFlagSet("measure", flag.ContinueOnError)
	command := fs.String("worker", "", "command line of the worker, without the flags of a transport")
	fs.StringVar(&l.Transport, "transport", "pipe", "pipe, unix, tcp, http, or for small, fold and blocks unix, shm, shmview, external, file")
	fs.StringVar(&l.Case, "case", "unary",
		"unary, enum, point, bytes, strings, producer (not over http), exchange, connect,\n"+
			"start (of a fresh worker to its first answer) or idle (memory of N idle connections);\n"+
			"small, fold (numbers there and back) and blocks are of the worker \"wirebench peer\"")
	fs.IntVar(&l.N, "n", 10000, "operations, over all connections")
	fs.IntVar(&l.Conns, "c", 1, "connections at once")
	fs.IntVar(&l.Size, "size", 1, "bytes (bytes), rows (exchange) or strings (strings)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, err := measure(ctx, l, *command)
	if err != nil {
		r.Err = err.Error()
	}
	line, jerr := json.Marshal(struct {
		load
		result
	}{l, r})
	if jerr != nil {
		return jerr
	}
	fmt.Fprintf(os.Stdout, "%s\n", line)
	return err
}

func measure(ctx context.Context, l load, command string) (result, error) {
	if l.N < 1 || l.Conns < 1 || l.Size < 0 {
		return result{}, errors.New("-n and -c must be positive, -size not negative")
	}
	if l.Case == "start" {
		return measureStart(ctx, l, command)
	}
	w, err := startWorker(ctx, l.Transport, command)
	if err != nil {
		return result{}, err
	}
	defer w.stop()
	var r result
	if l.Case == "idle" {
		r, err = measureIdle(l, w)
	} else {
		r, err = measureLoad(ctx, l, w)
	}
	if err != nil {
		return r, fmt.Errorf("%w%s", err, w.stderr.quoted())
	}
	return r, nil
}

// measureLoad keeps l.Conns connections busy until l.N operations are done,
// after a tenth of that as warm-up.
func measureLoad(ctx context.Context, l load, w *worker) (r result, err error) {
	if l.Transport == "pipe" && l.Conns > 1 {
		return result{}, errors.New("a pipe is one connection")
	}
	ops := make([]operation, l.Conns)
	for i := range ops {
		s, err := newSession(ctx, l, w)
		if err != nil {
			return result{}, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		ops[i] = s.op
	}
	each := max(1, l.N/l.Conns)
	if _, err := drive(ops, max(1, each/10)); err != nil {
		return result{}, fmt.Errorf("warm-up: %w", err)
	}
	before, begin := cpuSeconds(w.pid()), time.Now()
	done, err := drive(ops, each)
	seconds := time.Since(begin).Seconds()
	if err != nil {
		return result{}, err
	}
	r = summarize(done.latencies)
	r.Seconds = seconds
	r.OpsPerSecond = float64(len(done.latencies)) / seconds
	r.MBPerSecond = float64(done.bytes) / seconds / 1e6
	r.CPUMicros = (cpuSeconds(w.pid()) - before) * 1e6 / float64(len(done.latencies))
	r.PeakMiB = kibibytes(w.pid(), residentPeak) / 1024
	return r, nil
}

// outcome is what the operations of one or several connections did.
type outcome struct {
	latencies []time.Duration
	bytes     int64
}

// drive runs each operation n times, all operations at once.
func drive(ops []operation, n int) (outcome, error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		all  outcome
		errs []error
	)
	for _, op := range ops {
		wg.Go(func() {
			mine, err := repeat(op, n)
			mu.Lock()
			defer mu.Unlock()
			all.latencies = append(all.latencies, mine.latencies...)
			all.bytes += mine.bytes
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

func repeat(op operation, n int) (outcome, error) {
	o := outcome{latencies: make([]time.Duration, 0, n)}
	for range n {
		begin := time.Now()
		moved, err := op()
		if err != nil {
			return o, err
		}
		o.latencies = append(o.latencies, time.Since(begin))
		o.bytes += moved
	}
	return o, nil
}

// summarize sorts latencies, of which there is at least one.
func summarize(latencies []time.Duration) result {
	slices.Sort(latencies)
	micros := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	return result{
		P50Micros: micros(latencies[len(latencies)/2]),
		P99Micros: micros(latencies[len(latencies)*99/100]),
	}
}

// measureStart starts l.N fresh workers, one after the other. An operation
// lasts from before the process exists to the end of its first answer.
func measureStart(ctx context.Context, l load, command string) (result, error) {
	var latencies []time.Duration
	var cpu, peak float64
	for range l.N {
		begin := time.Now()
		w, err := startWorker(ctx, l.Transport, command)
		if err != nil {
			return result{}, err
		}
		_, err = callOnce(l.Transport, w)
		latencies = append(latencies, time.Since(begin))
		cpu += cpuSeconds(w.pid())
		peak = max(peak, kibibytes(w.pid(), residentPeak)/1024)
		w.stop()
		if err != nil {
			return result{}, fmt.Errorf("first call: %w%s", err, w.stderr.quoted())
		}
	}
	r := summarize(latencies)
	r.CPUMicros = cpu * 1e6 / float64(l.N)
	r.PeakMiB = peak
	return r, nil
}

// callOnce connects and makes one small call. The connection stays open.
func callOnce(transport string, w *worker) (io.Closer, error) {
	c, err := w.dial()
	if err != nil {
		return nil, err
	}
	_, err = unaryOperation(transport, c, smallCall())()
	return c, err
}

// measureIdle opens l.N connections that make one call each and stay, and
// divides by them what the worker's resident memory grew by. One connection
// that has made some calls comes before and is not counted.
func measureIdle(l load, w *worker) (result, error) {
	first, err := newOperation(load{Transport: l.Transport, Case: "unary"}, w.dial)
	if err != nil {
		return result{}, err
	}
	if _, err := repeat(first, 100); err != nil {
		return result{}, err
	}
	before := kibibytes(w.pid(), residentNow)
	for i := range l.N {
		c, err := callOnce(l.Transport, w)
		if c != nil {
			defer func() { _ = c.Close() }()
		}
		if err != nil {
			return result{}, fmt.Errorf("connection %d: %w", i+1, err)
		}
	}
	after := kibibytes(w.pid(), residentNow)
	return result{
		ConnectionKiB: (after - before) / float64(l.N),
		PeakMiB:       kibibytes(w.pid(), residentPeak) / 1024,
	}, nil
}
