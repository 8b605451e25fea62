//go:build linux

package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// says writes what a successor's OnServeStart does.
func says(t *testing.T, text string) {
	t.Helper()
	// In one piece: the worker may look at any time.
	next := write(t, "door", text)
	if err := os.Rename(next, os.Getenv(doorFile)); err != nil {
		t.Fatal(err)
	}
}

// doors makes the OnServeStart of the workers to come do as says says.
func doors(t *testing.T) {
	t.Helper()
	t.Setenv(doorFile, filepath.Join(t.TempDir(), "door"))
}

// connects reports whether somebody listens on a Unix socket.
func connects(t *testing.T, path string) error {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	if err == nil {
		_ = c.Close()
	}
	return err
}

func TestWhoIsToldToStopDuringAHandoverLeavesNobodyBehind(t *testing.T) {
	for _, tt := range []struct {
		name   string
		times  int
		status map[int]bool
	}{
		{"told once", 1, map[int]bool{0: true}},
		{"told twice", 2, map[int]bool{0: true, 128 + int(syscall.SIGTERM): true}}, // it may have ended in between
	} {
		t.Run(tt.name, func(t *testing.T) {
			doors(t)
			t.Setenv("GOMAXPROCS", "1") // so that the end of the handover is rather late
			g := start(t, "--tcp", "0")
			g.Announcement(t)
			says(t, "hold")
			g.Signal(t, syscall.SIGUSR2)
			next, err := strconv.Atoi(g.SaysTimes(t, `held as process (\d+)`, 1)[1])
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Kill(next, syscall.SIGKILL) }()
			for range tt.times {
				_ = g.Cmd.Process.Signal(syscall.SIGTERM) // which fails when it has ended
			}
			if status := g.Wait(t); !tt.status[status] {
				t.Errorf("exit status %d", status)
			}
			if err := syscall.Kill(next, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the successor is still there: %v", err)
			}
		})
	}
}

func TestASuccessorThatServesAlreadyIsToldToStopToo(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hurry  bool
		status int
	}{
		{"and drains", false, 0},
		{"or is ended when there is no time for that", true, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, "--tcp", "0")
			c := dial(t, p.Announcement(t))
			if tt.hurry {
				go func() { _, _ = nap.Call(context.Background(), c, napParams{Seconds: 60, Deaf: true}) }()
				p.Says(t, "napping")
			}
			hurry, rush := context.WithCancel(t.Context())
			defer rush()
			gone := worker.RecallForTest(hurry, p.Cmd.Process, p.Exited())
			p.Says(t, "stopping")
			if tt.hurry {
				rush()
			}
			<-gone
			if status := p.Wait(t); status != tt.status {
				t.Errorf("exit status %d", status)
			}
		})
	}
}

// predecessor plays the process that was there before: it passes no listener on.
// The worker gets theirs as descriptor 3.
func predecessor(t *testing.T) (ours *net.UnixConn, theirs *os.File) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(pair[0]), "ours")
	defer func() { _ = f.Close() }()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	theirs = os.NewFile(uintptr(pair[1]), "theirs")
	t.Cleanup(func() { _, _ = c.Close(), theirs.Close() })
	return c.(*net.UnixConn), theirs
}

func TestASuccessorDoesNotServeWithoutItsPredecessor(t *testing.T) {
	const ended = "the process that was to be succeeded has ended"
	t.Run("when that has ended before it began", func(t *testing.T) {
		dead := workertest.Command(nil, "--version")
		workertest.Run(t, dead)
		predecessor := fmt.Sprintf("VGIRPC_HANDOVER=%d", dead.Process.Pid)
		workertest.Refused(t, 1, workertest.Command([]string{predecessor}, "--tcp", "0"), ended)
	})

	t.Run("when somebody else is its parent by now", func(t *testing.T) {
		_, theirs := predecessor(t)
		cmd := workertest.Command([]string{"VGIRPC_HANDOVER=1"}, "--tcp", "0") // which lives, as a number that is another's may
		cmd.ExtraFiles = []*os.File{theirs}
		workertest.Refused(t, 1, cmd, ended)
	})

	t.Run("when that has ended before it serves", func(t *testing.T) {
		ours, theirs := predecessor(t)
		if _, err := ours.Write([]byte(`{"begin":true}`)); err != nil {
			t.Fatal(err)
		}
		if err := ours.Close(); err != nil {
			t.Fatal(err)
		}
		cmd := workertest.Command([]string{fmt.Sprintf("VGIRPC_HANDOVER=%d", os.Getpid())}, "--tcp", "0")
		cmd.ExtraFiles = []*os.File{theirs}
		workertest.Refused(t, 1, cmd, ended)
	})
}

func TestTheSocketsOfAWorkerArePredecessorsUntilItServes(t *testing.T) {
	doors(t)
	dir := t.TempDir()
	main, beside := filepath.Join(dir, "main"), filepath.Join(dir, "beside")
	file := write(t, "worker.yaml", "probe-socket: "+beside+"\n")
	g := start(t, "--unix", main, "--config", file)
	line := g.Announcement(t)

	says(t, "refuse")
	g.Signal(t, syscall.SIGUSR2)
	g.SaysTimes(t, "nothing was handed over", 1)
	for _, path := range []string{main, beside} {
		if err := connects(t, path); err != nil {
			t.Errorf("after a successor that failed: %v", err)
		}
	}

	says(t, "")
	g.Restart(t)
	for _, path := range []string{main, beside} {
		if err := connects(t, path); err != nil {
			t.Errorf("after a successor that serves: %v", err)
		}
	}

	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g.Restart(t)
	awaitGone(t, beside) // the successor has no use for it
	mustEcho(t, dial(t, line))
}

func TestAConnectionIsPassedOnThroughAProcessThatWasSucceededItself(t *testing.T) {
	for mode, flags := range listeningModes(t) {
		t.Run(mode, func(t *testing.T) {
			g := start(t, append(flags, "--probe-drain", "10m")...)
			c, idle := dial(t, g.Announcement(t)), dial(t, g.Announcement(t))
			mustEcho(t, idle)
			duringACall(t, c, func() {
				g.Restart(t)
				untilPassedOn(t, idle, g)
				g.Restart(t)
				// The first process still has the call; the second has closed its listener.
				g.SaysTimes(t, "msg=drained finished", 1)
			})
			if pid, err := who.Call(t.Context(), c, vgirpc.None{}); err != nil || int(pid) != g.PID() {
				t.Errorf("process %d answers, %v: want %d", pid, err, g.PID())
			}
			g.SaysTimes(t, "msg=drained finished", 2)
		})
	}
}

// checking is a listener that looks at who connects.
type checking struct{ *net.UnixListener }

func TestWhatIsAroundAListenerIsNotSilentlyLost(t *testing.T) {
	setup, err := worker.Configure(t, newServer(t, vgirpc.ServerOptions{}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	open := func(wrap func(*net.UnixListener) net.Listener) error {
		l, err := setup.ListenOr(t.Context(), "unix", path, func(ctx context.Context) (net.Listener, error) {
			l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
			if err != nil {
				return nil, err
			}
			return wrap(l.(*net.UnixListener)), nil
		})
		if err == nil {
			_ = l.Close()
		}
		return err
	}
	err = open(func(l *net.UnixListener) net.Listener { return checking{l} })
	if err == nil || !strings.Contains(err.Error(), "ConnOptions.Admit") {
		t.Errorf("a wrapped listener: %v", err)
	}
	if err := open(func(l *net.UnixListener) net.Listener { return l }); err != nil { // the other is closed
		t.Errorf("one of package net: %v", err)
	}
}

func TestAListenerOfAServiceManagerFitsTheAddressThatIsWanted(t *testing.T) {
	type at struct {
		IP   string
		Want string
	}
	got := map[at]bool{}
	want := map[at]bool{
		{"127.0.0.1", "127.0.0.1:80"}: true,
		{"127.0.0.1", "127.0.0.1:0"}:  true,
		{"127.0.0.1", "localhost:0"}:  true,
		{"127.0.0.1", "127.0.0.1:81"}: false,
		{"127.0.0.1", ":0"}:           false,
		{"127.0.0.1", "0.0.0.0:0"}:    false,
		{"0.0.0.0", "127.0.0.1:0"}:    false,
		{"0.0.0.0", "127.0.0.1:80"}:   false,
		{"0.0.0.0", "localhost:0"}:    false,
		{"0.0.0.0", ":0"}:             true,
		{"::", "0.0.0.0:80"}:          true,
		{"192.0.2.1", "192.0.2.2:0"}:  false,
	}
	for tt := range want {
		got[tt] = worker.SameAddress(&net.TCPAddr{IP: net.ParseIP(tt.IP), Port: 80}, tt.Want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
