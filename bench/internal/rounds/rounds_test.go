//go:build linux

package rounds_test

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/bench/internal/rounds"
)

func TestAPinnedCommandHasOneCoreAndTheNextHasAllAgain(t *testing.T) {
	cores := func(pinned bool) string {
		var out bytes.Buffer
		cmd := exec.Command("nproc")
		cmd.Stdout = &out
		if err := rounds.Run(cmd, pinned); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	var before, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	all := cores(false)
	if diff := cmp.Diff([]string{"1\n", all}, []string{cores(true), cores(false)}); diff != "" {
		t.Errorf("cores of a pinned command, and of one after it (-want +got):\n%s", diff)
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("the thread keeps %d of %d cores", after.Count(), before.Count())
	}
}

func TestACommandThatCannotStartIsAnError(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		if err := rounds.Run(exec.Command("/nonexistent/it"), pinned); err == nil {
			t.Errorf("pinned %v: no error", pinned)
		}
	}
}

func TestTheMedianOfAnEvenNumberIsBetweenTwo(t *testing.T) {
	for want, figures := range map[float64][]float64{3: {3}, 2: {9, 1, 2}, 2.5: {4, 1, 2, 3}} {
		if got := rounds.Median(figures, func(f float64) float64 { return f }); got != want {
			t.Errorf("%v: got %v, want %v", figures, got, want)
		}
	}
}
