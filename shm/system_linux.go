package shm

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Supported reports whether this system has what the package needs. A server
// answers a capability request with it.
const Supported = true

const (
	// directory is where the system keeps shared memory by its name.
	directory = "/dev/shm"
	// prefix of the names that Create chooses, which nobody else does: others do
	// not hold the lock that RemoveStale looks for.
	prefix = "vgirpcgo_"
)

// file is what a segment holds of its file beside the mapping: the creator of a
// named one holds it open and locked, so that [RemoveStale] can tell who is dead,
// and anonymous memory is its descriptor.
type file struct {
	f    *os.File
	path string // of a named segment that this process created and did not unlink
}

func (f *file) close() error {
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}

// unlink removes the name, unless it is another file's by now.
func (f *file) unlink() error {
	if f.path == "" {
		return nil
	}
	path := f.path
	f.path = ""
	mine, err := f.f.Stat()
	if err != nil {
		return fmt.Errorf("shm: %w", err)
	}
	there, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !os.SameFile(mine, there)) {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("shm: %w", err)
	}
	return nil
}

func createNamed(name string, size int64) (*Segment, error) {
	if name == "" {
		var random [8]byte
		_, _ = rand.Read(random[:]) // it never fails
		name = prefix + hex.EncodeToString(random[:])
	}
	path := filepath.Join(directory, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("shm: create: %w", err)
	}
	s := &Segment{name: name, size: size, file: file{f, path}}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		s.discard()
		return nil, fmt.Errorf("shm: lock of %s: %w", path, err)
	}
	if err := f.Truncate(size); err != nil {
		s.discard()
		return nil, fmt.Errorf("shm: create: %w", err)
	}
	if err := s.mmap(f); err != nil {
		s.discard()
		return nil, err
	}
	return s, nil
}

func attachNamed(name string) (*Segment, error) {
	path := filepath.Join(directory, name)
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("shm: attach: %w", err)
	}
	defer f.Close() //nolint:errcheck // the mapping is what counts
	s := &Segment{name: name}
	return s, s.mmap(f)
}

// mmap maps the whole of f, whose size the kernel says.
func (s *Segment) mmap(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("shm: segment %q: %w", s.name, err)
	}
	if !info.Mode().IsRegular() {
		return s.named(segmentErrorf("is no shared memory, but %v", info.Mode().Type()))
	}
	s.size = info.Size()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		s.uid = stat.Uid
	}
	if err := checkSize(s.size); err != nil {
		return s.named(err)
	}
	s.mem, err = unix.Mmap(int(f.Fd()), 0, int(s.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("shm: segment %q: map: %w", s.name, err)
	}
	return nil
}

func munmap(mem []byte) error { return unix.Munmap(mem) }

// RemoveStale unlinks the segments that [Create] named and whose creator is no
// more, and returns how many. Segments of other users, of other implementations
// and with names of their caller's choice are left alone. A program that starts
// may call it once.
func RemoveStale() (int, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return 0, fmt.Errorf("shm: %w", err)
	}
	removed := 0
	var failed error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.Type().IsRegular() {
			continue
		}
		gone, err := removeStale(filepath.Join(directory, e.Name()))
		if gone {
			removed++
		}
		failed = errors.Join(failed, err)
	}
	return removed, failed
}

// removeStale unlinks the segment at path when nobody holds its lock. A creator
// takes the lock before it writes the header, so that one who is not that far is
// safe.
func removeStale(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, nil // it is gone, or not ours
	}
	defer f.Close() //nolint:errcheck // it was only looked at
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false, nil
	}
	var head [len(magic)]byte
	if n, _ := f.ReadAt(head[:], 0); n < len(head) || string(head[:]) != magic {
		return false, nil
	}
	mine, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("shm: %w", err)
	}
	if there, err := os.Lstat(path); err != nil || !os.SameFile(mine, there) {
		return false, nil // somebody was first
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("shm: %w", err)
	}
	return true, nil
}
