//go:build unix

package workertest

import (
	"strconv"
	"syscall"
	"testing"
)

// Restart has the worker hand over to another process, and waits until that one has
// taken over.
func (p *Process) Restart(tb testing.TB) {
	tb.Helper()
	p.Signal(tb, syscall.SIGUSR2)
	p.restarts++
	next, err := strconv.Atoi(p.SaysTimes(tb, takeover.String(), p.restarts)[1])
	if err != nil {
		tb.Fatal(err)
	}
	p.pid = next
}
