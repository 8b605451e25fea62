package shm

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// anonymous begins the names of segments that have none in the file system. They
// only tell one from another: both sides hold the descriptor already.
const anonymous = "memfd:"

// wantSeals is what makes zero copy possible: the memory cannot shrink, and
// nobody can take that back.
const wantSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL

// CreateAnonymous makes a segment of size bytes, header included, that has no
// name in the file system and cannot shrink. It ends with the last descriptor
// and mapping: nothing is left behind, whoever dies. The other side attaches to
// the descriptor of [Segment.File].
func CreateAnonymous(size int64) (*Segment, error) {
	if err := checkSize(size); err != nil {
		return nil, err
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails
	name := anonymous + hex.EncodeToString(random[:])
	fd, err := unix.MemfdCreate(vgirpc.MemoryName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("shm: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	s := &Segment{name: name, sealed: true, file: file{f: f}}
	if err := f.Truncate(size); err != nil {
		s.discard()
		return nil, fmt.Errorf("shm: anonymous segment: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, wantSeals|unix.F_SEAL_GROW); err != nil {
		s.discard()
		return nil, fmt.Errorf("shm: seals of the anonymous segment: %w", err)
	}
	if err := s.mmap(f); err != nil {
		s.discard()
		return nil, err
	}
	return s.initialize()
}

// File returns a new descriptor of an anonymous segment, close-on-exec, to be
// passed beside a request or to a process that is about to be started. The caller
// closes it.
func (s *Segment) File() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.sealed || s.file.f == nil:
		return nil, s.named(segmentErrorf("has no descriptor to pass"))
	case s.closed:
		return nil, ErrClosed
	}
	fd, err := unix.FcntlInt(s.file.f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("shm: segment %q: %w", s.name, err)
	}
	return os.NewFile(uintptr(fd), s.name), nil
}

// AttachFile attaches the anonymous segment whose descriptor was received, under
// the name that its creator gave it. It takes f over, also on an error. A file
// that can shrink, or can be unsealed, is a *SegmentError: its memory may go away
// while a batch lies in it.
func AttachFile(f *os.File, name string) (*Segment, error) {
	s, err := attachFile(f, name)
	if err != nil {
		_ = f.Close() // err says why
		return nil, err
	}
	return s.verified()
}

func attachFile(f *os.File, name string) (*Segment, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil, segmentErrorf("the descriptor passed for %q is no sealed memory", name)
	}
	if err != nil {
		return nil, fmt.Errorf("shm: seals of %q: %w", name, err)
	}
	if seals&wantSeals != wantSeals {
		return nil, segmentErrorf("the memory passed for %q can shrink: its seals are %#x, want %#x", name, seals, wantSeals)
	}
	s := &Segment{name: name, sealed: true, file: file{f: f}}
	return s, s.mmap(f)
}
