package gateways_test

import (
	"os/exec"
	"syscall"
	"time"
)

// dieWithParent ends cmd when the test binary is killed, and puts it into a
// process group of its own.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// stop ends cmd and its children, which nginx ends itself when it is asked to.
func stop(cmd *exec.Cmd, exited <-chan error) {
	_ = syscall.Kill(cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(2 * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
	}
}
