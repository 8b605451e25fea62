//go:build !linux

package gateways_test

import (
	"os"
	"os/exec"
	"time"
)

func dieWithParent(*exec.Cmd) {}

// stop ends cmd, which ends its children itself when it is asked to.
func stop(cmd *exec.Cmd, exited <-chan error) {
	_ = cmd.Process.Signal(os.Interrupt)
	select {
	case <-exited:
	case <-time.After(5 * time.Second):
		_ = cmd.Process.Kill()
		<-exited
	}
}
