//go:build unix

package launch

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tryLock locks the file at path, which it makes when there is none, and returns
// it; nil when somebody else holds the lock, in this process or another. Closing
// the file unlocks it. The file stays, because removing it would part those who
// wait for it from those who come; whoever removes it all the same holds the
// lock.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("launch: lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EACCES) {
			return nil, nil //nolint:nilnil // as documented
		}
		return nil, fmt.Errorf("launch: lock %s: %w", path, err)
	}
	mine, err1 := f.Stat()
	now, err2 := os.Lstat(path)
	if err1 != nil || err2 != nil || !os.SameFile(mine, now) {
		_ = f.Close()   // the last holder has removed it: the lock is that of nothing
		return nil, nil //nolint:nilnil,nilerr // so that the caller tries again
	}
	return f, nil
}
