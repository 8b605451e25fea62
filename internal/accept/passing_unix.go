//go:build unix

package accept

import (
	"errors"
	"syscall"
)

// Passes reports an error of accept that is over some time later: a connection
// that went away, or a shortage.
func Passes(err error) bool {
	for _, e := range []error{
		syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
