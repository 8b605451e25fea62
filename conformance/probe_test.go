package conformance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
)

// countedEach is how often each of several counters counts.
const countedEach = 200

// countInProbe is what a process in the role of a counter does.
func countInProbe() int {
	p := conformance.NewCancelProbe(os.Getenv(conformance.ProbeFileVariable))
	for range countedEach {
		if err := p.Count(func(c *conformance.ProbeCounts) { c.Cancelled++ }); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}

func TestACancelProbeCountsAndResets(t *testing.T) {
	for name, path := range map[string]string{"in memory": "", "in a file": filepath.Join(t.TempDir(), "probe")} {
		t.Run(name, func(t *testing.T) {
			p := conformance.NewCancelProbe(path)
			for i := range 3 {
				if err := p.Count(func(c *conformance.ProbeCounts) { c.Produced++; c.Exchanged += int64(i) }); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := p.Counts(); err != nil || got != (conformance.ProbeCounts{Produced: 3, Exchanged: 3}) {
				t.Errorf("counts %+v, %v", got, err)
			}
			if err := p.Reset(); err != nil {
				t.Fatal(err)
			}
			if got, err := p.Counts(); err != nil || got != (conformance.ProbeCounts{}) {
				t.Errorf("counts after a reset %+v, %v", got, err)
			}
		})
	}
}

func TestACancelProbeReadsAndWritesWhatPythonDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe")
	python := `{"produce_calls": 12, "exchange_calls": 0, "on_cancel_calls": 100000}`
	if err := os.WriteFile(path, []byte(python), 0o600); err != nil {
		t.Fatal(err)
	}
	p := conformance.NewCancelProbe(path)
	if got, err := p.Counts(); err != nil || got != (conformance.ProbeCounts{Produced: 12, Cancelled: 100000}) {
		t.Errorf("counts %+v, %v", got, err)
	}
	if err := p.Reset(); err != nil { // the text gets shorter
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"produce_calls":0,"exchange_calls":0,"on_cancel_calls":0}`, string(text)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
}

func TestACancelProbeReportsAFileThatIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := conformance.NewCancelProbe(path)
	if _, err := p.Counts(); err == nil {
		t.Error("counts of half a JSON text")
	}
	if err := p.Count(func(*conformance.ProbeCounts) {}); err == nil {
		t.Error("counting on half a JSON text")
	}
	if _, err := conformance.NewCancelProbe(t.TempDir()).Counts(); err == nil {
		t.Error("counts of a directory")
	}
}

func TestACancelProbeLosesNothingBetweenProcessesAndHandles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe")
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), roleVariable+"="+roleCounter, conformance.ProbeFileVariable+"="+path, quickRace)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("counter: %v\n%s", err, out)
			}
		})
		handle := conformance.NewCancelProbe(path)
		for range 2 { // two goroutines on one handle
			wg.Go(func() {
				for range countedEach {
					if err := handle.Count(func(c *conformance.ProbeCounts) { c.Cancelled++ }); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	if got, err := conformance.NewCancelProbe(path).Counts(); err != nil || got.Cancelled != 6*countedEach {
		t.Errorf("counted %d, %v; want %d", got.Cancelled, err, 6*countedEach)
	}
}
