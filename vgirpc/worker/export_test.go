package worker

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// ApplyForTest puts a worker together as Run does, short of taking over the
// process, and returns the server's options.
func ApplyForTest(s *vgirpc.Server, args ...string) (vgirpc.ServerOptions, error) {
	w := newWorker(s, nil)
	if _, err := w.parse(args, io.Discard); err != nil {
		return vgirpc.ServerOptions{}, err
	}
	if err := w.apply(context.Background()); err != nil {
		return vgirpc.ServerOptions{}, err
	}
	return w.setup.options()
}

// Configure puts a worker together with an environment that is given, and returns
// its setup. What it has opened is closed when the test ends, before the test's
// directories are removed.
func Configure(tb testing.TB, s *vgirpc.Server, args, environ []string, opts ...Option) (*Setup, error) {
	tb.Helper()
	w := newWorker(s, opts)
	w.config.environ = environ
	if _, err := w.parse(args, io.Discard); err != nil {
		return nil, err
	}
	tb.Cleanup(func() {
		for _, f := range slices.Backward(w.setup.atExit) {
			if err := f(context.Background()); err != nil {
				tb.Errorf("at exit: %v", err)
			}
		}
	})
	return w.setup, w.apply(context.Background())
}

// ChosenBy is the flag of the transport.
func ChosenBy(s *Setup) string { return s.chosenBy }

// PrintConfig is what --print-config prints.
func PrintConfig(s *Setup, w io.Writer) error { return s.config.write(w) }

// UnknownVariables are those that the worker warns of.
func UnknownVariables(s *Setup) []string { return s.config.unknown }

// Enter comes to a state.
func Enter(s *Setup, state State) { s.enter(state) }

// MemoryLimit is the limit that a worker with such a control group sets, 0 for
// none.
func MemoryLimit(s *vgirpc.Server, args []string, allowed func() (uint64, error)) (limit int64, err error) {
	w := newWorker(s, nil)
	o := w.opts[slices.IndexFunc(w.opts, func(o Option) bool { _, ok := o.(*memory); return ok })].(*memory)
	o.allowed = allowed
	o.setLimit = func(n int64) int64 { limit = n; return 0 }
	if _, err := w.parse(args, io.Discard); err != nil {
		return 0, err
	}
	err = w.apply(context.Background())
	return limit, err
}

// SameAddress reports whether a listener is at the address that is asked for.
func SameAddress(is net.Addr, want string) bool { return sameAddress(is, want) }

// RecallForTest takes a handover back that has just succeeded.
func RecallForTest(hurry context.Context, process *os.Process, exited <-chan struct{}) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		<-exited
		close(ended)
	}()
	w := &worker{setup: &Setup{}}
	w.setup.sockets.successor = &successor{process: process, exited: ended}
	handover := make(chan error, 1)
	handover <- nil
	return w.recall(hurry, handover)
}
