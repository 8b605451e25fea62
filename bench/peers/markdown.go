//go:build linux

package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// printAll prints the targets, every table, and what was compared. It returns
// how many targets were missed.
func printAll(w io.Writer, chosen []table, findings []finding) (missed int) {
	missed = printTargets(w, chosen, findings)
	for _, t := range chosen {
		printTable(w, t, findings)
	}
	fmt.Fprintf(w, "Measured with %s on %s/%s and %d cores", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if v := versions(); v != "" {
		fmt.Fprintf(w, "; %s", v)
	}
	fmt.Fprintln(w, ".")
	return missed
}

// versions names the modules that are compared.
func versions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var all []string
	for _, m := range info.Deps {
		switch m.Path {
		case "google.golang.org/grpc", "google.golang.org/protobuf", "connectrpc.com/connect", "github.com/apache/arrow-go/v18":
			all = append(all, m.Path+" "+m.Version)
		}
	}
	return strings.Join(all, ", ")
}

func find(findings []finding, table, key string) (result, bool) {
	i := slices.IndexFunc(findings, func(f finding) bool { return f.Table == table && f.Key == key })
	if i < 0 {
		return result{}, false
	}
	return findings[i].result, true
}

// figure is what a table's ratios compare.
func (t table) figure(r result) float64 {
	if t.rate {
		return r.OpsPerSecond
	}
	return r.P50Micros
}

func printTargets(w io.Writer, chosen []table, findings []finding) (missed int) {
	var lines strings.Builder
	for _, g := range targets() {
		i := slices.IndexFunc(chosen, func(t table) bool { return t.key == g.table })
		above, ok := find(findings, g.table, g.above)
		over, okToo := find(findings, g.table, g.over)
		if i < 0 || !ok || !okToo {
			continue
		}
		found := chosen[i].figure(above) / chosen[i].figure(over)
		fmt.Fprintf(&lines, "| %s | %s | %s |\n", g.text, times(found), g.wanted(found))
		if g.misses(found) {
			missed++
		}
	}
	if lines.Len() > 0 {
		fmt.Fprintf(w, "| Ratio | Found | Wanted |\n|---|---:|---:|\n%s\n", lines.String())
	}
	return missed
}

func (g target) misses(found float64) bool {
	switch {
	case g.limit == 0:
		return false
	case g.atLeast:
		return found < g.limit
	default:
		return found > g.limit
	}
}

func (g target) wanted(found float64) string {
	if g.limit == 0 {
		return ""
	}
	sign, verdict := "at most", ""
	if g.atLeast {
		sign = "at least"
	}
	if g.misses(found) {
		verdict = ", **missed**"
	}
	return fmt.Sprintf("%s %g%s", sign, g.limit, verdict)
}

// printTable has the ratios first: they hold on a noisy machine, the times do
// not.
func printTable(w io.Writer, t table, findings []finding) {
	fmt.Fprintf(w, "### %s\n\n%s\n\n", t.title, t.note)
	unit := "µs"
	if t.rate {
		unit = "rate"
	}
	floor, hasFloor := find(findings, t.key, t.floor)
	ours, _ := find(findings, t.key, t.ours)
	streams := t.rows[0].Stream
	rate := "calls/s"
	if streams {
		rate = "GB/s"
	}
	heads := []string{unit + " to the floor's", unit + " to ours", "p50 µs", "p99 µs", rate, "client allocations", "client KiB", "client CPU µs", "server CPU µs", "server peak MiB"}
	if !hasFloor {
		heads = heads[1:]
	}
	fmt.Fprintf(w, "| | %s |\n|---%s|\n", strings.Join(heads, " | "), strings.Repeat("|---:", len(heads)))
	for _, r := range t.rows {
		f, ok := find(findings, t.key, r.Key)
		if !ok {
			continue
		}
		cells := []string{times(t.figure(f) / t.figure(floor)), times(t.figure(f) / t.figure(ours)), number(f.P50Micros), number(f.P99Micros)}
		if streams {
			cells = append(cells, fmt.Sprintf("%.2f", f.OpsPerSecond*batchBytes/1e9))
		} else {
			cells = append(cells, fmt.Sprintf("%.0f", f.OpsPerSecond))
		}
		cells = append(cells, number(f.Allocs), number(f.AllocBytes/1024), number(f.ClientMicros), number(f.ServerMicros), number(f.ServerMiB))
		if !hasFloor {
			cells = cells[1:]
		}
		fmt.Fprintf(w, "| %s | %s |\n", r.Title, strings.Join(cells, " | "))
	}
	fmt.Fprintln(w)
}

func times(v float64) string { return fmt.Sprintf("%.2f", v) }

// number has as many digits as it deserves.
func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}
