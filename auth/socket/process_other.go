//go:build !linux

package socket

import (
	"errors"
	"net"
	"os"
)

const knowsPrograms = false

// program is what a peer runs.
type program struct {
	pid  int
	file *os.File
	path string
}

func (*program) close()           {}
func (*program) stillRuns() error { return nil }

// openPeer is not available here: NewSignedProcess has said so.
func openPeer(*net.UnixConn) (*program, error) {
	return nil, errors.New("this system does not say which program is at the other end of a socket")
}
