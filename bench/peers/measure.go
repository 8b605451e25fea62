//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// result is what one measurement found, or the medians of several. An operation
// is a call, or a batch of a stream.
type result struct {
	P50Micros    float64 `json:"p50_us"`
	P99Micros    float64 `json:"p99_us"`
	OpsPerSecond float64 `json:"ops_per_s"`
	Allocs       float64 `json:"client_allocs"` // for each operation, here and below
	AllocBytes   float64 `json:"client_alloc_bytes"`
	ServerMicros float64 `json:"server_cpu_us"`
	ClientMicros float64 `json:"client_cpu_us"`
	ServerMiB    float64 `json:"server_peak_rss_mib"`
}

// serveMain is the server process: it serves until its input ends.
func serveMain(ctx context.Context, args []string) error {
	var s serving
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	name := fs.String("peer", "", "who serves")
	network := fs.String("network", "", "pipe, unix or tcp")
	address := fs.String("address", "", "of the socket")
	fs.DurationVar(&s.wait, "wait", 0, "how long each call takes")
	fs.IntVar(&s.sizes.request, "request", 0, "bytes of a request to the floor")
	fs.IntVar(&s.sizes.reply, "reply", 0, "bytes of its answer")
	if err := fs.Parse(args); err != nil {
		return err
	}
	p, ok := peers()[*name]
	if !ok || p.serve == nil {
		return fmt.Errorf("%q does not serve", *name)
	}
	if *network == "pipe" {
		return p.serve(ctx, s)
	}
	l, err := listen(ctx, *network, *address)
	if err != nil {
		return err
	}
	s.listener = l
	fmt.Fprintf(os.Stdout, "%s\n", l.Addr())
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, it is the end
		cancel()
	}()
	return p.serve(ctx, s)
}

// listen gives all peers the same listener.
func listen(ctx context.Context, network, address string) (net.Listener, error) {
	if network == "unix" {
		return vgirpc.ListenUnix(ctx, address, vgirpc.UnixOptions{})
	}
	return vgirpc.ListenTCP(ctx, address)
}

// measureMain is the client process: it starts a server, measures one load, and
// prints what it found.
func measureMain(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("measure takes one load, as JSON")
	}
	var l load
	if err := json.Unmarshal([]byte(args[0]), &l); err != nil {
		return err
	}
	r, err := measure(ctx, l)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func measure(ctx context.Context, l load) (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	dir, err := os.MkdirTemp("", "peers-")
	if err != nil {
		return result{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := dialing{network: l.Network, callers: l.Callers}
	if d.sizes, err = smallCallSizes(ctx); err != nil {
		return result{}, err
	}
	switch l.Network {
	case "none":
	case "pipe":
		d.command = append([]string{self}, serverArgs(l, "", d.sizes)...)
	default:
		if l.Network == "unix" {
			d.address = filepath.Join(dir, "s")
		}
		s, err := startServer(ctx, self, serverArgs(l, d.address, d.sizes))
		if err != nil {
			return result{}, err
		}
		defer func() { _ = s.stop() }()
		d.address = s.address
	}
	if l.Delay > 0 {
		link, err := relay(ctx, d.network, d.address, l.Delay/2)
		if err != nil {
			return result{}, err
		}
		defer func() { _ = link.Close() }()
		d.network, d.address = link.Addr().Network(), link.Addr().String()
	}
	return measureOn(ctx, l, d)
}

// measureOn opens the load's connections and measures.
func measureOn(ctx context.Context, l load, d dialing) (r result, err error) {
	p, ok := peers()[l.Peer]
	if !ok {
		return result{}, fmt.Errorf("no peer %q", l.Peer)
	}
	sessions := make([]*session, 0, l.Conns)
	defer func() {
		for _, s := range sessions {
			err = errors.Join(err, s.close())
		}
	}()
	for range l.Conns {
		s, err := p.dial(ctx, d)
		if err != nil {
			return result{}, err
		}
		sessions = append(sessions, s)
	}
	each := max(1, l.N/l.Callers)
	if err := drive(ctx, l, sessions, samples(l.Callers, max(1, each/10))); err != nil {
		return result{}, fmt.Errorf("warm-up: %w", err)
	}
	return count(l.Callers*each, func(all [][]time.Duration) error { return drive(ctx, l, sessions, all) }, samples(l.Callers, each))
}

// samples is room for n latencies of each caller.
func samples(callers, n int) [][]time.Duration {
	all := make([][]time.Duration, callers)
	for i := range all {
		all[i] = make([]time.Duration, 0, n)
	}
	return all
}

// count runs a load of n operations and puts its figures together.
func count(n int, run func([][]time.Duration) error, all [][]time.Duration) (result, error) {
	var before, after runtime.MemStats
	runtime.GC()
	serverCPU, clientCPU := cpuOfChildren(), cpuOf(os.Getpid())
	runtime.ReadMemStats(&before)
	begin := time.Now()
	err := run(all)
	seconds := time.Since(begin).Seconds()
	runtime.ReadMemStats(&after)
	serverCPU, clientCPU = cpuOfChildren()-serverCPU, cpuOf(os.Getpid())-clientCPU
	if err != nil {
		return result{}, err
	}
	latencies := slices.Concat(all...)
	if len(latencies) != n {
		return result{}, fmt.Errorf("%d operations, want %d", len(latencies), n)
	}
	slices.Sort(latencies)
	each := 1 / float64(n)
	return result{
		P50Micros:    micros(latencies[n/2]),
		P99Micros:    micros(latencies[n*99/100]),
		OpsPerSecond: float64(n) / seconds,
		Allocs:       float64(after.Mallocs-before.Mallocs) * each,
		AllocBytes:   float64(after.TotalAlloc-before.TotalAlloc) * each,
		ServerMicros: serverCPU * 1e6 * each,
		ClientMicros: clientCPU * 1e6 * each,
		ServerMiB:    peakOfChildren(),
	}, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// drive lets every caller do as much as there is room for in its samples. Each
// has a context of its own that can end, as callers do.
func drive(ctx context.Context, l load, sessions []*session, all [][]time.Duration) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i := range all {
		s := sessions[i%len(sessions)]
		wg.Go(func() {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if l.Stream {
				errs[i] = s.consume(ctx, &all[i])
			} else {
				errs[i] = s.repeat(ctx, &all[i])
			}
			if errs[i] != nil {
				stop() // the others need not go on
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

var errWrongAnswer = errors.New("not the number that was sent")

// repeat calls until the samples are full.
func (s *session) repeat(ctx context.Context, samples *[]time.Duration) error {
	for i := range cap(*samples) {
		sent := float64(i)
		begin := time.Now()
		got, err := s.call(ctx, sent)
		took := time.Since(begin)
		if err != nil {
			return err
		}
		if got != sent {
			return errWrongAnswer
		}
		*samples = append(*samples, took)
	}
	return nil
}

// batchesPerStream is how long a stream is.
const batchesPerStream = 256

// consume reads streams until the samples are full: a sample is the time from
// one batch to the next, or from the opening of the stream to its first.
func (s *session) consume(ctx context.Context, samples *[]time.Duration) error {
	for len(*samples) < cap(*samples) {
		last := time.Now()
		err := s.stream(ctx, min(batchesPerStream, cap(*samples)-len(*samples)), func() {
			now := time.Now()
			*samples = append(*samples, now.Sub(last))
			last = now
		})
		if err != nil {
			return err
		}
	}
	return nil
}
