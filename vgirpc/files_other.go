//go:build !unix

package vgirpc

import (
	"errors"
	"net"
	"os"
)

// passesFiles says that Unix sockets of this system pass descriptors.
const passesFiles = false

func controlBytes(int) int { return 0 }

// receiveFiles is never called: nothing here can pass files.
func receiveFiles(conn *net.UnixConn, p, _ []byte, _ int) (n int, files []*os.File, cut bool, err error) {
	n, err = conn.Read(p)
	return n, nil, false, err
}

type duplicates []int

func duplicate([]*os.File) (duplicates, error) { return nil, errNoFiles() }

func (duplicates) close() {}

// fileWriter is never used, likewise.
type fileWriter struct {
	conn *net.UnixConn
	fds  duplicates
}

// Write implements [io.Writer].
func (*fileWriter) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }
