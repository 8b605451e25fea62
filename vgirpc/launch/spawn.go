//go:build unix

package launch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

const (
	exitWait    = time.Second     // for a worker that has closed its output to end
	killGrace   = 5 * time.Second // for a worker that was asked to end
	stderrTail  = 4 << 10         // how much of standard error goes into an error, in bytes
	longestLine = 64 << 10        // of standard output before the worker is ready, in bytes
)

// readyPrefix begins the line with which a worker says where it listens.
const readyPrefix = "UNIX:"

// spawn starts the worker's process, waits until it listens, and connects to it.
// A process that does not listen is gone when spawn returns.
func (l *Launcher) spawn(ctx context.Context) (net.Conn, error) {
	stderr, err := l.openStderr()
	if err != nil {
		return nil, err
	}
	defer stderr.close()
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	cmd := l.command(in, stderr.file)
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return nil, notStarted(l.opts.Command[0], err)
	}
	ready, silent := make(chan error, 1), make(chan struct{})
	l.owned.Go(func() {
		defer close(silent)
		defer func() { _ = out.Close() }()
		r := bufio.NewReaderSize(out, 4<<10)
		ready <- l.announced(r)
		_, _ = io.Copy(io.Discard, r) // a full pipe would stop the worker
	})
	c, err := l.await(ctx, ready)
	switch {
	case err == nil:
		l.owned.Go(func() { _ = cmd.Wait() }) // how it ends is of no interest to anybody
		return c, nil
	case errors.Is(err, errEnded):
		return nil, died(l.opts.Command[0], finish(cmd), stderr.tail())
	}
	end(cmd, out, silent)
	if errors.Is(err, errSilent) {
		err = &vgirpc.Error{
			Code: vgirpc.Unavailable, Type: "WorkerSilent",
			Message: fmt.Sprintf("the worker %s has not said within %v (StartTimeout) that it listens, and was ended", l.opts.Command[0], l.opts.StartTimeout) + stderr.tail(),
		}
	}
	return nil, err
}

// await waits for the worker's word that it listens, and connects to it.
func (l *Launcher) await(ctx context.Context, ready <-chan error) (net.Conn, error) {
	var tooLong <-chan time.Time
	if l.opts.StartTimeout > 0 {
		timer := time.NewTimer(l.opts.StartTimeout)
		defer timer.Stop()
		tooLong = timer.C
	}
	select {
	case err := <-ready:
		if err != nil {
			return nil, err
		}
	case <-tooLong:
		return nil, errSilent
	case <-ctx.Done():
		return nil, vgirpc.ContextError(ctx)
	}
	c, err := attach(ctx, l.socket)
	if errors.Is(err, errAbsent) {
		return nil, &vgirpc.Error{
			Code: vgirpc.Unavailable, Type: "WorkerDied", Cause: err,
			Message: fmt.Sprintf("the worker %s said that it listens on %s, and does not", l.opts.Command[0], l.socket),
		}
	}
	return c, err
}

// Why a worker is not ready.
var (
	errSilent = errors.New("launch: the worker is silent")
	errEnded  = errors.New("launch: the worker has closed its standard output")
)

// command is the worker's command line.
func (l *Launcher) command(out, stderr *os.File) *exec.Cmd {
	idle := strconv.FormatFloat(l.opts.IdleTimeout.Seconds(), 'f', -1, 64)
	args := slices.Concat(l.opts.Command[1:], []string{"--unix", l.socket, "--idle-timeout", idle})
	cmd := exec.Command(l.opts.Command[0], args...) //nolint:noctx // the caller's command, which outlives the call
	cmd.Dir, cmd.Env = l.workDir, l.opts.Env
	cmd.Stdout = out
	if stderr != nil {
		cmd.Stderr = stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// announced reads to the line that says where the worker listens. Lines before
// it are libraries' noise.
func (l *Launcher) announced(r *bufio.Reader) error {
	for {
		line, err := readLine(r)
		if err != nil {
			return errEnded
		}
		path, ok := strings.CutPrefix(line, readyPrefix)
		switch {
		case !ok:
		case path == l.socket:
			return nil
		default:
			return &vgirpc.Error{
				Code: vgirpc.FailedPrecondition, Type: "ProtocolError",
				Message: fmt.Sprintf("the worker %s listens on %q: want %q", l.opts.Command[0], path, l.socket),
			}
		}
	}
}

// readLine reads a line without its end; of one that is too long, the beginning.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part[:min(len(part), longestLine-len(line))]...)
		if err == nil {
			return strings.TrimRight(string(line), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
}

// finish waits for a process that has closed its output, not for long, and
// reaps it.
func finish(cmd *exec.Cmd) *os.ProcessState {
	timer := time.AfterFunc(exitWait, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // the state says it
	return cmd.ProcessState
}

// end ends a process and its group, gently first. The process is reaped last, so
// that the group's number is nobody else's.
func end(cmd *exec.Cmd, out *os.File, silent <-chan struct{}) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // they may have ended
	select {
	case <-silent: // nobody holds the output any more
	case <-time.After(killGrace):
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = out.SetReadDeadline(time.Unix(1, 0)) // for somebody who has left the group
	<-silent
	_ = cmd.Wait() // killed
}

// died is the error of a worker that has ended before it listened.
func died(program string, state *os.ProcessState, stderr string) error {
	how := "exit status unknown"
	if state != nil {
		how = state.String()
	}
	return &vgirpc.Error{
		Code: vgirpc.Unavailable, Type: "WorkerDied",
		Message: fmt.Sprintf("the worker %s ended before it listened: %s", program, how) + stderr,
	}
}

// notStarted is the error when there is no process. Only a shortage passes by
// itself.
func notStarted(program string, err error) error {
	e := &vgirpc.Error{
		Code: vgirpc.Unavailable, Type: "WorkerNotStarted", Cause: err,
		Message: fmt.Sprintf("the worker %s could not be started: %v", program, err),
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, exec.ErrNotFound) {
		e.Code = vgirpc.FailedPrecondition
	}
	return e
}

// stderrFile is where a worker's standard error goes.
type stderrFile struct {
	file *os.File // nil to discard it
	from int64    // where the worker's part begins
}

func (l *Launcher) openStderr() (stderrFile, error) {
	if l.opts.Stderr == "" {
		return stderrFile{}, nil
	}
	f, err := os.OpenFile(l.opts.Stderr, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return stderrFile{}, fmt.Errorf("launch: Options.Stderr: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return stderrFile{}, fmt.Errorf("launch: Options.Stderr: %w", err)
	}
	return stderrFile{f, info.Size()}, nil
}

// tail is the part of an error's message that quotes standard error.
func (s stderrFile) tail() string {
	if s.file == nil {
		return "; Options.Stderr keeps what it writes to standard error"
	}
	info, err := s.file.Stat()
	if err != nil || info.Size() <= s.from {
		return ""
	}
	from := max(s.from, info.Size()-stderrTail)
	text, _ := io.ReadAll(io.NewSectionReader(s.file, from, info.Size()-from)) // as much as there is
	if from > s.from {
		_, text, _ = bytes.Cut(text, []byte("\n")) // whole lines
	}
	return "; its standard error ends with:\n" + strings.TrimRight(string(text), "\n")
}

func (s stderrFile) close() {
	if s.file != nil {
		_ = s.file.Close() // the worker has its own
	}
}
