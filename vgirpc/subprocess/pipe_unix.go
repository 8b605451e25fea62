//go:build unix

package subprocess

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// rest reads what is in a pipe, without waiting and whatever its deadline is.
func rest(f *os.File, b []byte) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var readErr error
	err = raw.Control(func(fd uintptr) {
		for {
			if n, readErr = unix.Read(int(fd), b); !errors.Is(readErr, unix.EINTR) {
				return
			}
		}
	})
	if err = errors.Join(err, readErr); err != nil || n == 0 {
		return 0, io.EOF // EAGAIN: nothing is left
	}
	return n, nil
}
