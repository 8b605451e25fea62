package subprocess

import (
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// widen gives a pipe a buffer of maxPipe bytes. Where that is refused it works as it is.
func widen(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, maxPipe) })
	}
}

// group is a process group. Its number is that of its first process, which the
// system does not give away until that process is reaped: signals are sent only
// before.
type group struct {
	mu  sync.Mutex
	pid int // 0 before the start and when nobody is left
}

// start starts cmd in a group of its own. The calling thread must live as long
// as the process.
func (g *group) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pid = cmd.Process.Pid
	return nil
}

// wait waits for the first process to end, kills the rest of the group, and
// reaps.
func (g *group) wait(cmd *exec.Cmd) error {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = unix.Kill(-g.pid, unix.SIGKILL)
	g.pid = 0
	return cmd.Wait()
}

// terminate asks everybody in the group to end.
func (g *group) terminate() { g.signal(unix.SIGTERM) }

// kill ends everybody in the group.
func (g *group) kill() { g.signal(unix.SIGKILL) }

func (g *group) signal(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pid != 0 {
		_ = unix.Kill(-g.pid, s) // it may have ended just now
	}
}
