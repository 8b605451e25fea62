//go:build !unix

package shm

import (
	"net"
	"os"
)

// MaxFiles is how many descriptors [SendFiles] and [ReceiveFiles] pass at once.
const MaxFiles = 16

// SendFiles writes p with descriptors beside its first byte; see the Unix
// version.
func SendFiles(*net.UnixConn, []byte, ...*os.File) error { return ErrUnsupported }

// ReceiveFiles reads once and returns the descriptors that came beside the bytes;
// see the Unix version.
func ReceiveFiles(*net.UnixConn, []byte, int, string) (int, []*os.File, error) {
	return 0, nil, ErrUnsupported
}
