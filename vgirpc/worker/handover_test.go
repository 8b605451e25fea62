package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// load calls a worker in several ways, until it is stopped.
type load struct {
	stop  chan struct{}
	all   sync.WaitGroup
	calls atomic.Int64

	mu     sync.Mutex
	errs   []error
	served map[int64]bool // processes that have answered over one connection
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

// repeat runs call until the load is stopped.
func (l *load) repeat(call func() error) {
	l.all.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			if err := call(); err != nil {
				l.fail(err)
				return
			}
			l.calls.Add(1)
		}
	})
}

// connected calls again and again over one connection.
func (l *load) connected(t *testing.T, announcement string) {
	c := dial(t, announcement)
	l.repeat(func() error {
		pid, err := who.Call(context.Background(), c, vgirpc.None{})
		l.mu.Lock()
		l.served[pid] = true
		l.mu.Unlock()
		return err
	})
}

// stranger connects for each call.
func (l *load) stranger(announcement string) {
	l.repeat(func() error {
		c, err := connect(context.Background(), announcement)
		if err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		defer func() { _ = c.Close() }()
		_, err = who.Call(context.Background(), c, vgirpc.None{})
		return err
	})
}

// reader reads the beginning of streams over one connection.
func (l *load) reader(t *testing.T, announcement string) {
	c := dial(t, announcement)
	l.repeat(func() error {
		stream, err := count.Open(context.Background(), c, vgirpc.None{})
		if err != nil {
			return err
		}
		for rows, err := range stream.All() {
			if err != nil {
				return err
			}
			if rows[0].N == 20 {
				break
			}
		}
		return nil
	})
}

func TestARestartLosesNoCallAndNoConnection(t *testing.T) {
	for mode, flags := range listeningModes(t) {
		t.Run(mode, func(t *testing.T) {
			const restarts = 5
			g := start(t, flags...)
			line := g.Announcement(t)
			idle := dial(t, line) // says nothing until all is over
			mustEcho(t, idle)
			l := &load{stop: make(chan struct{}), served: map[int64]bool{}}
			for range 3 {
				l.connected(t, line)
				l.stranger(line)
				l.reader(t, line)
			}
			for range restarts {
				enough := l.calls.Load() + 200
				for end := time.Now().Add(workertest.Patience); l.calls.Load() < enough && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
				g.Restart(t)
			}
			g.SaysTimes(t, `msg=drained finished`, restarts)
			mustEcho(t, idle)
			close(l.stop)
			l.all.Wait()
			for _, err := range l.errs {
				t.Errorf("a call was lost: %v", err)
			}
			if len(l.served) < 3 {
				t.Errorf("the connections saw %d processes", len(l.served))
			}
			if g.Wait(t) != 0 {
				t.Error("the first process failed")
			}
			if said := g.Said(); strings.Count(said, "cut=") != strings.Count(said, "cut=0 ") || strings.Contains(said, "level=ERROR") || strings.Contains(said, "level=WARN") {
				t.Error("not all went well")
			}
			t.Logf("%d calls", l.calls.Load())
			if mode == "unix" {
				info, err := os.Stat(flags[1])
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("the socket is %v, %v", info, err)
				}
				g.Signal(t, syscall.SIGTERM)
				g.SaysTimes(t, `msg=drained finished`, restarts+1)
				awaitGone(t, flags[1]) // the last process leaves nothing behind
			}
		})
	}
}

// untilPassedOn calls over a connection that is idle until the process answers that has
// taken over. The one before it answers for as long as it has not passed the
// connection on.
func untilPassedOn(t *testing.T, c *vgirpc.Client, p *workertest.Process) {
	t.Helper()
	for end := time.Now().Add(workertest.Patience); ; {
		pid, err := who.Call(t.Context(), c, vgirpc.None{})
		if err != nil {
			t.Fatal(err)
		}
		if int(pid) == p.PID() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d answers, want %d", pid, p.PID())
		}
	}
}

func TestACallInProgressFinishesInTheOldProcess(t *testing.T) {
	g := start(t, "--tcp", "0", "--probe-drain", "10m")
	c, idle := dial(t, g.Announcement(t)), dial(t, g.Announcement(t))
	mustEcho(t, idle)
	old := g.PID()
	duringACall(t, c, func() {
		g.Restart(t)
		untilPassedOn(t, idle, g)
	})
	pid, err := who.Call(t.Context(), c, vgirpc.None{}) // over the same connection
	if err != nil || int(pid) != g.PID() || g.PID() == old {
		t.Errorf("process %d answers, %v: want %d, not %d", pid, err, g.PID(), old)
	}
	// A call over idle may be one of them.
	g.SaysTimes(t, `msg=drained finished=[12] cut=0 `, 1)
}

func TestWhoeverHasHandedOverStillDrainsAtTheFirstSignal(t *testing.T) {
	g := start(t, "--tcp", "0", "--probe-drain", "10m")
	c, idle := dial(t, g.Announcement(t)), dial(t, g.Announcement(t))
	mustEcho(t, idle)
	duringACall(t, c, func() {
		g.Restart(t)
		untilPassedOn(t, idle, g)
		if err := g.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		g.SaysTimes(t, "stopping: calls in progress may finish", 1)
	})
	if status := g.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	// A call over idle may be one of them.
	g.SaysTimes(t, `msg=drained finished=[12] cut=0 `, 1)
	mustEcho(t, idle) // which the new process has
}

func TestStandardInputAndOutputAreNotHandedOver(t *testing.T) {
	p := start(t)
	c := client(t, p)
	mustEcho(t, c)
	p.Signal(t, syscall.SIGUSR2)
	p.Says(t, "standard input and output belong to one client")
	mustEcho(t, c)
}

func TestASuccessorThatFailsChangesNothing(t *testing.T) {
	file := write(t, "worker.yaml", "log-level: info\n")
	g := start(t, "--tcp", "0", "--config", file)
	c := dial(t, g.Announcement(t))
	if err := os.WriteFile(file, []byte("log-level: loud\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Signal(t, syscall.SIGUSR2)
	g.SaysTimes(t, "nothing was handed over", 1)
	if pid, err := who.Call(t.Context(), c, vgirpc.None{}); err != nil || int(pid) != g.PID() {
		t.Errorf("process %d answers, %v", pid, err)
	}
	if err := os.WriteFile(file, []byte("log-level: info\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Restart(t)
	untilPassedOn(t, c, g)
}

func TestTheNewProcessIsWhatIsUnderTheNameByThen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "worker")
	if err := os.Symlink(os.Args[0], name); err != nil {
		t.Fatal(err)
	}
	cmd := workertest.Command(nil, "--tcp", "0")
	cmd.Path, cmd.Args[0] = name, name
	g := workertest.Start(t, cmd)
	c := dial(t, g.Announcement(t))

	next := write(t, "next", "#!/bin/sh\necho the next version >&2\nexec '"+os.Args[0]+"' \"$@\"\n")
	if err := os.Chmod(next, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
	g.Restart(t)
	untilPassedOn(t, c, g)
	g.Says(t, "the next version")
}

// awaitGone waits until a file is not there any more.
func awaitGone(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(workertest.Patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%s is still there: %v", path, err)
		}
	}
}
