//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package observability

import (
	"errors"
	"os"
	"syscall"
)

// lockDirectory keeps other processes that ask for the same from renaming files
// in a directory. It does not wait: not ok means that one of them does so now.
// In a directory that cannot be read it is ok and locks nothing.
func lockDirectory(path string) (unlock func(), ok bool) {
	dir, err := os.Open(path)
	if err != nil {
		return func() {}, true
	}
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		_ = dir.Close()
		return nil, false
	}
	return func() { _ = dir.Close() }, true
}

// hasName reports whether an open file is still in some directory.
func hasName(file *os.File) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || stat.Nlink > 0
}
