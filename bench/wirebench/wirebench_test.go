//go:build linux

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/conformance"
)

// TestMain lets the test binary be the processes that a comparison starts.
func TestMain(m *testing.M) {
	role := ""
	if len(os.Args) > 1 {
		role = os.Args[1]
	}
	switch role {
	case "floor", "measure", "peer":
		main()
	case "worker":
		os.Exit(conformance.Main(context.Background(), os.Args[2:]))
	default:
		os.Exit(m.Run())
	}
}

func self(t *testing.T) string {
	t.Helper()
	file, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func floorCommand(t *testing.T) string {
	t.Helper()
	return self(t) + " floor"
}

func peerCommand(t *testing.T) string {
	t.Helper()
	return self(t) + " peer"
}

func TestEveryRowOfTheComparisonMeasuresTheFloor(t *testing.T) {
	t.Parallel()
	for _, r := range rows() {
		t.Run(r.name(), func(t *testing.T) {
			t.Parallel()
			if !r.offBand() {
				measureLittle(t, r.load, floorCommand(t))
				return
			}
			measureLittle(t, r.load, peerCommand(t))
			measureLittle(t, r.baseline(), peerCommand(t))
		})
	}
}

func TestEveryCaseOverHTTPMeasuresTheConformanceWorker(t *testing.T) {
	t.Parallel()
	loads := []load{
		{"http", "enum", 1, 1, 1},
		{"http", "point", 1, 1, 1},
		{"http", "strings", 1000, 1, 1},
		{"http", "exchange", 10000, 1, 1},
		{"http", "connect", 1, 3, 2},
		{"http", "start", 1, 1, 1},
		{"http", "idle", 1, 3, 1},
	}
	for _, r := range rows() {
		if r.Transport == transportHTTP {
			loads = append(loads, r.load)
		}
	}
	for _, l := range loads {
		t.Run(row{load: l}.name(), func(t *testing.T) {
			t.Parallel()
			measureLittle(t, l, self(t)+" worker")
		})
	}
}

// measureLittle makes a short measurement, and checks that it finds something.
func measureLittle(t *testing.T, l load, command string) {
	t.Helper()
	if l.Size = min(l.Size, 200_000); l.Case == "blocks" {
		l.Size = 2 << 20 // smaller ones stay in the connection
	}
	l.N = min(l.N, 3*l.Conns)
	if l.Case == "producer" || l.Case == "exchange" {
		l.N = turnsPerStream + 100 // past the end of a stream
	}
	got, err := measure(t.Context(), l, command)
	if err != nil {
		t.Fatal(err)
	}
	if l.Case != "idle" && got.P50Micros <= 0 {
		t.Errorf("p50 of %v µs", got.P50Micros)
	}
	if got.PeakMiB <= 0 {
		t.Errorf("peak memory of %v MiB", got.PeakMiB)
	}
}

func TestMeasureSaysWhyAWorkerCannotBeMeasured(t *testing.T) {
	t.Parallel()
	floor := floorCommand(t)
	for name, test := range map[string]struct {
		load    load
		command string
		want    string
	}{
		"no command":                       {load{"pipe", "unary", 1, 1, 1}, "", "no command"},
		"no such program":                  {load{"pipe", "unary", 1, 1, 1}, "/nonexistent/worker", "no such file"},
		"no such transport":                {load{"carrier-pigeon", "unary", 1, 1, 1}, floor, "no such transport"},
		"no such case":                     {load{"pipe", "sextuple", 1, 1, 1}, floor, `no such case: "sextuple"`},
		"a producer over HTTP":             {load{"http", "producer", 1, 1, 1}, floor, `no such case: "producer" over http`},
		"two connections over a pipe":      {load{"pipe", "unary", 1, 2, 2}, floor, "a pipe is one connection"},
		"a transport of none of its cases": {load{"tcp", "fold", 8, 1, 1}, peerCommand(t), "not defined: -tcp"},
		"a case that stays where it is":    {load{"shm", "unary", 1, 1, 1}, peerCommand(t), `no such case: "unary" over shm`},
		"a worker that ends":               {load{"unix", "unary", 1, 1, 1}, "false", "announced"},
		"stderr of a refusing worker":      {load{"unix", "unary", 1, 1, 1}, floor + " --no", "floor takes nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := measure(t.Context(), test.load, test.command)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestMissedNamesEachTargetOnce(t *testing.T) {
	t.Parallel()
	all := limits{p50: 1.5, cpu: 2, ops: 0.6, rate: 0.6, startMillis: 50, connectionKiB: 24}
	floor := result{P50Micros: 10, CPUMicros: 10, OpsPerSecond: 100}
	for name, test := range map[string]struct {
		limits limits
		worker result
		want   []string
	}{
		"at the limits": {all, result{P50Micros: 15, CPUMicros: 20, OpsPerSecond: 60, ConnectionKiB: 24}, nil},
		"no limits":     {limits{}, result{P50Micros: 1e9, CPUMicros: 1e9, ConnectionKiB: 1e9}, nil},
		"past all of them": {
			all,
			result{P50Micros: 60_000, CPUMicros: 21, OpsPerSecond: 59, ConnectionKiB: 25},
			[]string{
				"p50 ratio 6000.00, at most 1.5",
				"CPU ratio 2.10, at most 2",
				"start to first answer, ms 60.00, at most 50",
				"KiB for an idle connection 25.00, at most 24",
				"throughput ratio 0.59, at least 0.6",
				"median throughput ratio 0.00, at least 0.6",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.limits.missed(floor, test.worker); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestMediansAreTakenNumberByNumber(t *testing.T) {
	t.Parallel()
	odd := medians([]result{{P50Micros: 3, P99Micros: 1}, {P50Micros: 1, P99Micros: 9}, {P50Micros: 2, P99Micros: 5}})
	if want := (result{P50Micros: 2, P99Micros: 5}); odd != want {
		t.Errorf("of three: got %+v, want %+v", odd, want)
	}
	even := medians([]result{{OpsPerSecond: 3}, {OpsPerSecond: 1}})
	if want := (result{OpsPerSecond: 2}); even != want {
		t.Errorf("of two: got %+v, want %+v", even, want)
	}
}

func TestSummarizeTakesThePercentilesOfUnsortedLatencies(t *testing.T) {
	t.Parallel()
	latencies := make([]time.Duration, 100)
	for i := range latencies {
		latencies[i] = time.Duration(100-i) * time.Microsecond
	}
	if got, want := summarize(latencies), (result{P50Micros: 51, P99Micros: 100}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCompareWritesWhatItFound(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "out.json")
	err := compareMain(t.Context(), []string{
		"-worker", floorCommand(t), "-only", "pipe/unary", "-rounds", "1", "-scale", "0.01", "-json", file,
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var findings []finding
	if err := json.Unmarshal(text, &findings); err != nil {
		t.Fatal(err)
	}
	if len(findings) != 1 || findings[0].Case != "unary" || findings[0].Worker.P50Micros <= 0 {
		t.Errorf("unexpected findings: %+v", findings)
	}
}

func TestVerdictFailsWhereATargetIsMissed(t *testing.T) {
	t.Parallel()
	l := load{"pipe", "unary", 1, 1, 1}
	if err := verdict([]finding{{load: l}}); err != nil {
		t.Errorf("nothing missed: %v", err)
	}
	err := verdict([]finding{{load: l, Missed: []string{"p50 ratio 2.00, at most 1.5"}}})
	if want := "pipe/unary/1/1: p50 ratio 2.00, at most 1.5"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
}
