// Package workertest starts the binary of a test once more, as a worker process, for
// the tests of workers: what they do with signals, descriptors, and their end, only a
// process of its own shows.
//
// The package under test calls [Main] in its TestMain. [Start] and [Serve] start a
// worker that lives, [Run] and [Refused] one that ends by itself. Nothing is left of
// any of them when the test is over, and none is waited for longer than [Patience].
package workertest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is how long a test waits for something that comes at once on a machine
// that is not busy, before it fails instead of hanging.
const Patience = 60 * time.Second

const (
	// variable says in its environment that a process is the worker, and which.
	variable = "VGIRPC_TEST_WORKER"
	// statusReturned is the exit status of a worker whose main function comes back.
	statusReturned = 99
	// pause is how long a test waits before it looks into the log again.
	pause = 5 * time.Millisecond
)

// takeover is what a worker says when it has handed over.
var takeover = regexp.MustCompile(`another process has taken over" pid=(\d+)`)

// Main runs the tests of a package, or in a process that was started as the worker,
// serve, with the role that [Role] gave to it, or "worker". It does not return.
func Main(m *testing.M, serve func(role string)) {
	if role := os.Getenv(variable); role != "" {
		serve(role)
		os.Exit(statusReturned)
	}
	os.Exit(m.Run())
}

// Role is a variable of the environment that makes a process the worker in a role.
func Role(role string) string { return variable + "=" + role }

// Environ is the environment of a worker: that of the test, and more, which goes
// first.
func Environ(more ...string) []string {
	// The race detector lingers at the exit unless it is told not to.
	return slices.Concat(os.Environ(), []string{Role("worker"), "GORACE=atexit_sleep_ms=0"}, more)
}

// Command is the worker with arguments, and with more of an environment.
func Command(env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), os.Args[0], args...) // Start and Run end it
	cmd.Env = Environ(env...)
	return cmd
}

// Process is a worker that was started. When it hands over to another process, that
// one is meant from then on.
type Process struct {
	Cmd    *exec.Cmd
	Stdin  io.WriteCloser // nil when the command had one
	Stdout *bufio.Reader

	out       *os.File // behind Stdout
	announced string
	log       string // file that it and its successors write to
	exited    chan struct{}
	waited    bool // by the test
	pid       int  // of the last one
	restarts  int
}

// Start starts a worker. At the end of the test it is killed, and all that have taken
// over from it. Standard error goes to a file, unless the command has one: nobody
// has to read it, and successors share it.
func Start(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := &Process{Cmd: cmd, exited: make(chan struct{})}
	if cmd.Stderr == nil {
		p.log = filepath.Join(tb.TempDir(), "stderr")
		f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			tb.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		cmd.Stderr = f
	}
	out, in, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	cmd.Stdout = in
	p.out, p.Stdout = out, bufio.NewReader(out)
	if cmd.Stdin == nil {
		p.Stdin, err = cmd.StdinPipe()
	}
	if err = errors.Join(err, cmd.Start()); err != nil {
		_ = out.Close()
		tb.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	go func() {
		_ = cmd.Wait() // the state tells
		close(p.exited)
	}()
	tb.Cleanup(func() {
		p.kill()
		if tb.Failed() {
			tb.Logf("standard error of the worker:\n%s", p.Said())
		}
	})
	return p
}

// Serve starts a worker and waits for its announcement. At the end of the test a
// signal ends it, and that must end well, unless the test has waited for its end.
func Serve(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := Start(tb, cmd)
	p.Announcement(tb)
	tb.Cleanup(func() { p.Stop(tb) })
	return p
}

// kill ends all there is without mercy.
func (p *Process) kill() {
	_ = p.Cmd.Process.Kill() // it may have ended
	<-p.exited
	// Of the handovers that a test did not ask for by Restart, only the log knows.
	if found := takeover.FindAllStringSubmatch(p.Said(), -1); found != nil {
		p.pid, _ = strconv.Atoi(found[len(found)-1][1])
	}
	if p.pid != p.Cmd.Process.Pid {
		_ = p.process().Kill()
	}
	_ = p.out.Close()
}

// process is the last one.
func (p *Process) process() *os.Process {
	if p.pid == p.Cmd.Process.Pid {
		return p.Cmd.Process
	}
	successor, _ := os.FindProcess(p.pid) // which finds all that could be there
	return successor
}

// PID is the number of the process, or of the one that has taken over.
func (p *Process) PID() int { return p.pid }

// Announcement is the line on standard output by which a worker says where it
// listens.
func (p *Process) Announcement(tb testing.TB) string {
	tb.Helper()
	if p.announced == "" {
		_ = p.out.SetReadDeadline(time.Now().Add(Patience)) // not every system has that for pipes
		line, err := p.Stdout.ReadString('\n')
		_ = p.out.SetReadDeadline(time.Time{})
		if err != nil {
			tb.Fatalf("the worker announces %q: %v", line, err)
		}
		p.announced = strings.TrimSuffix(line, "\n")
	}
	return p.announced
}

// Address is where the worker has announced that it listens: the path of a socket, or
// HOST:PORT.
func (p *Process) Address(tb testing.TB) string {
	tb.Helper()
	line := p.Announcement(tb)
	kind, address, _ := strings.Cut(line, ":")
	switch kind {
	case "UNIX", "TCP":
		return address
	case "PORT":
		if port, err := strconv.ParseUint(address, 10, 16); err == nil && port != 0 {
			return "127.0.0.1:" + address
		}
	}
	tb.Fatalf("the worker announces %q", line)
	return ""
}

// Conn is standard input and output as a connection to the worker.
func (p *Process) Conn() io.ReadWriteCloser { return pipes{p.Stdout, p.Stdin} }

type pipes struct {
	io.Reader
	io.WriteCloser
}

// Rest is what there is on standard output, to its end. It is there when the worker
// has ended, and all that have taken over from it.
func (p *Process) Rest(tb testing.TB) string {
	tb.Helper()
	_ = p.out.SetReadDeadline(time.Now().Add(Patience))
	rest, err := io.ReadAll(p.Stdout)
	if err != nil {
		tb.Fatalf("the rest of standard output: %v", err)
	}
	return string(rest)
}

// Said is what the worker has written to standard error.
func (p *Process) Said() string {
	text, _ := os.ReadFile(p.log) // there is none when it has another standard error
	return string(text)
}

// Says waits until the worker has written a text to standard error.
func (p *Process) Says(tb testing.TB, text string) {
	tb.Helper()
	p.SaysTimes(tb, regexp.QuoteMeta(text), 1)
}

// SaysTimes waits until the worker, and those that have taken over from it, have
// written a pattern to standard error n times. It returns the last time's submatches.
func (p *Process) SaysTimes(tb testing.TB, pattern string, n int) []string {
	tb.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(Patience); ; time.Sleep(pause) {
		late := time.Now().After(end) || p.over() // before the log is read
		if found := re.FindAllStringSubmatch(p.Said(), -1); len(found) >= n {
			return found[n-1]
		}
		if late {
			tb.Fatalf("the worker does not say %q %d times", pattern, n)
		}
	}
}

// over reports whether nobody is there any more who could say something.
func (p *Process) over() bool {
	select {
	case <-p.exited:
		return !takeover.MatchString(p.Said()) // one that has taken over may be there
	default:
		return false
	}
}

// Signal sends a signal to the worker.
func (p *Process) Signal(tb testing.TB, sig os.Signal) {
	tb.Helper()
	if err := p.process().Signal(sig); err != nil {
		tb.Fatal(err)
	}
}

// Exited is closed when the process has ended that was started.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Wait waits until the process has ended that was started, and returns its exit
// status: -1 when a signal has ended it.
func (p *Process) Wait(tb testing.TB) int {
	tb.Helper()
	p.waited = true
	select {
	case <-p.exited:
		return p.Cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		tb.Fatal("the worker does not end")
		return -1
	}
}

// Stop ends a worker by a signal, and fails the test when that does not end well. It
// does nothing once the test has waited for the end.
func (p *Process) Stop(tb testing.TB) {
	tb.Helper()
	if p.waited {
		return
	}
	if err := p.process().Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Error(err)
	}
	if status := p.Wait(tb); status != 0 {
		tb.Errorf("the worker ends with status %d", status)
	}
}

// Outcome is what a worker was that has ended by itself.
type Outcome struct {
	Status         int
	Stdout, Stderr string
}

// Run runs a worker that ends by itself. Unless the command has one, it has no
// standard input.
func Run(tb testing.TB, cmd *exec.Cmd) Outcome {
	tb.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	late := time.AfterFunc(Patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok || ok && !exit.Exited() {
		tb.Errorf("%q: %v\n%s", cmd.Args[1:], err, stderr.String())
	}
	return Outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// Refused runs a worker that must not start: it has to end with a status, and to say
// why on standard error alone. It returns what that is.
func Refused(tb testing.TB, status int, cmd *exec.Cmd, want string) string {
	tb.Helper()
	end := Run(tb, cmd)
	if end.Status != status || end.Stdout != "" || end.Stderr == "" || !strings.Contains(end.Stderr, want) {
		tb.Errorf("%q ends with status %d, want %d, and says %q, want %q and nothing on standard output: %q",
			cmd.Args[1:], end.Status, status, end.Stderr, want, end.Stdout)
	}
	return end.Stderr
}
