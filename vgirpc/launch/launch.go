//go:build unix

package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// A Launcher finds or starts one worker. It is safe for concurrent use, and
// several of them, in this process and others, do not disturb each other.
type Launcher struct {
	opts    Options
	key     string // "" for a worker on a socket of its own
	dir     string // the state directory; "" for a worker on a socket of its own
	ensure  func(dir string) error
	socket  string
	lock    string
	workDir string
	ending  time.Duration  // endingTime, but for tests
	owned   sync.WaitGroup // what follows the workers that were started
}

// New returns a launcher. It makes the state directory when there is none, and
// starts nothing.
func New(opts Options) (*Launcher, error) {
	o, err := opts.valid()
	if err != nil {
		return nil, err
	}
	l := &Launcher{opts: o, socket: o.Socket, lock: o.Socket + ".lock", ending: endingTime}
	if l.workDir, err = workingDir(o.Dir); err != nil {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "launch: Options.Dir: %w", err)
	}
	if o.Socket == "" {
		env := o.Env
		if env == nil {
			env = os.Environ()
		}
		l.key = keyOf(o.Command, l.workDir, env)
		if l.dir, l.ensure = o.StateDir, givenDir; l.dir == "" {
			l.ensure = ownDir
			if l.dir, err = defaultDir(); err != nil {
				return nil, fmt.Errorf("launch: %w", err)
			}
		}
		l.socket, l.lock = socketOf(l.dir, l.key), lockOf(l.dir, l.key)
	}
	if err := checkSocketPath(l.socket); err != nil {
		return nil, err
	}
	return l, l.prepare()
}

// The files of a worker.
func socketOf(dir, key string) string { return filepath.Join(dir, key+".sock") }
func lockOf(dir, key string) string   { return filepath.Join(dir, key+".lock") }
func metaOf(dir, key string) string   { return filepath.Join(dir, key+metaSuffix) }

const metaSuffix = ".meta"

// Key is the worker's key; "" for one on a socket of its own.
func (l *Launcher) Key() string { return l.key }

// Socket is the path of the worker's socket.
func (l *Launcher) Socket() string { return l.socket }

// Launch makes sure that the worker runs, and returns the path of its socket.
// The worker may end between that and a later connection: [Launcher.Dial] takes
// care of it.
func (l *Launcher) Launch(ctx context.Context) (socket string, err error) {
	found, err := l.obtain(ctx)
	if err != nil {
		return "", err
	}
	_ = found.conn.Close() // nothing was sent on it
	return l.socket, nil
}

// Connect returns a client on a connection to the worker.
func (l *Launcher) Connect(ctx context.Context, opts vgirpc.ClientOptions) (*vgirpc.Client, error) {
	c, err := l.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return vgirpc.NewClient(c, opts), nil
}

// How much of workers that end Dial bears: a process that is being killed takes
// connections until it is gone, and one that ends whenever somebody comes is not
// started for ever.
const (
	endingTime = 2 * time.Second // for each worker
	maxStarts  = 2
)

// Dial returns a connection to the worker, which has answered on it. It starts
// the worker when there is none, or waits while somebody else does. ctx bounds
// all of that. [Options.StartTimeout] bounds both waits for a worker that is
// started here: until it listens, and from then until it answers.
//
// Errors are [*vgirpc.Error] values, or the end of ctx. Those of code UNAVAILABLE
// have the type "WorkerNotStarted", "WorkerDied", "WorkerSilent" or
// "LauncherBusy"; "ProtocolError" is something else than a worker.
func (l *Launcher) Dial(ctx context.Context) (net.Conn, error) {
	var ending time.Time // since when the worker ends
	starts := 0
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		found, err := l.obtain(ctx)
		if err != nil {
			return nil, err
		}
		c := found.conn
		if found.another {
			ending = time.Time{}
		}
		var patience time.Duration
		if found.started {
			starts++
			patience = l.opts.StartTimeout
		}
		inTime, err := greet(ctx, c, patience)
		if inTime && err == nil {
			return c, nil
		}
		_ = c.Close()
		now := time.Now()
		if ending.IsZero() {
			ending = now
		}
		switch {
		case !inTime:
			return nil, vgirpc.ContextError(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, &vgirpc.Error{
				Code: vgirpc.Unavailable, Type: "WorkerSilent", Cause: err,
				Message: fmt.Sprintf("the worker %s listens on %s and has not answered within %v (StartTimeout); it goes on running",
					l.opts.Command[0], l.socket, l.opts.StartTimeout),
			}
		case !ended(err):
			return nil, &vgirpc.Error{
				Code: vgirpc.FailedPrecondition, Type: "ProtocolError", Cause: err,
				Message: fmt.Sprintf("what listens on %s does not speak vgi-rpc: %v", l.socket, err),
			}
		case starts >= maxStarts || now.Sub(ending) > l.ending:
			return nil, &vgirpc.Error{
				Code: vgirpc.Unavailable, Type: "WorkerDied", Cause: err,
				Message: fmt.Sprintf("the worker %s closes every connection to %s without an answer", l.opts.Command[0], l.socket),
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// greet waits for a worker's first answer, for as long as patience says where it
// is not 0. It reports whether ctx lasted.
func greet(ctx context.Context, c net.Conn, patience time.Duration) (inTime bool, err error) {
	if patience > 0 {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return true, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = vgirpc.Greet(c, wire.Limits{})
	inTime = stop()
	if inTime && err == nil && patience > 0 {
		err = c.SetDeadline(time.Time{})
	}
	return inTime, err
}

// Wait waits until every worker that this launcher has started has ended. Until
// then this process reads what they should not write to standard output, and
// reaps them.
func (l *Launcher) Wait() { l.owned.Wait() }

// prepare makes the state directory, or looks whether it can be trusted.
func (l *Launcher) prepare() error {
	if l.ensure == nil {
		return nil
	}
	return l.ensure(l.dir)
}

// Pauses between two looks at a lock that somebody else holds, or at a socket
// that takes no more connections for now.
const (
	firstPause   = time.Millisecond
	longestPause = 50 * time.Millisecond
)

// found is a connection that its worker may be about to close.
type found struct {
	conn    net.Conn
	started bool // the worker was started for it
	another bool // the worker began to listen after it was looked for
}

// obtain returns a connection to the worker, and starts it where there is none.
func (l *Launcher) obtain(ctx context.Context) (f found, err error) {
	if ctx.Err() != nil {
		return found{}, vgirpc.ContextError(ctx)
	}
	if err := l.prepare(); err != nil {
		return found{}, err
	}
	var tooLong <-chan time.Time
	if l.opts.LockTimeout > 0 {
		timer := time.NewTimer(l.opts.LockTimeout)
		defer timer.Stop()
		tooLong = timer.C
	}
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if f.conn, err = attach(ctx, l.socket); !errors.Is(err, errAbsent) {
			return f, err
		}
		f.another = true
		lock, err := tryLock(l.lock)
		if err != nil {
			return found{}, err
		}
		if lock != nil {
			return l.startLocked(ctx, lock)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return found{}, vgirpc.ContextError(ctx)
		case <-tooLong:
			return found{}, &vgirpc.Error{
				Code: vgirpc.Unavailable, Type: "LauncherBusy",
				Message: fmt.Sprintf("somebody else has held the lock %s for %v (LockTimeout), and no worker listens on %s", l.lock, l.opts.LockTimeout, l.socket),
			}
		}
	}
}

// startLocked starts the worker, unless somebody has done so while the lock was
// waited for. It unlocks.
func (l *Launcher) startLocked(ctx context.Context, lock *os.File) (f found, err error) {
	f.another = true
	f.conn, err = attach(ctx, l.socket)
	if f.started = errors.Is(err, errAbsent); f.started {
		f.conn, err = l.start(ctx)
	}
	_ = lock.Close()
	if f.started && l.key != "" {
		_, _ = collect(ctx, l.dir, collectLimit, l.key) // a service to others: the next one tries again
	}
	return f, err
}

// start starts the worker and connects to it. The lock is held.
func (l *Launcher) start(ctx context.Context) (net.Conn, error) {
	if err := removeSocket(l.socket); err != nil {
		return nil, err
	}
	if l.key != "" {
		if err := l.writeMeta(); err != nil {
			return nil, err
		}
	}
	c, err := l.spawn(ctx)
	if err != nil {
		_ = removeSocket(l.socket) // err says more
		if l.key != "" {
			_ = os.Remove(metaOf(l.dir, l.key))
		}
		return nil, err
	}
	return c, nil
}

// What keeps a connection from a socket, for now.
var (
	errAbsent = errors.New("launch: nobody listens on the socket")
	errBusy   = errors.New("launch: the worker takes no more connections for now")
)

// refusedPauses come before a refusal is believed. Linux tells a socket without
// a listener from one whose queue is full; other systems refuse both.
func refusedPauses() []time.Duration {
	if runtime.GOOS == "linux" {
		return nil
	}
	return []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}
}

// attach connects to a worker's socket. The error is errAbsent when there is no
// worker. One that takes no more connections for now is waited for.
func attach(ctx context.Context, socket string) (net.Conn, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		c, err := try(ctx, socket)
		if !errors.Is(err, errBusy) {
			return c, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// alive reports whether somebody listens on a socket.
func alive(ctx context.Context, socket string) (bool, error) {
	c, err := try(ctx, socket)
	switch {
	case err == nil:
		_ = c.Close() // nothing was sent on it
		return true, nil
	case errors.Is(err, errBusy):
		return true, nil
	case errors.Is(err, errAbsent):
		return false, nil
	}
	return false, err
}

// try connects to a worker's socket. The error is errAbsent when there is no
// worker, errBusy when it takes no more connections for now.
func try(ctx context.Context, socket string) (net.Conn, error) {
	if present, err := isSocket(socket); err != nil {
		return nil, err
	} else if !present {
		return nil, errAbsent
	}
	for refused := refusedPauses(); ; refused = refused[1:] {
		c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			return nil, vgirpc.ContextError(ctx)
		case errors.Is(err, syscall.EAGAIN):
			return nil, errBusy
		case errors.Is(err, fs.ErrNotExist):
			return nil, errAbsent
		case !errors.Is(err, syscall.ECONNREFUSED):
			return nil, fmt.Errorf("launch: %w", err)
		case len(refused) == 0:
			return nil, errAbsent
		}
		if err := sleep(ctx, refused[0]); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return vgirpc.ContextError(ctx)
	}
}

// isSocket reports whether there is a socket at path. Anything else there is an
// error: it is not ours.
func isSocket(path string) (bool, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("launch: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return false, vgirpc.Errorf(vgirpc.FailedPrecondition, "launch: %s exists and is not a socket: it is left alone", path)
	}
	return true, nil
}

// removeSocket removes a socket on which nobody listens.
func removeSocket(path string) error {
	if present, err := isSocket(path); err != nil || !present {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("launch: stale socket: %w", err)
	}
	return nil
}

// ended reports whether err is that of a connection whose other end has gone.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, wire.ErrTruncated) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
