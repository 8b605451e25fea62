//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// children lists the processes below this one: the servers. One that ends
// meanwhile is left out, here and below.
func children() []int {
	var all []int
	for queue := []int{os.Getpid()}; len(queue) > 0; queue = queue[1:] {
		for _, list := range readEach("/proc/%d/task/*/children", queue[0]) {
			for w := range strings.FieldsSeq(list) {
				if p, err := strconv.Atoi(w); err == nil {
					all, queue = append(all, p), append(queue, p)
				}
			}
		}
	}
	return all
}

// cpuOf is how many seconds the threads of a process have spent on a core.
func cpuOf(pid int) float64 {
	var seconds float64
	// The first field of schedstat counts nanoseconds.
	for _, stat := range readEach("/proc/%d/task/*/schedstat", pid) {
		if f := strings.Fields(stat); len(f) > 0 {
			if v, err := strconv.ParseFloat(f[0], 64); err == nil {
				seconds += v / 1e9
			}
		}
	}
	return seconds
}

func cpuOfChildren() float64 {
	var seconds float64
	for _, p := range children() {
		seconds += cpuOf(p)
	}
	return seconds
}

// peakOfChildren is the largest resident memory that the servers had, in MiB.
func peakOfChildren() float64 {
	var kib float64
	for _, p := range children() {
		for _, status := range readEach("/proc/%d/status", p) {
			for line := range strings.Lines(status) {
				if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
					if v, err := strconv.ParseFloat(f[1], 64); err == nil {
						kib += v
					}
				}
			}
		}
	}
	return kib / 1024
}

// readEach reads the files that a pattern with one process id matches.
func readEach(pattern string, pid int) []string {
	names, _ := filepath.Glob(fmt.Sprintf(pattern, pid)) // the patterns are constants
	var texts []string
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			texts = append(texts, string(b))
		}
	}
	return texts
}
