//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestALoadThatDidNotLeaveTheConnectionIsNoMeasurement(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		load        load
		made, bytes int64
		want        string // "" is good
	}{
		"nothing to check on a socket":         {load{Transport: "unix", Case: "fold"}, 0, 0, ""},
		"memory that nobody agreed to":         {load{Transport: "shm", Case: "fold"}, 0, 0, "shm was not used"},
		"memory through which nothing went":    {load{Transport: "shmview", Case: "fold"}, 1, 0, "shmview was not used"},
		"memory through which something went":  {load{Transport: "shmview", Case: "fold"}, 1, 1, ""},
		"small calls that stay where they are": {load{Transport: "shm", Case: "small"}, 1, 0, ""},
		"small calls without any memory":       {load{Transport: "shm", Case: "small"}, 0, 0, "shm was not used"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var used moved
			used.made.Store(test.made)
			used.bytes.Store(test.bytes)
			err := test.load.checkUsed(&used)
			if (err != nil) != (test.want != "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestEveryByteIsWrittenAndRead(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 4095, 4096, 100_001} {
		data := make([]byte, size)
		write(data, 200)
		if n := bytes.Count(data, []byte{200}); n != size {
			t.Errorf("%d of %d bytes were written", n, size)
		}
		if err := check(data, 200); err != nil {
			t.Error(err)
		}
		for _, at := range []int{0, size / 2, size - 1} {
			if size == 0 {
				continue
			}
			data[at]++
			if err := check(data, 200); err == nil {
				t.Errorf("byte %d of %d is another, and nobody saw it", at, size)
			}
			data[at]--
		}
	}
}

func TestRowsAreChosenByPartsOfTheirNames(t *testing.T) {
	t.Parallel()
	for only, want := range map[string]int{"": len(rows()), "shm/": 3, "shm": 6, "shm,external": 7, "fold/1048576,external": 3, "no such": 0} {
		got := 0
		for _, r := range rows() {
			if r.holds(only) {
				got++
			}
		}
		if got != want {
			t.Errorf("%q chooses %d rows, want %d", only, got, want)
		}
	}
}
