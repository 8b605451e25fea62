//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// processTree lists a process and its descendants: a worker may sit behind a
// wrapper. A process that ends meanwhile is left out, here and below.
func processTree(pid int) []int {
	all := []int{pid}
	for _, children := range readEach("/proc/%d/task/*/children", pid) {
		for w := range strings.FieldsSeq(children) {
			if p, err := strconv.Atoi(w); err == nil {
				all = append(all, processTree(p)...)
			}
		}
	}
	return all
}

// cpuSeconds is the time that the threads of a process tree spent on a CPU.
func cpuSeconds(pid int) float64 {
	var ns float64
	for _, p := range processTree(pid) {
		// The first field of schedstat counts nanoseconds.
		for _, stat := range readEach("/proc/%d/task/*/schedstat", p) {
			if f := strings.Fields(stat); len(f) > 0 {
				v, err := strconv.ParseFloat(f[0], 64)
				if err == nil {
					ns += v
				}
			}
		}
	}
	return ns / 1e9
}

// Lines of /proc/PID/status.
const (
	residentNow  = "VmRSS:"
	residentPeak = "VmHWM:"
)

// kibibytes sums one memory line of /proc/PID/status over a process tree.
func kibibytes(pid int, name string) float64 {
	var sum float64
	for _, p := range processTree(pid) {
		for _, status := range readEach("/proc/%d/status", p) {
			for line := range strings.Lines(status) {
				f := strings.Fields(line)
				if len(f) < 2 || f[0] != name {
					continue
				}
				if v, err := strconv.ParseFloat(f[1], 64); err == nil {
					sum += v
				}
			}
		}
	}
	return sum
}

// readEach reads the files that a pattern with one process id matches.
func readEach(pattern string, pid int) []string {
	names, err := filepath.Glob(fmt.Sprintf(pattern, pid))
	if err != nil {
		panic(err) // the patterns are constants
	}
	var texts []string
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			texts = append(texts, string(b))
		}
	}
	return texts
}
