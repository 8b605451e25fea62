//go:build linux

// Package rounds has what measurements in several rounds, each in a process of
// its own, need so that they can be compared.
package rounds

import (
	"os/exec"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Run runs a command and what it starts, on the first core alone when it is to
// be pinned. Small messages between two processes cost so little that it decides
// whether the scheduler has put them on one core or on two, which changes from
// run to run.
func Run(cmd *exec.Cmd, pinned bool) error {
	if !pinned {
		return cmd.Run()
	}
	runtime.LockOSThread() // a child inherits the cores of the thread that starts it
	defer runtime.UnlockOSThread()
	var before, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	for cpu := 0; first.Count() == 0; cpu++ {
		if before.IsSet(cpu) {
			first.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		return err
	}
	err := cmd.Start()
	if restore := unix.SchedSetaffinity(0, &before); err == nil {
		err = restore
	}
	if err != nil {
		return err
	}
	return cmd.Wait()
}

// Median is the median of one figure over the rounds, of which there is one at
// least.
func Median[T any](rounds []T, figure func(T) float64) float64 {
	v := make([]float64, len(rounds))
	for i, r := range rounds {
		v[i] = figure(r)
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
