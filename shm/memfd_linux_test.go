package shm

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func TestAnAnonymousSegmentCannotShrink(t *testing.T) {
	s := anonymousSegment(t, 1<<20)
	f, err := s.File()
	noError(t, err)
	for name, size := range map[string]int64{"shrink": 100_000, "grow": 2 << 20} {
		if err := f.Truncate(size); !errors.Is(err, unix.EPERM) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); !errors.Is(err, unix.EPERM) {
		t.Fatalf("another seal: %v", err)
	}
	other, err := AttachFile(f, s.Name())
	noError(t, err)
	defer other.Close()
	equal(t, []any{other.Sealed(), other.Size(), other.Name()}, []any{true, int64(1 << 20), s.Name()})
	offset, err := other.Allocate(7)
	noError(t, err)
	regions, err := s.Regions()
	noError(t, err)
	equal(t, regions, []Region{{offset, 7}})
}

func TestOnlySealedMemoryIsAttached(t *testing.T) {
	sealedWith := func(seals int) *os.File {
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		noError(t, err)
		f := os.NewFile(uintptr(fd), "test")
		noError(t, f.Truncate(100_000))
		_, err = f.WriteAt(header(100_000, 0), 0)
		noError(t, err)
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
		noError(t, err)
		return f
	}
	empty, err := os.CreateTemp(t.TempDir(), "")
	noError(t, err)
	named := segment(t, 100_000)
	shared, err := os.OpenFile(filepath.Join(directory, named.Name()), os.O_RDWR, 0)
	noError(t, err)
	r, w, err := os.Pipe()
	noError(t, err)
	defer w.Close()
	for _, c := range []struct {
		name string
		f    *os.File
		want string // "" is good
	}{
		{"sealed against shrinking and unsealing", sealedWith(unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL), ""},
		{"without seals", sealedWith(0), "can shrink"},
		{"sealed against growing alone", sealedWith(unix.F_SEAL_GROW | unix.F_SEAL_SEAL), "can shrink"},
		{"sealed against writing", sealedWith(wantSeals | unix.F_SEAL_WRITE), "map"},
		{"a file on disk", empty, "sealed memory"},
		{"a named segment's file", shared, "can shrink"},
		{"a pipe", r, "sealed memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := AttachFile(c.f, "memfd:test")
			if c.want == "" {
				noError(t, err)
				noError(t, s.Close())
			} else if err == nil || (!strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "can shrink")) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if _, err := c.f.Stat(); !errors.Is(err, os.ErrClosed) {
				t.Fatalf("the descriptor is still open: %v", err)
			}
		})
	}
}

func TestABatchLiesInTheSegmentUntilItIsReleased(t *testing.T) {
	s, err := CreateAnonymous(1 << 20)
	noError(t, err)
	rec := scalars(500)
	b := batch(t, rec)
	r, err := s.Write(b)
	noError(t, err)
	got, release, err := s.View(r, b.Schema, wire.Limits{})
	noError(t, err)
	at := bytes.Index(s.mem, b.Cols[0].Data)
	s.mem[at]++
	equal(t, got.Cols[0].Data[0], b.Cols[0].Data[0]+1) // the same memory
	s.mem[at]--
	noError(t, s.Close())
	sameRecord(t, got, rec) // still there
	release()
	if s.mem != nil {
		t.Fatal("the memory is still mapped")
	}
	if _, _, err := s.View(r, b.Schema, wire.Limits{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
	if _, _, err := segment(t, 1<<20).View(Region{HeaderBytes, 8}, b.Schema, wire.Limits{}); err == nil {
		t.Fatal("a named segment gave a view")
	}
}

// openMemory counts this process's descriptors of memory without a name.
func openMemory(t *testing.T) (n int) {
	t.Helper()
	open, err := filepath.Glob("/proc/self/fd/*")
	noError(t, err)
	for _, fd := range open {
		if link, err := os.Readlink(fd); err == nil && strings.HasPrefix(link, "/memfd:") {
			n++
		}
	}
	return n
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	noError(t, err)
	return len(entries)
}

func TestAZeroCopyBatchIsFreedOnTheTurnAfterItsRelease(t *testing.T) {
	owner, err := NewOwner(OwnerOptions{Size: 1 << 20, Anonymous: true, Options: Options{MinBatchBytes: -1}})
	noError(t, err)
	defer owner.Close()
	guest, err := NewGuest(GuestOptions{Options: Options{ZeroCopy: true}})
	noError(t, err)
	defer guest.Close()
	f, err := owner.Segment().File()
	noError(t, err)
	seg, err := AttachFile(f, owner.Segment().Name())
	noError(t, err)
	guest.Adopt(seg)
	requested(t, guest, owner.Advertise(nil))
	if guest.Segment() != seg {
		t.Fatal("the request replaced the segment")
	}

	rec := scalars(100)
	b := batch(t, rec)
	placed, _, err := owner.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	got, release, err := guest.Resolve(t.Context(), &placed[0], nil, nil)
	noError(t, err)
	sameRecord(t, got, rec)
	regions := func() int {
		r, err := owner.Segment().Regions()
		noError(t, err)
		return len(r)
	}
	noError(t, guest.Turn())
	equal(t, regions(), 1) // the batch lies there
	release()
	equal(t, regions(), 1) // somebody else's turn, perhaps
	noError(t, guest.Turn())
	equal(t, regions(), 0)

	placed, _, err = owner.Place(t.Context(), b.Schema, []wire.Batch{*b}, -1)
	noError(t, err)
	_, release, err = guest.Resolve(t.Context(), &placed[0], nil, nil)
	noError(t, err)
	requested(t, guest, nil) // the next call: the region is the owner's business
	release()
	noError(t, guest.Turn())
	equal(t, regions(), 1)
	noError(t, owner.Begin())
	equal(t, regions(), 0)
	if code := vgirpc.CodeOf(refusal(ErrClosed)); code != vgirpc.FailedPrecondition {
		t.Fatal(code)
	}
}
