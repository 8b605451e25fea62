package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// generations is a worker that is restarted by handovers.
type generations struct {
	*process
	log string // of all of them
	pid int    // of the last one
}

// startGenerations starts a worker whose successors write to the same log. The
// last one is killed at the end of the test.
func startGenerations(t *testing.T, args ...string) *generations {
	t.Helper()
	g := &generations{log: filepath.Join(t.TempDir(), "log")}
	log, err := os.OpenFile(g.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	g.process = startWithStderr(t, command(args...), log)
	g.pid = g.Process.Pid
	t.Cleanup(func() {
		_ = syscall.Kill(g.pid, syscall.SIGKILL)
		if t.Failed() {
			t.Logf("log of the workers:\n%s", g.said(t))
		}
	})
	return g
}

func (g *generations) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(g.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// await waits until the log has something n times.
func (g *generations) await(t *testing.T, pattern string, n int) [][]string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if found := re.FindAllStringSubmatch(g.said(t), -1); len(found) >= n {
			return found
		}
	}
	t.Fatalf("the log does not say %q %d times", pattern, n)
	return nil
}

// restart hands over to another process, for the nth time.
func (g *generations) restart(t *testing.T, n int) {
	t.Helper()
	if err := syscall.Kill(g.pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	found := g.await(t, `another process has taken over" pid=(\d+)`, n)
	pid, err := strconv.Atoi(found[n-1][1])
	if err != nil {
		t.Fatal(err)
	}
	g.pid = pid
}

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
	kind, address, _ := strings.Cut(announcement, ":")
	l.repeat(func() error {
		connect := vgirpc.DialUnix
		if kind == "TCP" {
			connect = vgirpc.DialTCP
		}
		c, err := connect(context.Background(), address, vgirpc.ClientOptions{})
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
			g := startGenerations(t, flags...)
			line := g.announcement(t)
			idle := dial(t, line) // says nothing until all is over
			mustEcho(t, idle)
			l := &load{stop: make(chan struct{}), served: map[int64]bool{}}
			for range 3 {
				l.connected(t, line)
				l.stranger(line)
				l.reader(t, line)
			}
			for n := 1; n <= restarts; n++ {
				enough := l.calls.Load() + 200
				for end := time.Now().Add(30 * time.Second); l.calls.Load() < enough && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
				g.restart(t, n)
			}
			g.await(t, `msg=drained finished`, restarts)
			mustEcho(t, idle)
			close(l.stop)
			l.all.Wait()
			for _, err := range l.errs {
				t.Errorf("a call was lost: %v", err)
			}
			if len(l.served) < 3 {
				t.Errorf("the connections saw %d processes", len(l.served))
			}
			if g.wait(t) != 0 {
				t.Error("the first process failed")
			}
			if said := g.said(t); strings.Contains(said, "cut=1") || strings.Contains(said, "level=ERROR") || strings.Contains(said, "level=WARN") {
				t.Error("not all went well")
			}
			t.Logf("%d calls", l.calls.Load())
			if mode == "unix" {
				info, err := os.Stat(flags[1])
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("the socket is %v, %v", info, err)
				}
				if err := syscall.Kill(g.pid, syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				g.await(t, `msg=drained finished`, restarts+1)
				for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
					if _, err = os.Stat(flags[1]); errors.Is(err, fs.ErrNotExist) {
						break
					}
				}
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the last process leaves the socket behind: %v", err)
				}
			}
		})
	}
}

func TestACallInProgressFinishesInTheOldProcess(t *testing.T) {
	g := startGenerations(t, "--tcp", "0")
	line := g.announcement(t)
	answer := make(chan error, 1)
	c := dial(t, line)
	go func() {
		_, err := nap.Call(context.Background(), c, napParams{Seconds: 0.5})
		answer <- err
	}()
	g.await(t, "napping", 1)
	old := g.pid
	g.restart(t, 1)
	if err := <-answer; err != nil {
		t.Error(err)
	}
	pid, err := who.Call(t.Context(), c, vgirpc.None{}) // over the same connection
	if err != nil || int(pid) != g.pid || g.pid == old {
		t.Errorf("process %d answers, %v: want %d, not %d", pid, err, g.pid, old)
	}
	g.await(t, `msg=drained finished=1 cut=0`, 1)
}

func TestStandardInputAndOutputAreNotHandedOver(t *testing.T) {
	p := start(t, command())
	c := p.client(t)
	mustEcho(t, c)
	p.kill(t, syscall.SIGUSR2)
	p.says(t, "standard input and output belong to one client")
	mustEcho(t, c)
}

func TestASuccessorThatFailsChangesNothing(t *testing.T) {
	file := write(t, "worker.yaml", "log-level: info\n")
	g := startGenerations(t, "--tcp", "0", "--config", file)
	c := dial(t, g.announcement(t))
	if err := os.WriteFile(file, []byte("log-level: loud\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.kill(t, syscall.SIGUSR2)
	g.await(t, "nothing was handed over", 1)
	if pid, err := who.Call(t.Context(), c, vgirpc.None{}); err != nil || int(pid) != g.pid {
		t.Errorf("process %d answers, %v", pid, err)
	}
	if err := os.WriteFile(file, []byte("log-level: info\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.restart(t, 1)
	if pid, err := who.Call(t.Context(), c, vgirpc.None{}); err != nil || int(pid) != g.pid {
		t.Errorf("process %d answers, %v: want %d", pid, err, g.pid)
	}
}

func TestTheNewProcessIsWhatIsUnderTheNameByThen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "worker")
	if err := os.Symlink(os.Args[0], name); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	cmd := command("--tcp", "0")
	cmd.Path, cmd.Args[0] = name, name
	g := &generations{process: startWithStderr(t, cmd, f), log: log}
	g.pid = g.Process.Pid
	t.Cleanup(func() { _ = syscall.Kill(g.pid, syscall.SIGKILL) })
	c := dial(t, g.announcement(t))

	next := write(t, "next", "#!/bin/sh\necho the next version >&2\nexec '"+os.Args[0]+"' \"$@\"\n")
	if err := os.Chmod(next, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
	g.restart(t, 1)
	if pid, err := who.Call(t.Context(), c, vgirpc.None{}); err != nil || int(pid) != g.pid || !strings.Contains(g.said(t), "the next version") {
		t.Errorf("process %d answers, %v; the log says\n%s", pid, err, g.said(t))
	}
}
