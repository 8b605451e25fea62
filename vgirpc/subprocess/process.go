package subprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Process is a running worker as a connection: it reads the worker's standard
// output and writes its standard input. One goroutine may read while another
// writes; Close may be called at any time, and ends both.
type Process struct {
	opts   *Options
	in     *os.File // this side's ends
	out    reader
	group  group
	stderr stderr
	pid    int

	closing sync.Once
	stop    chan struct{} // closed when closing begins
	owned   sync.WaitGroup

	// Closed when the process has ended, is reaped, and its group is killed.
	// What follows is set before.
	exited   chan struct{}
	exit     *ExitError
	exitedAt time.Time
	died     *vgirpc.Error
}

// Start starts a worker process. It does not wait for the worker to say
// anything. ctx bounds the start alone; the process runs until it ends by itself
// or is closed, and must be closed in either case.
func Start(ctx context.Context, opts Options) (*Process, error) {
	o, err := opts.valid()
	if err != nil {
		return nil, err
	}
	return start(ctx, o)
}

func start(ctx context.Context, o *Options) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, vgirpc.ContextError(ctx)
	}
	p := &Process{opts: o, stop: make(chan struct{}), exited: make(chan struct{})}
	p.stderr = stderr{log: o.Logger, to: o.Stderr, keep: o.StderrTail}
	//nolint:noctx // the process outlives ctx, and its end has an order
	cmd := exec.Command(o.Command[0], o.Command[1:]...)
	cmd.Env, cmd.Dir, cmd.ExtraFiles = o.Env, o.Dir, o.Files
	ends, err := p.connect(cmd)
	if err != nil {
		return nil, notStarted(o.Command[0], err)
	}
	started := make(chan error)
	p.owned.Go(func() { p.run(cmd, ends, started) })
	if err := <-started; err != nil {
		return nil, notStarted(o.Command[0], err)
	}
	return p, nil
}

// pipes are the ends that go to the child, and this side's end of its standard
// error.
type pipes struct {
	child  []*os.File
	stderr *os.File
}

// connect makes the pipes.
func (p *Process) connect(cmd *exec.Cmd) (pipes, error) {
	var all []*os.File
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			all = append(all, r, w)
		}
		return r, w, err
	}
	stdin, in, err1 := pipe()
	out, stdout, err2 := pipe()
	errOut, errIn, err3 := pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		closeAll(all)
		return pipes{}, err
	}
	widen(in)
	widen(out)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, errIn
	p.in, p.out.File = in, out
	return pipes{child: []*os.File{stdin, stdout, errIn}, stderr: errOut}, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written that could be lost
	}
}

// run starts the process and waits for it, on a thread that it keeps to itself:
// the parent-death signal comes when the thread that started the process ends.
// The thread costs nothing, because waiting for a process takes one anyway.
func (p *Process) run(cmd *exec.Cmd, ends pipes, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.group.start(cmd)
	closeAll(ends.child)
	if err != nil {
		closeAll([]*os.File{p.in, p.out.File, ends.stderr})
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		p.stderr.copy(&reader{File: ends.stderr}, p.pid)
	}()
	started <- nil

	_ = p.group.wait(cmd) // the state says it
	// What the process wrote is in the pipes. Somebody who left its group may
	// still hold them open: nobody waits for that.
	cut(ends.stderr)
	<-copied
	closeAll([]*os.File{ends.stderr})
	p.exit = &ExitError{State: cmd.ProcessState, Stderr: p.stderr.text()}
	p.died = died(p.exit)
	p.exitedAt = time.Now()
	close(p.exited)
	cut(p.in)
	cut(p.out.File)
}

// PID is the process's number, which is its group's as well. After the process
// has ended the system may give it to another.
func (p *Process) PID() int { return p.pid }

// Exited is closed when the process has ended and is reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err is nil while the process runs. Then it is an [*vgirpc.Error] of code
// UNAVAILABLE and type "WorkerDied", whose cause is an [*ExitError], whatever the
// exit status was.
func (p *Process) Err() error {
	select {
	case <-p.exited:
		return p.died
	default:
		return nil
	}
}

// Read reads the worker's standard output. When the worker has died and all that
// it wrote is read, the error is that of [Process.Err]; after Close it wraps
// [os.ErrClosed].
func (p *Process) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if err != nil {
		err = p.lost()
	}
	return n, err
}

// Write writes to the worker's standard input. Its errors are those of Read.
func (p *Process) Write(b []byte) (int, error) {
	n, err := p.in.Write(b)
	if err != nil {
		err = p.lost()
	}
	return n, err
}

// lost is why a pipe is of no more use.
func (p *Process) lost() error {
	if p.closed() {
		return errClosed
	}
	// The pipe breaks an instant before the exit status is there.
	timer := time.NewTimer(p.opts.exitWait)
	defer timer.Stop()
	select {
	case <-p.exited:
		return p.died
	case <-p.stop:
		return errClosed
	case <-timer.C:
		return deaf()
	}
}

// Close ends the process as the package comment says, and waits for that. It
// returns nil when the exit status was 0, else the error of [Process.Err].
// Closing again returns the same.
func (p *Process) Close() error {
	p.shutdown(p.opts.CloseGrace)
	p.owned.Wait()
	if p.exit.success() {
		return nil
	}
	return p.died
}

// closed reports whether this side has begun to close the process.
func (p *Process) closed() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// kill ends the process at once, and waits for that.
func (p *Process) kill() {
	p.interrupt()
	p.owned.Wait()
}

// interrupt ends the process at once.
func (p *Process) interrupt() {
	p.shutdown(-1)
	p.group.kill()
}

// shutdown begins to end the process. Reads and writes fail from now on.
func (p *Process) shutdown(grace time.Duration) {
	p.closing.Do(func() {
		close(p.stop)
		closeAll([]*os.File{p.in, p.out.File})
		p.owned.Go(func() { p.end(grace) })
	})
}

// end ends a process whose pipes are closed, gently first.
func (p *Process) end(grace time.Duration) {
	for _, signal := range []func(){p.group.terminate, p.group.kill} {
		select {
		case <-p.exited:
			return
		case <-time.After(grace):
			signal()
		}
	}
}

// maxPipe is the most that a pipe holds, in bytes.
const maxPipe = 1 << 20

// reader reads one of the worker's outputs. After the [cut] it reads what is in
// the pipe, and then io.EOF, whoever holds the other end.
type reader struct {
	*os.File
	rest int // bytes read after the cut
}

// Read reads what is there, or waits for it.
func (r *reader) Read(b []byte) (int, error) {
	n, err := r.File.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err //nolint:wrapcheck // io.EOF is io.EOF
	}
	if r.rest >= maxPipe {
		return 0, io.EOF // somebody goes on writing
	}
	n, err = rest(r.File, b)
	r.rest += n
	return n, err
}

// cut makes everything that waits for a pipe return.
func cut(f *os.File) {
	// Refused on a closed file, where nobody waits, and on Windows, where the
	// job's end has closed the other end.
	_ = f.SetDeadline(time.Unix(1, 0))
}

var _ io.ReadWriteCloser = (*Process)(nil)

// String is for logs: the program and the process's number.
func (p *Process) String() string { return fmt.Sprintf("%s[%d]", p.opts.Command[0], p.pid) }
