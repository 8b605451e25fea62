//go:build unix

package subprocess

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

var killed = failure{Code: vgirpc.Unavailable, Type: "WorkerDied", Exit: "signal: killed"}

// once returns the variable that makes a worker misbehave one time.
func once(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "once")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	return envOnce + "=" + path
}

func TestACallThatMayHaveBeenReceivedIsNotSentAgain(t *testing.T) {
	returnsEverything(t)
	const greeting = "__transport_options__"
	called := filepath.Join(t.TempDir(), "called")
	opts := workerIn("cut", "2", once(t), envCalled+"="+called)
	opts.Restart = Restart{Attempts: 1, HealthyAfter: time.Hour}
	tr, c := begin(t, opts)
	contract := vgitest.NewContract()
	first := tr.current()
	_, err := contract.Echo.Call(t.Context(), c, vgitest.TextParams{Text: "once"})
	fails(t, err, killed)
	adds(t, c)
	if second := tr.current(); second.PID() == first.PID() {
		t.Error("the process is the same")
	}
	text, err := os.ReadFile(called)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{greeting, "echo", greeting, "add"}, strings.Fields(string(text))); diff != "" {
		t.Errorf("calls that arrived (-want +got):\n%s", diff)
	}
}

func TestAWorkerThatDiedBetweenCallsIsReplaced(t *testing.T) {
	returnsEverything(t)
	opts := workerIn("serve", "")
	opts.Restart = Restart{Attempts: 1, HealthyAfter: time.Nanosecond} // healthy each time
	tr, c := begin(t, opts)
	for range 4 {
		adds(t, c)
		murder(t, tr.current())
	}
	adds(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestAWorkerThatKeepsDyingIsGivenUp(t *testing.T) {
	returnsEverything(t)
	opts := workerIn("serve", "")
	opts.Restart = Restart{Attempts: 2, MinDelay: time.Millisecond, HealthyAfter: time.Hour}
	tr, c := begin(t, opts)
	for range 3 {
		adds(t, c)
		murder(t, tr.current())
	}
	for range 2 {
		_, err := vgitest.NewContract().Add.Call(t.Context(), c, vgitest.AddParams{})
		fails(t, err, failure{
			Code: vgirpc.Unavailable, Type: "WorkerGivenUp", Says: "after 2 restarts in a row", Exit: "signal: killed",
		})
	}
}

func TestARestartThatFailsCounts(t *testing.T) {
	returnsEverything(t)
	program := filepath.Join(t.TempDir(), "worker")
	if err := os.Symlink(os.Args[0], program); err != nil {
		t.Fatal(err)
	}
	opts := workerIn("serve", "")
	opts.Command = []string{program}
	opts.Restart = Restart{Attempts: 2, MinDelay: time.Millisecond}
	tr, c := begin(t, opts)
	adds(t, c)
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	murder(t, tr.current())
	call := func() error {
		_, err := vgitest.NewContract().Add.Call(t.Context(), c, vgitest.AddParams{})
		return err
	}
	missing := failure{Code: vgirpc.FailedPrecondition, Type: "WorkerNotStarted", Says: program}
	fails(t, call(), missing)
	fails(t, call(), missing)
	fails(t, call(), failure{Code: vgirpc.Unavailable, Type: "WorkerGivenUp", Says: program})
}

func TestAnAbandonedCallCostsAWorkerButNoAttempt(t *testing.T) {
	returnsEverything(t)
	for _, tt := range []struct {
		name string
		call func(ctx context.Context, c *vgirpc.Client) error
	}{
		{"a unary call", func(ctx context.Context, c *vgirpc.Client) error {
			_, err := vgitest.NewContract().Add.Call(ctx, c, vgitest.AddParams{})
			return err
		}},
		{"a header", func(ctx context.Context, c *vgirpc.Client) error {
			_, _, err := vgitest.NewContract().Headed.OpenHeader(ctx, c, vgitest.CountParams{N: 1})
			return err
		}},
		{"a turn", func(ctx context.Context, c *vgirpc.Client) error {
			s, err := vgitest.NewContract().Count.Open(ctx, c, vgitest.CountParams{N: 1})
			if err != nil {
				return err
			}
			for _, err = range s.All() {
				continue
			}
			return errors.Join(err, s.Close())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			returnsEverything(t)
			said := newWords()
			opts := workerIn("stall", "2", once(t))
			opts.Stderr, opts.CloseGrace = said, time.Millisecond
			opts.Restart = Restart{Attempts: 1, MinDelay: time.Hour, HealthyAfter: time.Hour}
			tr, c := begin(t, opts)
			first := tr.current()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- tt.call(ctx, c) }()
			said.line(t, "stalled")
			cancel()
			if err := <-done; vgirpc.CodeOf(err) != vgirpc.Cancelled {
				t.Errorf("got %v", err)
			}
			adds(t, c) // an attempt that counted would wait for an hour
			<-first.Exited()
		})
	}
}

func TestACallThatWaitedGoesToTheNextWorker(t *testing.T) {
	returnsEverything(t)
	opts := workerIn("serve", "")
	opts.Restart = Restart{Attempts: -1, MinDelay: time.Millisecond}
	tr, c := begin(t, opts)
	s, err := vgitest.NewContract().Count.Open(t.Context(), c, vgitest.CountParams{N: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	for _, err = range s.All() {
		if err == nil && tr.current().Err() == nil {
			for range 3 {
				waiting.Go(func() { adds(t, c) })
			}
			murder(t, tr.current())
		}
	}
	fails(t, err, killed)
	if err := s.Close(); err != nil {
		t.Errorf("closing a stream that failed: %v", err)
	}
	waiting.Wait()
}

func TestACallThatPanicsCostsAWorkerButNotTheTurn(t *testing.T) {
	returnsEverything(t)
	opts := workerIn("serve", "")
	opts.Restart = Restart{Attempts: 1, MinDelay: time.Hour, HealthyAfter: time.Hour}
	tr, c := begin(t, opts)
	loud := vgirpc.NewClientOn(tr, vgirpc.ClientOptions{OnLog: func(context.Context, vgirpc.LogMessage) { panic("a log") }})
	func() {
		defer func() {
			if diff := cmp.Diff(any("a log"), recover()); diff != "" {
				t.Errorf("panic (-want +got):\n%s", diff)
			}
		}()
		_, err := vgitest.NewContract().Echo.Call(t.Context(), loud, vgitest.TextParams{Text: "x"})
		t.Errorf("got %v", err)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sum, err := vgitest.NewContract().Add.Call(ctx, c, vgitest.AddParams{A: 1, B: 2}) // an attempt that counted would wait for an hour
	if sum != 3 || err != nil {
		t.Errorf("1 + 2 is %v, %v", sum, err)
	}
}

func TestCallsInAStormSucceedOrAreTold(t *testing.T) {
	returnsEverything(t)
	opts := workerIn("serve", "")
	opts.Restart = Restart{Attempts: 1, HealthyAfter: time.Nanosecond}
	tr, c := begin(t, opts)
	contract := vgitest.NewContract()
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Go(func() {
			for i := range 40 {
				if caller == 0 && i%4 == 0 {
					tr.mu.Lock()
					if tr.worker != nil {
						tr.worker.process.group.kill() // it may be dead already
					}
					tr.mu.Unlock()
				}
				got, err := contract.Echo.Call(t.Context(), c, vgitest.TextParams{Text: "storm"})
				if e, ok := errors.AsType[*vgirpc.Error](err); err != nil && (!ok || e.Type != "WorkerDied") {
					t.Errorf("a call failed with %v", err)
				}
				if err == nil && got != "storm" {
					t.Errorf("a call got %q", got)
				}
			}
		})
	}
	callers.Wait()
	adds(t, c)
}

func TestAStartGoesOnWithoutTheCallThatAskedForIt(t *testing.T) {
	returnsEverything(t)
	opts := workerIn("serve", "")
	opts.Restart = Restart{Attempts: 1, MinDelay: time.Millisecond}
	tr, c := begin(t, opts)
	murder(t, tr.current())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var err error
	for err == nil { // the turn may be chosen before the context's end is seen
		_, err = vgitest.NewContract().Add.Call(ctx, c, vgitest.AddParams{})
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	adds(t, c)
}

func TestAWorkerWhoseStartNobodyWaitedForIsReplaced(t *testing.T) {
	returnsEverything(t)
	opts := workerIn("serve", "")
	opts.Restart = Restart{Attempts: 2, MinDelay: time.Millisecond, HealthyAfter: time.Hour}
	tr, c := begin(t, opts)
	murder(t, tr.current())
	abandonStart(t, tr, c)
	eventually(t, "the start is over", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.worker != nil
	})
	murder(t, tr.current()) // before a call has seen it
	adds(t, c)
	murder(t, tr.current())
	_, err := vgitest.NewContract().Add.Call(t.Context(), c, vgitest.AddParams{})
	fails(t, err, failure{
		Code: vgirpc.Unavailable, Type: "WorkerGivenUp", Says: "after 2 restarts in a row", Exit: "signal: killed",
	})
}

// abandonStart makes a call that begins a start and does not wait for it.
func abandonStart(t *testing.T, tr *transport, c *vgirpc.Client) {
	t.Helper()
	for starting := false; !starting; { // the context's end may be seen before the turn is chosen
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := vgitest.NewContract().Add.Call(ctx, c, vgitest.AddParams{})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		tr.mu.Lock()
		starting = tr.stopStart != nil
		tr.mu.Unlock()
	}
}

func TestCloseEndsTheWaitForARestart(t *testing.T) {
	returnsEverything(t)
	opts := workerIn("serve", "")
	opts.Restart = Restart{Attempts: 1, MinDelay: time.Hour, MaxDelay: time.Hour, HealthyAfter: time.Hour}
	tr, c := begin(t, opts)
	murder(t, tr.current())
	done := make(chan error)
	go func() {
		_, err := vgitest.NewContract().Add.Call(t.Context(), c, vgitest.AddParams{})
		done <- err
	}()
	eventually(t, "the restart is under way", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.stopStart != nil
	})
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("the call ended with %v", err)
	}
}

func TestCloseEndsAStart(t *testing.T) {
	returnsEverything(t)
	said := newWords()
	opts := workerIn("serve", "")
	opts.Stderr = said
	opts.Restart = Restart{Attempts: 1, MinDelay: time.Millisecond}
	tr, c := begin(t, opts)
	murder(t, tr.current())
	tr.opts.Env = append(tr.opts.Env, envMode+"=deaf") // from now on
	done := make(chan error)
	go func() {
		_, err := vgitest.NewContract().Add.Call(t.Context(), c, vgitest.AddParams{})
		done <- err
	}()
	said.line(t, "listening")
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("the call ended with %v", err)
	}
}

func TestDelaysDoubleUpToTheirMaximum(t *testing.T) {
	r := Restart{MinDelay: 100, MaxDelay: 1000}
	for _, tt := range []struct {
		name      string
		failures  int
		low, high time.Duration
	}{
		{"none after a healthy worker", 0, 0, 0},
		{"the first", 1, 50, 100},
		{"the second", 2, 100, 200},
		{"the fourth", 4, 400, 800},
		{"the fifth is cut", 5, 500, 1000},
		{"and all that follow", 1 << 30, 500, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen := map[time.Duration]bool{}
			for range 200 {
				d := r.delay(tt.failures)
				if d < tt.low || d > tt.high {
					t.Fatalf("delay %d is not between %d and %d", d, tt.low, tt.high)
				}
				seen[d] = true
			}
			if tt.failures > 0 && len(seen) < 10 {
				t.Errorf("only %d different delays", len(seen))
			}
		})
	}
}
