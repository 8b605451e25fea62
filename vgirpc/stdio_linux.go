package vgirpc

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// widenPipe gives a pipe a larger buffer. Where that is refused, or f is no
// pipe, it works as it is.
func widenPipe(f *os.File) {
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeBuffer)
}

// dup2 is dup3, which every Linux architecture has.
func dup2(from, to int) error { return unix.Dup3(from, to, 0) }

// memoryLink is what the system calls the anonymous memory of package shm.
const memoryLink = "/memfd:" + MemoryName + " (deleted)"

// inheritedMemory is the memory that this process was started with as descriptor
// fd, nil without. Nothing that the process opened itself is open to its
// children, which is how to tell; memory of others is left alone.
func inheritedMemory(fd int) *os.File {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return nil
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil || got&seals != seals {
		return nil
	}
	if link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err != nil || link != memoryLink {
		return nil
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), MemoryName)
}
