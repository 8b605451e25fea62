//go:build linux

package main

import (
	"fmt"
	"io"
	"strconv"
)

const headerLayout = "%-8s %-8s %8s %5s  %-33s  %-25s  %-29s  %-12s\n"

// printHeader explains the columns: each block has floor, worker and their
// ratio, and the ratio's target in brackets.
func printHeader(w io.Writer) {
	fmt.Fprintf(w, headerLayout, "", "case", "size", "conns",
		"p50 µs: floor, worker, ratio", "CPU µs/op", "ops/s", "peak RSS MiB")
}

func printFinding(w io.Writer, f finding, l limits) {
	a, b := f.Floor, f.Worker
	var p50, cpu, ops string
	switch f.Case {
	case "idle":
		p50 = fmt.Sprintf("KiB each: %.1f %.1f%s", a.ConnectionKiB, b.ConnectionKiB, bracket("≤", l.connectionKiB))
	case "start":
		p50 = fmt.Sprintf("ms: %.1f %.1f%s", a.P50Micros/1e3, b.P50Micros/1e3, bracket("≤", l.startMillis))
	default:
		p50 = block(a.P50Micros, b.P50Micros, bracket("≤", l.p50))
		if l.rate > 0 {
			p50 = block(a.P50Micros, b.P50Micros, fmt.Sprintf(" (≤ 1/%g)", l.rate))
		}
		cpu = block(a.CPUMicros, b.CPUMicros, bracket("≤", l.cpu))
		ops = block(a.OpsPerSecond, b.OpsPerSecond, bracket("≥", l.ops))
	}
	rss := fmt.Sprintf("%.0f %.0f", a.PeakMiB, b.PeakMiB)
	fmt.Fprintf(w, headerLayout, f.Transport, f.Case, strconv.Itoa(f.Size), strconv.Itoa(f.Conns), p50, cpu, ops, rss)
	for _, m := range f.Missed {
		fmt.Fprintf(w, "     missed: %s\n", m)
	}
}

func block(floor, worker float64, target string) string {
	return fmt.Sprintf("%.1f %.1f  %.2fx%s", floor, worker, ratio(worker, floor), target)
}

func bracket(sign string, limit float64) string {
	if limit == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s %g)", sign, limit)
}
