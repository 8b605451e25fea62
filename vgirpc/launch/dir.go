//go:build unix

package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// StateDir is the directory in which launchers of this user keep their workers:
// vgi-rpc in $XDG_RUNTIME_DIR, or vgi-rpc-UID in the directory for temporary
// files. It is made, with mode 0700, when there is none. One that is somebody
// else's, or a symbolic link, is refused with FAILED_PRECONDITION.
func StateDir() (string, error) {
	path, err := defaultDir()
	if err != nil {
		return "", err
	}
	return path, ownDir(path)
}

// defaultDir is where StateDir is.
func defaultDir() (string, error) {
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); xdg != "" {
		return filepath.Abs(filepath.Join(xdg, "vgi-rpc"))
	}
	return filepath.Abs(filepath.Join(tempDir(), "vgi-rpc-"+strconv.Itoa(os.Geteuid())))
}

// tempDir is the first directory for temporary files that this process can write
// into. The candidates are Python's, of which [os.TempDir] has the first alone.
func tempDir() string {
	for _, dir := range []string{os.Getenv("TMPDIR"), os.Getenv("TEMP"), os.Getenv("TMP"), "/tmp", "/var/tmp", "/usr/tmp"} {
		if dir == "" {
			continue
		}
		if info, err := os.Stat(dir); err == nil && info.IsDir() && unix.Access(dir, unix.W_OK|unix.X_OK) == nil {
			return dir
		}
	}
	return "."
}

// ownDir makes the default directory, or makes sure that it is this user's
// alone.
func ownDir(path string) error {
	if err := makeDir(path); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	if err := ownedDir(path, info); err != nil {
		return err
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a directory
			return fmt.Errorf("launch: %w", err)
		}
	}
	return nil
}

// givenDir makes a directory that the caller has chosen, or makes sure that
// nobody else can put anything into it. Its mode is the caller's affair.
func givenDir(path string) error {
	if err := makeDir(path); err != nil {
		return err
	}
	return checkGiven(path)
}

func checkGiven(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	if err := ownedDir(path, info); err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return vgirpc.Errorf(vgirpc.FailedPrecondition,
			"launch: others can write into the state directory %s, which has mode %04o: take that away from them", path, mode)
	}
	return nil
}

func makeDir(path string) error {
	// Lstat alone in the common case.
	if _, err := os.Lstat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil // whoever looks at it next says what is wrong
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("launch: state directory: %w", err)
	}
	return nil
}

func ownedDir(path string, info fs.FileInfo) error {
	if !info.IsDir() {
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "launch: the state directory %s is not a directory", path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) != os.Geteuid() {
		return vgirpc.Errorf(vgirpc.FailedPrecondition, "launch: the state directory %s belongs to another user", path)
	}
	return nil
}
