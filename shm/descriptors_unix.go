//go:build unix

package shm

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// MaxFiles is how many descriptors [SendFiles] and [ReceiveFiles] pass at once.
const MaxFiles = 16

// SendFiles writes p, which must not be empty, with descriptors beside its first
// byte. The files stay the caller's. All of p goes out, or an error is returned.
func SendFiles(conn *net.UnixConn, p []byte, files ...*os.File) error {
	if len(p) == 0 || len(files) == 0 || len(files) > MaxFiles {
		return fmt.Errorf("shm: %d descriptors beside %d bytes: want 1 to %d, and a byte at least", len(files), len(p), MaxFiles)
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	n, _, err := conn.WriteMsgUnix(p, unix.UnixRights(fds...), nil)
	runtime.KeepAlive(files)
	if err == nil && n < len(p) {
		_, err = conn.Write(p[n:])
	}
	if err != nil {
		return fmt.Errorf("shm: passing a descriptor: %w", err)
	}
	return nil
}

// ReceiveFiles reads once, as Read does, and returns at most limit descriptors that
// came beside the bytes, close-on-exec, each with name. What came above the limit
// is closed. A plain Read of a connection closes all of them: only one who has
// negotiated descriptors calls this.
func ReceiveFiles(conn *net.UnixConn, p []byte, limit int, name string) (n int, files []*os.File, err error) {
	if limit < 1 || limit > MaxFiles {
		return 0, nil, fmt.Errorf("shm: limit of %d descriptors: want 1 to %d", limit, MaxFiles)
	}
	oob := make([]byte, unix.CmsgSpace(4*limit))
	n, k, _, _, err := conn.ReadMsgUnix(p, oob)
	fds := rights(oob[:max(k, 0)])
	for i, fd := range fds {
		if i >= limit || err != nil {
			_ = unix.Close(fd) // it was not asked for
			continue
		}
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	if errors.Is(err, io.EOF) {
		err = io.EOF // as Read says it
	}
	if err != nil {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
		return n, nil, err
	}
	return n, files, nil
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
