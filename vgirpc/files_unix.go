//go:build unix

package vgirpc

import (
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// passesFiles says that Unix sockets of this system pass descriptors.
const passesFiles = true

// controlBytes is the room for so many descriptors beside the bytes of a read.
func controlBytes(files int) int { return unix.CmsgSpace(4 * files) }

// receiveFiles reads once, as Read does, and returns the files, at most most, that came
// beside the bytes, close-on-exec; oob is the room for them. cut says that there
// were more, which are closed. A plain Read closes all of them.
func receiveFiles(conn *net.UnixConn, p, oob []byte, most int) (n int, files []*os.File, cut bool, err error) {
	n, k, flags, _, err := conn.ReadMsgUnix(p, oob)
	cut = flags&unix.MSG_CTRUNC != 0
	if k > 0 {
		for _, fd := range rights(oob[:k]) {
			if len(files) == most || err != nil {
				_ = unix.Close(fd) // it was not asked for
				cut = true
				continue
			}
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	if errors.Is(err, io.EOF) {
		err = io.EOF // as Read says it
	}
	return n, files, cut, err
}

// rights lists the descriptors in control messages.
func rights(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

// duplicates are descriptors of a caller's files, to be sent. To take a
// descriptor out of an os.File itself would make that blocking.
type duplicates []int

// duplicate makes them. A file that has none, because it is closed, is the
// caller's mistake.
func duplicate(files []*os.File) (fds duplicates, err error) {
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err == nil {
			var fd int
			var dupErr error
			err = raw.Control(func(from uintptr) { fd, dupErr = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
			if err == nil && dupErr == nil {
				fds = append(fds, fd)
				continue
			}
			err = errors.Join(err, dupErr)
		}
		fds.close()
		return nil, filesErrorf(InvalidArgument, "the file %q of a call cannot be passed: %v", f.Name(), err)
	}
	return fds, nil
}

func (fds duplicates) close() {
	for _, fd := range fds {
		_ = unix.Close(fd) // the files have descriptors of their own
	}
}

// fileWriter writes to a connection, and passes descriptors beside the first byte.
type fileWriter struct {
	conn *net.UnixConn
	fds  duplicates // until they are sent
}

// firstPart is how much of a request goes out with its files, in bytes.
const firstPart = 64 << 10

// Write implements [io.Writer].
func (w *fileWriter) Write(p []byte) (n int, err error) {
	if w.fds != nil && len(p) > 0 {
		n, _, err = w.conn.WriteMsgUnix(p[:min(len(p), firstPart)], unix.UnixRights(w.fds...), nil)
		if w.fds = nil; err != nil {
			return n, err
		}
	}
	k, err := w.conn.Write(p[n:])
	return n + k, err
}
