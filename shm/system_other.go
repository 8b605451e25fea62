//go:build !linux

package shm

import "os"

// Supported reports whether this system has what the package needs. A server
// answers a capability request with it.
const Supported = false

// file is what a segment holds of its file; there are none.
type file struct{}

func (*file) close() error  { return nil }
func (*file) unlink() error { return nil }

func createNamed(string, int64) (*Segment, error) { return nil, ErrUnsupported }

func attachNamed(string) (*Segment, error) { return nil, ErrUnsupported }

func munmap([]byte) error { return nil }

// RemoveStale unlinks the segments that [Create] named and whose creator is no
// more, and returns how many.
func RemoveStale() (int, error) { return 0, ErrUnsupported }

// CreateAnonymous makes a segment without a name; see the Linux version.
func CreateAnonymous(int64) (*Segment, error) { return nil, ErrUnsupported }

// AttachFile attaches an anonymous segment whose descriptor was received; see the
// Linux version. It closes f.
func AttachFile(f *os.File, _ string) (*Segment, error) {
	_ = f.Close() // it is not wanted
	return nil, ErrUnsupported
}

// File returns a new descriptor of an anonymous segment; see the Linux version.
func (s *Segment) File() (*os.File, error) { return nil, ErrUnsupported }
