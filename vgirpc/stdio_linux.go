package vgirpc

import (
	"os"

	"golang.org/x/sys/unix"
)

// widenPipe gives a pipe a larger buffer. Where that is refused, or f is no
// pipe, it works as it is.
func widenPipe(f *os.File) {
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeBuffer)
}

// dup2 is dup3, which every Linux architecture has.
func dup2(from, to int) error { return unix.Dup3(from, to, 0) }
