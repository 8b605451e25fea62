//go:build unix

package vgirpc

import (
	"errors"
	"syscall"
)

// retryAccept reports an accept error that passes: a connection that went away,
// or a shortage.
func retryAccept(err error) bool {
	for _, e := range []error{
		syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
