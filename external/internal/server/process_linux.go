package server

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends cmd when the test binary is killed.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
