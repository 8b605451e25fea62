//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test binary be the processes that a measurement starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "serve" || os.Args[1] == "measure") {
		if err := run(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// smallComparison measures with processes of the test binary.
func smallComparison(t *testing.T) comparison {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return comparison{self: self, rounds: 1, scale: 1}
}

func TestEveryRowCanBeMeasured(t *testing.T) {
	t.Parallel()
	c := smallComparison(t)
	for _, table := range tables() {
		for _, r := range table.rows {
			t.Run(table.key+"/"+r.Key, func(t *testing.T) {
				t.Parallel()
				r.N = 2 * r.Callers
				got, err := c.once(t.Context(), r.load)
				if err != nil {
					t.Fatal(err)
				}
				if got.P50Micros <= 0 || got.OpsPerSecond <= 0 || got.P99Micros < got.P50Micros {
					t.Errorf("latency and rate make no sense: %+v", got)
				}
				if least := float64(r.Wait.Microseconds()); got.P50Micros < least {
					t.Errorf("a call took %v µs, and the server alone waits for %v", got.P50Micros, least)
				}
				if least := float64(r.Delay.Microseconds()); got.P99Micros < least {
					t.Errorf("the first batch took %v µs, and the link alone takes %v", got.P99Micros, least)
				}
				if hasServer := r.Network != "none"; hasServer != (got.ServerMiB > 0) {
					t.Errorf("the server's memory makes no sense: %+v", got)
				}
			})
		}
	}
}

func TestTheProgramMeasuresAndPrints(t *testing.T) {
	c := smallComparison(t)
	c.rounds, c.scale = 2, 0.001
	chosen := tables()[:1]
	var progress, out bytes.Buffer
	findings, err := c.run(t.Context(), &progress, chosen)
	if err != nil {
		t.Fatal(err)
	}
	printAll(&out, chosen, findings)
	if diff := cmp.Diff(chosen[0].title+"....\n", progress.String()); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	for _, want := range []string{
		"\n| small call over a pipe, µs to those of the floor | ",
		"\n### A small call over a pipe\n", "\n| vgi-rpc | ", "Measured with go",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
}

func TestThePrintedTable(t *testing.T) {
	chosen := []table{{
		key: "unix", title: "Calls", note: "A note.", floor: "floor", ours: "vgi",
		rows: []row{{Key: "floor", Title: "echo"}, {Key: "vgi", Title: "vgi-rpc"}, {Key: "grpc", Title: "grpc-go"}},
	}}
	findings := []finding{
		{"unix", chosen[0].rows[0], result{P50Micros: 10, P99Micros: 30, OpsPerSecond: 90000}},
		{"unix", chosen[0].rows[1], result{P50Micros: 20, P99Micros: 60, OpsPerSecond: 45000, Allocs: 3, AllocBytes: 2048, ClientMicros: 7, ServerMicros: 8, ServerMiB: 12}},
		{"unix", chosen[0].rows[2], result{P50Micros: 60, P99Micros: 120, OpsPerSecond: 15000, Allocs: 99, AllocBytes: 5120, ClientMicros: 40, ServerMicros: 30, ServerMiB: 21}},
	}
	var out bytes.Buffer
	missed := printTargets(&out, chosen, findings)
	printTable(&out, chosen[0], findings)
	want := `| Ratio | Found | Wanted |
|---|---:|---:|
| small call over a Unix socket, µs to those of the floor | 2.00 | at most 2.5 |
| the same on one core, grpc-go | 3.00 |  |

### Calls

A note.

| | µs to the floor's | µs to ours | p50 µs | p99 µs | calls/s | client allocations | client KiB | client CPU µs | server CPU µs | server peak MiB |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
| echo | 1.00 | 0.50 | 10.0 | 30.0 | 90000 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
| vgi-rpc | 2.00 | 1.00 | 20.0 | 60.0 | 45000 | 3.0 | 2.0 | 7.0 | 8.0 | 12.0 |
| grpc-go | 6.00 | 3.00 | 60.0 | 120 | 15000 | 99.0 | 5.0 | 40.0 | 30.0 | 21.0 |

`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if missed != 0 {
		t.Errorf("%d targets missed, want none", missed)
	}
}

func TestTargets(t *testing.T) {
	most, least, none := target{limit: 2.5}, target{limit: 4, atLeast: true}, target{}
	for _, tt := range []struct {
		name  string
		g     target
		found float64
		want  string
	}{
		{"reached from below", most, 2.5, "at most 2.5"},
		{"missed from above", most, 2.51, "at most 2.5, **missed**"},
		{"reached from above", least, 4, "at least 4"},
		{"missed from below", least, 3.99, "at least 4, **missed**"},
		{"without a limit", none, 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.g.wanted(tt.found); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if missed := strings.HasSuffix(tt.want, "**"); missed != tt.g.misses(tt.found) {
				t.Errorf("missed: %v", !missed)
			}
		})
	}
}

func TestTargetsAreOfRowsThatThereAre(t *testing.T) {
	var findings []finding
	for _, table := range tables() {
		for _, r := range table.rows {
			findings = append(findings, finding{table.key, r, result{}})
		}
	}
	for _, g := range targets() {
		for _, key := range []string{g.above, g.over} {
			if _, ok := find(findings, g.table, key); !ok {
				t.Errorf("%s: no row %q in table %q", g.text, key, g.table)
			}
		}
	}
}

func TestMedians(t *testing.T) {
	odd := []result{{P50Micros: 3, Allocs: 1}, {P50Micros: 1, Allocs: 2}, {P50Micros: 2, Allocs: 9}}
	even := []result{{P50Micros: 4}, {P50Micros: 1}}
	for _, tt := range []struct {
		name   string
		rounds []result
		want   result
	}{
		{"each figure by itself", odd, result{P50Micros: 2, Allocs: 2}},
		{"of an even number, the middle of the two", even, result{P50Micros: 2.5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, medians(tt.rounds)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"a table that there is not", `no table begins with "udp"`, []string{"-only", "udp"}},
		{"no rounds", "-rounds and -scale must be positive", []string{"-rounds", "0"}},
		{"an argument too many", "there are no other arguments", []string{"unix"}},
		{"a load that is none", "takes one load", []string{"measure"}},
		{"a peer that there is not", `"soap" does not serve`, []string{"serve", "-peer", "soap"}},
		{"a peer without a server", `"memcpy" does not serve`, []string{"serve", "-peer", "memcpy"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := run(t.Context(), tt.args); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestWhatIsFoundIsWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "found.json")
	want := []finding{{"unix", call("vgi", "vgi-rpc", "vgi", "unix").slow(), result{P50Micros: 1}}}
	if err := writeJSON(file, want); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []finding
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(finding{}, row{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
