//go:build unix

package socket

import (
	"os"
	"syscall"
)

// openNow opens a file for reading, and does not wait for a writer of a FIFO.
func openNow(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
}
