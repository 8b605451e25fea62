//go:build unix && !linux

package subprocess

import (
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// widen has nothing to do here: pipes grow by themselves.
func widen(*os.File) {}

// group is a process group. Its number is that of its first process.
type group struct {
	mu  sync.Mutex
	pid int // 0 before the start and when nobody is left
}

// start starts cmd in a group of its own.
func (g *group) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pid = cmd.Process.Pid
	return nil
}

// wait reaps the first process and kills the rest of the group. The system
// could give the number away between the two only if no rest were left.
func (g *group) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = unix.Kill(-g.pid, unix.SIGKILL)
	g.pid = 0
	return err
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
