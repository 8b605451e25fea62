//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vgirpc/vgirpc-go/bench/internal/rounds"
)

// row is one line of the comparison: a load and what the worker must reach.
type row struct {
	load
	limits
}

// limits are the targets of a row; zero sets none. The first four are ratios
// of the worker to the floor; rate is that of throughput by the median operation,
// which pauses of the machine leave alone.
type limits struct {
	p50, cpu, ops float64 // at most, at most, at least
	rate          float64 // at least
	startMillis   float64
	connectionKiB float64
}

// rows is the whole comparison.
func rows() []row {
	const mib = 1 << 20
	return []row{
		{load{"pipe", "unary", 1, 20000, 1}, limits{p50: 1.5, cpu: 2}},
		{load{"pipe", "enum", 1, 10000, 1}, limits{p50: 4}},
		{load{"pipe", "point", 1, 10000, 1}, limits{p50: 4}},
		{load{"pipe", "producer", 1, 20000, 1}, limits{p50: 1.5}},
		{load{"pipe", "exchange", 1, 20000, 1}, limits{p50: 1.5}},
		{load{"pipe", "exchange", 10000, 3000, 1}, limits{p50: 2}},
		{load{"pipe", "bytes", mib, 400, 1}, limits{p50: 1.4}},
		{load{"pipe", "bytes", 64 * mib, 10, 1}, limits{p50: 1.7}},
		{load{"pipe", "strings", 10000, 1000, 1}, limits{p50: 3}},
		{load{"unix", "unary", 1, 20000, 1}, limits{}},
		{load{"unix", "unary", 1, 40000, 32}, limits{ops: 0.6}},
		{load{"unix", "connect", 1, 3000, 1}, limits{}},
		{load{"unix", "bytes", mib, 400, 1}, limits{}},
		{load{"tcp", "unary", 1, 20000, 1}, limits{}},
		{load{"http", "unary", 1, 10000, 1}, limits{p50: 1.25}},
		{load{"http", "unary", 1, 20000, 32}, limits{ops: 0.75}},
		{load{"http", "exchange", 1, 6000, 1}, limits{p50: 1.5}},
		{load{"http", "bytes", mib, 400, 1}, limits{p50: 1.2}},
		{load{"pipe", "start", 1, 20, 1}, limits{startMillis: 50}},
		{load{"unix", "idle", 1, 500, 1}, limits{connectionKiB: 24}},
		{load{transportSHM, "small", 1, 20000, 1}, limits{p50: 1.1}},
		{load{transportSHM, "fold", mib, 1000, 1}, limits{rate: 1.1}},
		{load{transportSHM, "fold", 16 * mib, 60, 1}, limits{rate: 1.15}},
		{load{transportView, "small", 1, 20000, 1}, limits{p50: 1.1}},
		{load{transportView, "fold", mib, 1000, 1}, limits{rate: 1.5}},
		{load{transportView, "fold", 16 * mib, 60, 1}, limits{rate: 1.5}},
		{load{transportExternal, "blocks", 64 * mib, 8, 1}, limits{p50: 1.3}},
	}
}

func (r row) name() string {
	return fmt.Sprintf("%s/%s/%d/%d", r.Transport, r.Case, r.Size, r.Conns)
}

// holds reports whether a row's name holds one of several parts, with commas
// between them.
func (r row) holds(parts string) bool {
	for part := range strings.SplitSeq(parts, ",") {
		if strings.Contains(r.name(), part) {
			return true
		}
	}
	return false
}

// comparison is the configuration of one run of the subcommand.
type comparison struct {
	self    string // this binary, which measures and is the floor
	command string // of the worker
	rounds  int
	scale   float64
}

// finding is one row's medians over the rounds.
type finding struct {
	load
	Floor  result   `json:"floor"`
	Worker result   `json:"worker"`
	Missed []string `json:"missed,omitempty"`
}

func compareMain(ctx context.Context, args []string) error {
	var c comparison
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.StringVar(&c.command, "worker", "", "command line of the worker, without the flags of a transport")
	fs.IntVar(&c.rounds, "rounds", 5, "measurements of each row; the medians count")
	fs.Float64Var(&c.scale, "scale", 1, "share of the operations of each row, for a slow worker or a quick look")
	only := fs.String("only", "", "measure the rows whose transport/case/size/connections holds this, or one of several with commas between")
	file := fs.String("json", "", "write what was found to this file")
	check := fs.Bool("check", false, "exit with status 1 where the worker misses a target")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if c.rounds < 1 || c.scale <= 0 || fs.NArg() > 0 {
		return errors.New("compare needs positive -rounds and -scale, and no other arguments")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c.self = self
	chosen := slices.DeleteFunc(rows(), func(r row) bool { return !r.holds(*only) })
	if len(chosen) == 0 {
		return fmt.Errorf("no row holds %q", *only)
	}
	if c.command == "" && slices.ContainsFunc(chosen, func(r row) bool { return !r.offBand() }) {
		return errors.New("compare needs -worker for these rows")
	}
	findings, err := c.run(ctx, os.Stdout, chosen)
	if err != nil {
		return err
	}
	if *file != "" {
		if err := writeJSON(*file, findings); err != nil {
			return err
		}
	}
	if *check {
		return verdict(findings)
	}
	return nil
}

// run measures the rows and prints each as soon as it is complete.
func (c comparison) run(ctx context.Context, out io.Writer, chosen []row) ([]finding, error) {
	printHeader(out)
	var findings []finding
	for _, r := range chosen {
		f, err := c.measure(ctx, r)
		if err != nil {
			return findings, fmt.Errorf("%s: %w", r.name(), err)
		}
		printFinding(out, f, r.limits)
		findings = append(findings, f)
	}
	return findings, nil
}

// measure runs floor and worker in turn. What leaves the connection is compared
// with what stays in it, or with a plain file: the peer's worker is both then.
func (c comparison) measure(ctx context.Context, r row) (finding, error) {
	var floors, workers []result
	floor, floorCommand, command := r.load, c.self+" floor", c.command
	if r.offBand() {
		floor, floorCommand, command = r.baseline(), c.self+" peer", c.self+" peer"
	}
	for range c.rounds {
		f, err := c.once(ctx, floor, floorCommand)
		if err != nil {
			return finding{}, fmt.Errorf("floor: %w", err)
		}
		w, err := c.once(ctx, r.load, command)
		if err != nil {
			return finding{}, err
		}
		floors, workers = append(floors, f), append(workers, w)
	}
	f := finding{load: r.load, Floor: medians(floors), Worker: medians(workers)}
	f.Missed = r.missed(f.Floor, f.Worker)
	return f, nil
}

// once makes one measurement in a process of its own.
func (c comparison) once(ctx context.Context, l load, command string) (result, error) {
	const limit = 5 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	n := l.N
	if l.Case != "idle" { // there N is what is divided by, not how often
		n = max(2, int(float64(n)*c.scale))
	}
	cmd := exec.CommandContext(ctx, c.self, "measure", "-worker", command,
		"-transport", l.Transport, "-case", l.Case, "-size", strconv.Itoa(l.Size),
		"-n", strconv.Itoa(n), "-c", strconv.Itoa(l.Conns))
	// The measuring process kills its worker when it is told to end.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := rounds.Run(cmd, l.handsOver())
	if cause := context.Cause(ctx); cause != nil {
		return result{}, cause
	}
	var r result
	if jerr := json.Unmarshal(stdout.Bytes(), &r); jerr != nil {
		return r, errors.Join(err, fmt.Errorf("%s", stderr.Bytes()))
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, err
}

// handsOver reports whether a load is one small message at a time between two
// processes. Whether the scheduler puts them on one core or on two then decides
// more than what they do: it is a difference of half a round trip, and changes
// from run to run. Such loads are measured on one core.
func (l load) handsOver() bool {
	small := l.Size <= 1 || l.Case == "exchange" // whose 10,000 rows are 80 kB
	return l.Conns == 1 && small && l.Case != "start" && l.Case != "idle" && l.Case != "connect"
}

// medians is the median of each number over the rounds.
func medians(all []result) result {
	of := func(figure func(result) float64) float64 { return rounds.Median(all, figure) }
	return result{
		P50Micros:     of(func(r result) float64 { return r.P50Micros }),
		P99Micros:     of(func(r result) float64 { return r.P99Micros }),
		CPUMicros:     of(func(r result) float64 { return r.CPUMicros }),
		OpsPerSecond:  of(func(r result) float64 { return r.OpsPerSecond }),
		MBPerSecond:   of(func(r result) float64 { return r.MBPerSecond }),
		PeakMiB:       of(func(r result) float64 { return r.PeakMiB }),
		ConnectionKiB: of(func(r result) float64 { return r.ConnectionKiB }),
	}
}

// ratio is 0 where there is nothing to divide by.
func ratio(worker, floor float64) float64 {
	if floor == 0 {
		return 0
	}
	return worker / floor
}

// missed names the targets that the worker does not reach.
func (l limits) missed(floor, worker result) []string {
	var all []string
	atMost := func(what string, got, limit float64) {
		if limit > 0 && got > limit {
			all = append(all, fmt.Sprintf("%s %.2f, at most %g", what, got, limit))
		}
	}
	atMost("p50 ratio", ratio(worker.P50Micros, floor.P50Micros), l.p50)
	atMost("CPU ratio", ratio(worker.CPUMicros, floor.CPUMicros), l.cpu)
	atMost("start to first answer, ms", worker.P50Micros/1e3, l.startMillis)
	atMost("KiB for an idle connection", worker.ConnectionKiB, l.connectionKiB)
	if got := ratio(worker.OpsPerSecond, floor.OpsPerSecond); got < l.ops {
		all = append(all, fmt.Sprintf("throughput ratio %.2f, at least %g", got, l.ops))
	}
	if got := ratio(floor.P50Micros, worker.P50Micros); got < l.rate {
		all = append(all, fmt.Sprintf("median throughput ratio %.2f, at least %g", got, l.rate))
	}
	return all
}

func verdict(findings []finding) error {
	var missed []string
	for _, f := range findings {
		for _, m := range f.Missed {
			missed = append(missed, fmt.Sprintf("%s: %s", row{load: f.load}.name(), m))
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("%d targets missed:\n  %s", len(missed), strings.Join(missed, "\n  "))
	}
	return nil
}

func writeJSON(file string, findings []finding) error {
	b, err := json.MarshalIndent(findings, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o600)
}
