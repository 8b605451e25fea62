package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/latency"
	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/tabular"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Bounds of the load, and how much of it the floor gets.
const (
	maxConnections = 10_000
	floorCalls     = 2000
	floorTime      = 2 * time.Second
)

// load says how much to call.
type load struct {
	calls       int64
	duration    time.Duration
	connections int
	noFloor     bool
	asJSON      bool
}

func (a *app) benchCommand() *cobra.Command {
	var l load
	args := arguments{in: a.in}
	cmd := &cobra.Command{
		Use:   "bench URL METHOD [NAME=VALUE]…",
		Short: "Measure calls of a method",
		Long: `Calls a method again and again on a number of connections, each call as soon as
the one before it is answered, and writes how long the calls took. For stdio a
connection is a process. A producer counts as one call when it has been read to
its end; exchanges cannot be measured.

Beside it stands the floor: the same for the cheapest call that the endpoint
has, the request for the transport's options, which no handler sees (over HTTP
that of the health route, where a server lacks the other). What is above the
floor is the method's own.`,
		Example: `  vgi bench unix:/tmp/w.sock add a=1 b=2 -n 100000 -c 4
  vgi bench https://api.example.com demo.Calc/add a=1 b=2 -z 10s -c 32 --json`,
		Args:              atLeast(2, "a URL and a method"),
		ValidArgsFunction: a.complete(""),
		RunE: a.runs(func(ctx context.Context, words []string) error {
			if err := l.check(); err != nil {
				return err
			}
			b := bench{app: a, load: l, target: words[0]}
			return b.run(ctx, words[1], &args, words[2:])
		}),
	}
	a.conn.register(cmd.Flags())
	args.register(cmd.Flags())
	fs := cmd.Flags()
	fs.Int64VarP(&l.calls, "requests", "n", 0, "`CALLS` to make in all (default 1000, or as many as --duration allows)")
	fs.DurationVarP(&l.duration, "duration", "z", 0, "how long to call, as a `DURATION` such as 10s")
	fs.IntVarP(&l.connections, "connections", "c", 1, "`NUMBER` of connections")
	fs.BoolVar(&l.noFloor, "no-floor", false, "do not measure the floor")
	fs.BoolVar(&l.asJSON, "json", false, "write one JSON object")
	return cmd
}

func (l *load) check() error {
	switch {
	case l.calls < 0 || l.duration < 0:
		return usagef("--requests and --duration: want more than nothing")
	case l.connections < 1 || l.connections > maxConnections:
		return usagef("--connections %d: want 1 to %d", l.connections, maxConnections)
	case l.calls == 0 && l.duration == 0:
		l.calls = 1000
	}
	return nil
}

// bench is one run of bench.
type bench struct {
	*app
	load
	target    string
	floorCall string // what the floor was measured with
}

// caller makes one call.
type caller func(ctx context.Context) error

func (b *bench) run(ctx context.Context, name string, args *arguments, words []string) (err error) {
	opts, err := b.conn.options(b.target, b.err)
	if err != nil {
		return err
	}
	clients := make([]*vgirpc.Client, 0, b.connections)
	defer func() {
		for _, c := range clients {
			if closeErr := c.Close(); err == nil {
				err = closeErr
			}
		}
	}()
	for range b.connections {
		c, err := b.conn.dial(ctx, b.target, opts)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	m, err := findMethod(ctx, clients[0], name)
	if err != nil {
		return err
	}
	if m.Kind() == vgirpc.KindExchange {
		return usagef("%s is an exchange, which bench cannot feed", m)
	}
	params, err := args.row(m.ParamsSchema(), words)
	if err != nil {
		return err
	}
	var floor *measured
	if !b.noFloor {
		if floor, err = b.floor(ctx, clients, opts.HTTP.Wrap); err != nil {
			return err
		}
	}
	callers := make([]caller, len(clients))
	for i, c := range clients {
		request := *params // each call reads its own
		callers[i] = func(ctx context.Context) error { return callOnce(ctx, c, m, &request) }
	}
	got := measure(ctx, callers, b.calls, b.duration)
	if err := b.write(m, got, floor); err != nil {
		return err
	}
	if err := got.failure(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// callOnce makes one call, and reads a producer to its end.
func callOnce(ctx context.Context, c *vgirpc.Client, m *vgirpc.Method, params *wire.Batch) error {
	if m.Kind() == vgirpc.KindUnary {
		_, release, err := c.CallBatch(ctx, m, params)
		if err == nil {
			release()
		}
		return err
	}
	s, err := c.OpenBatches(ctx, m, params)
	if err != nil {
		return err
	}
	tick := wire.EmptyBatch(wire.EmptySchema(), nil)
	for {
		if _, err := s.Turn(ctx, &tick); errors.Is(err, io.EOF) {
			return s.Close(ctx)
		} else if err != nil {
			return err
		}
	}
}

// floor measures the request for the transport's options, over HTTP by way of wrap.
func (b *bench) floor(ctx context.Context, clients []*vgirpc.Client, wrap func(http.RoundTripper) http.RoundTripper) (*measured, error) {
	callers := make([]caller, len(clients))
	b.floorCall = wire.MethodTransport
	for i, c := range clients {
		if isHTTP(b.target) {
			p, err := newHTTPProbe(&b.conn, b.target, wrap)
			if err != nil {
				return nil, err
			}
			defer p.close()
			if i == 0 && p.lacksOptions(ctx) {
				b.floorCall = floorHealth
			}
			callers[i] = p.askOptions
			if b.floorCall == floorHealth {
				callers[i] = p.askHealth
			}
			continue
		}
		ask, err := transportOptions(c)
		if err != nil {
			return nil, err
		}
		callers[i] = func(ctx context.Context) error {
			_, err := ask(ctx)
			return err
		}
	}
	calls, duration := int64(floorCalls), floorTime
	if b.calls > 0 {
		calls = min(calls, b.calls)
	}
	if b.duration > 0 {
		duration = min(duration, b.duration)
	}
	for _, call := range callers {
		_ = call(ctx) // connects: what fails, fails again below
	}
	m := measure(ctx, callers, calls, duration)
	return m, context.Cause(ctx)
}

// floorHealth is the floor of an endpoint over HTTP that has no route for the
// transport's options.
const floorHealth = "HEAD health"

// lacksOptions reports an answer that says so; a request that fails says nothing.
func (p *httpProbe) lacksOptions(ctx context.Context) bool {
	_, err := p.transportOptions(ctx)
	refused, ok := errors.AsType[*probeError](err)
	return ok && refused.status != http.StatusUnauthorized && refused.status != http.StatusTooManyRequests && refused.status/100 != 5
}

func (p *httpProbe) askOptions(ctx context.Context) error {
	_, err := p.transportOptions(ctx)
	return err
}

func (p *httpProbe) askHealth(ctx context.Context) error {
	got, err := p.health(ctx, p.login)
	if err == nil && got.status/100 != 2 {
		err = &probeError{got.status, got.header.Get("Content-Type")}
	}
	return err
}

// transportOptions returns a function that asks for the transport's options over
// a byte stream (WIRE_PROTOCOL section 15), and returns the answer's metadata.
func transportOptions(c *vgirpc.Client) (func(context.Context) (wire.Metadata, error), error) {
	m, err := vgirpc.NewUntyped(vgirpc.NewProtocol("vgi.Probe", ""), "transport_options", vgirpc.UntypedMethod{})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (wire.Metadata, error) {
		ask := vgirpc.CapabilityRequest()
		answer, release, err := c.CallBatch(ctx, m, &ask)
		if err != nil {
			return nil, err
		}
		defer release()
		return answer.Meta, nil
	}, nil
}

// measured is what came of a load.
type measured struct {
	latency latency.Histogram // of the calls that went well
	took    time.Duration
	errors  map[vgirpc.Code]int64
	first   map[vgirpc.Code]error
}

// measure calls until so many calls were made, 0 for any number, or the time is
// up, 0 for any.
func measure(ctx context.Context, callers []caller, calls int64, duration time.Duration) *measured {
	var next atomic.Int64
	parts := make([]measured, len(callers))
	var wait sync.WaitGroup
	start := time.Now()
	for i, call := range callers {
		wait.Go(func() {
			p := &parts[i]
			p.errors, p.first = map[vgirpc.Code]int64{}, map[vgirpc.Code]error{}
			before := start
			for (calls == 0 || next.Add(1) <= calls) && ctx.Err() == nil {
				err := call(ctx)
				now := time.Now()
				switch {
				case err == nil:
					p.latency.Record(now.Sub(before))
				case ctx.Err() == nil:
					code := vgirpc.CodeOf(err)
					p.errors[code]++
					if p.first[code] == nil {
						p.first[code] = err
					}
				}
				if before = now; duration > 0 && now.Sub(start) >= duration {
					return
				}
			}
		})
	}
	wait.Wait()
	all := &measured{took: time.Since(start), errors: map[vgirpc.Code]int64{}, first: map[vgirpc.Code]error{}}
	for i := range parts {
		all.latency.Add(&parts[i].latency)
		for code, n := range parts[i].errors {
			all.errors[code] += n
			if all.first[code] == nil {
				all.first[code] = parts[i].first[code]
			}
		}
	}
	return all
}

// codes are those of the errors, the most frequent first.
func (m *measured) codes() []vgirpc.Code {
	codes := make([]vgirpc.Code, 0, len(m.errors))
	for code := range m.errors {
		codes = append(codes, code)
	}
	sort.Slice(codes, func(i, j int) bool {
		a, b := m.errors[codes[i]], m.errors[codes[j]]
		return a > b || (a == b && codes[i] < codes[j])
	})
	return codes
}

// failure is the error of a load with errors.
func (m *measured) failure() error {
	codes := m.codes()
	if len(codes) == 0 {
		return nil
	}
	var failed int64
	for _, n := range m.errors {
		failed += n
	}
	return &failure{codeStatus(codes[0]), fmt.Errorf("%d of %d calls failed, the first one with %s: %w",
		failed, failed+m.latency.Count(), codes[0], m.first[codes[0]])}
}

// perSecond is how many calls went well in a second.
func (m *measured) perSecond() float64 {
	if m.took <= 0 {
		return 0
	}
	return float64(m.latency.Count()) / m.took.Seconds()
}

// numbers are a measurement as --json writes it. Times are in nanoseconds.
type numbers struct {
	Calls     int64                 `json:"calls"`
	Took      time.Duration         `json:"took_ns"`
	PerSecond float64               `json:"calls_per_second"`
	Min       time.Duration         `json:"min_ns"`
	Mean      time.Duration         `json:"mean_ns"`
	P50       time.Duration         `json:"p50_ns"`
	P90       time.Duration         `json:"p90_ns"`
	P99       time.Duration         `json:"p99_ns"`
	P999      time.Duration         `json:"p999_ns"`
	Max       time.Duration         `json:"max_ns"`
	Errors    map[vgirpc.Code]int64 `json:"errors,omitempty"`
	Histogram []latency.Bar         `json:"histogram,omitempty"`
}

func (m *measured) numbers() *numbers {
	h := &m.latency
	return &numbers{
		Calls: h.Count(), Took: m.took, PerSecond: m.perSecond(), Min: h.Min(), Mean: h.Mean(),
		P50: h.Quantile(0.5), P90: h.Quantile(0.9), P99: h.Quantile(0.99), P999: h.Quantile(0.999), Max: h.Max(),
		Errors: m.errors, Histogram: h.Bars(),
	}
}

// write writes what was measured, and the floor beside it.
func (b *bench) write(m *vgirpc.Method, got, floor *measured) error {
	n := got.numbers()
	if b.asJSON {
		report := struct {
			Method      string   `json:"method"`
			Connections int      `json:"connections"`
			Measured    *numbers `json:"measured"`
			Floor       *numbers `json:"floor,omitempty"`
			FloorCall   string   `json:"floor_call,omitempty"`
		}{m.String(), b.connections, n, nil, b.floorCall}
		if floor != nil {
			report.Floor = floor.numbers()
		}
		return json.NewEncoder(b.out).Encode(report)
	}
	fmt.Fprintf(b.out, "%s, connections: %d%s\n\n", clean(m.String()), b.connections, prefixed(", floor: ", b.floorCall))
	var f *numbers
	names := []string{"", "calls"}
	if floor != nil {
		f = floor.numbers()
		names = append(names, "floor", "ratio")
	}
	var lines [][]string
	row := func(name string, of func(*numbers) float64, show func(float64) string) {
		line := []string{name, show(of(n))}
		if f != nil {
			ratio := "-"
			if of(f) != 0 {
				ratio = fmt.Sprintf("%.2f", of(n)/of(f))
			}
			line = append(line, show(of(f)), ratio)
		}
		lines = append(lines, line)
	}
	whole := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	span := func(v float64) string { return rounded(time.Duration(v)).String() }
	row("calls", func(n *numbers) float64 { return float64(n.Calls) }, whole)
	row("calls/s", func(n *numbers) float64 { return n.PerSecond }, whole)
	for _, q := range []struct {
		name string
		of   func(*numbers) time.Duration
	}{
		{"min", func(n *numbers) time.Duration { return n.Min }},
		{"mean", func(n *numbers) time.Duration { return n.Mean }},
		{"p50", func(n *numbers) time.Duration { return n.P50 }},
		{"p90", func(n *numbers) time.Duration { return n.P90 }},
		{"p99", func(n *numbers) time.Duration { return n.P99 }},
		{"p99.9", func(n *numbers) time.Duration { return n.P999 }},
		{"max", func(n *numbers) time.Duration { return n.Max }},
	} {
		row(q.name, func(n *numbers) float64 { return float64(q.of(n)) }, span)
	}
	if err := tabular.Aligned(b.out, names, lines); err != nil {
		return err
	}
	b.writeBars(n.Histogram)
	b.writeErrors("", got)
	if floor != nil {
		b.writeErrors(" of the floor", floor)
	}
	return nil
}

// barWidth is the length of the longest bar, in characters.
const barWidth = 50

func (b *bench) writeBars(bars []latency.Bar) {
	var most int64
	for _, bar := range bars {
		most = max(most, bar.Count)
	}
	if most == 0 {
		return
	}
	fmt.Fprintln(b.out)
	for _, bar := range bars {
		length := int((bar.Count*barWidth + most - 1) / most)
		fmt.Fprintf(b.out, "<= %-9s %9d %s\n", rounded(bar.UpTo+1), bar.Count, strings.Repeat("#", length))
	}
}

func (b *bench) writeErrors(of string, m *measured) {
	for _, code := range m.codes() {
		fmt.Fprintf(b.out, "\nerrors%s: %d %s: %s\n", of, m.errors[code], code, clean(m.first[code].Error()))
	}
}

// rounded is d with three digits.
func rounded(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
