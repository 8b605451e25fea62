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
	"strings"
	"syscall"
	"time"

	"github.com/vgirpc/vgirpc-go/bench/internal/rounds"
)

// comparison is one run of the program.
type comparison struct {
	self   string
	rounds int
	scale  float64
}

// finding is a row with its medians over the rounds.
type finding struct {
	Table string `json:"table"`
	row
	result
}

func compareMain(ctx context.Context, args []string) error {
	var c comparison
	fs := flag.NewFlagSet("peers", flag.ContinueOnError)
	fs.IntVar(&c.rounds, "rounds", 5, "measurements of each row, in turn with the other rows of its table; the medians count")
	fs.Float64Var(&c.scale, "scale", 1, "share of the operations of each row, for a quick look")
	only := fs.String("only", "", "measure the tables whose key begins with this")
	file := fs.String("json", "", "write what was found to this file as well")
	check := fs.Bool("check", false, "exit with status 1 when a target is missed")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if c.rounds < 1 || c.scale <= 0 || fs.NArg() > 0 {
		return errors.New("-rounds and -scale must be positive, and there are no other arguments")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c.self = self
	chosen := slices.DeleteFunc(tables(), func(t table) bool { return !strings.HasPrefix(t.key, *only) })
	if len(chosen) == 0 {
		return fmt.Errorf("no table begins with %q", *only)
	}
	findings, err := c.run(ctx, os.Stderr, chosen)
	if err != nil {
		return err
	}
	missed := printAll(os.Stdout, chosen, findings)
	if *file != "" {
		if err := writeJSON(*file, findings); err != nil {
			return err
		}
	}
	if *check && missed > 0 {
		return fmt.Errorf("%d targets missed", missed)
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

// run measures the tables one after the other, the rows of each in turn, so that
// what disturbs the machine for a while disturbs them all.
func (c comparison) run(ctx context.Context, progress io.Writer, chosen []table) ([]finding, error) {
	var findings []finding
	for _, t := range chosen {
		fmt.Fprintf(progress, "%s", t.title)
		found := make([][]result, len(t.rows))
		for range c.rounds {
			for i, r := range t.rows {
				got, err := c.once(ctx, r.load)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", t.title, r.Title, err)
				}
				found[i] = append(found[i], got)
				fmt.Fprint(progress, ".")
			}
		}
		fmt.Fprintln(progress)
		for i, r := range t.rows {
			findings = append(findings, finding{t.key, r, medians(found[i])})
		}
	}
	return findings, nil
}

// once makes one measurement in a process of its own.
func (c comparison) once(ctx context.Context, l load) (result, error) {
	const limit = 5 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l.N = max(1, int(float64(l.N)*c.scale))
	text, err := json.Marshal(l)
	if err != nil {
		return result{}, err
	}
	cmd := exec.CommandContext(ctx, c.self, "measure", string(text))
	// The measuring process ends its server when it is told to end.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := rounds.Run(cmd, l.OneCore); err != nil {
		return result{}, fmt.Errorf("%w\n%s", err, stderr.Bytes())
	}
	var r result
	return r, json.Unmarshal(stdout.Bytes(), &r)
}

// medians is the median of each figure over the rounds.
func medians(all []result) result {
	of := func(figure func(result) float64) float64 { return rounds.Median(all, figure) }
	return result{
		P50Micros:    of(func(r result) float64 { return r.P50Micros }),
		P99Micros:    of(func(r result) float64 { return r.P99Micros }),
		OpsPerSecond: of(func(r result) float64 { return r.OpsPerSecond }),
		Allocs:       of(func(r result) float64 { return r.Allocs }),
		AllocBytes:   of(func(r result) float64 { return r.AllocBytes }),
		ServerMicros: of(func(r result) float64 { return r.ServerMicros }),
		ClientMicros: of(func(r result) float64 { return r.ClientMicros }),
		ServerMiB:    of(func(r result) float64 { return r.ServerMiB }),
	}
}
