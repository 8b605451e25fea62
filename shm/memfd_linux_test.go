package shm

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// socketPair is a pair of connected Unix sockets.
func socketPair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	noError(t, err)
	conns := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		noError(t, err)
		noError(t, f.Close())
		conns[i] = c.(*net.UnixConn)
		t.Cleanup(func() { _ = c.Close() })
	}
	return conns[0], conns[1]
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	noError(t, err)
	return len(entries)
}

func TestADescriptorTravelsBesideTheBytes(t *testing.T) {
	client, server := socketPair(t)
	s := anonymousSegment(t, 1<<20)
	f, err := s.File()
	noError(t, err)
	noError(t, SendFiles(client, []byte("hello"), f))
	noError(t, f.Close())
	buf := make([]byte, 64)
	n, files, err := ReceiveFiles(server, buf, 1, s.Name())
	noError(t, err)
	equal(t, []any{string(buf[:n]), len(files)}, []any{"hello", 1})
	flags, err := unix.FcntlInt(files[0].Fd(), unix.F_GETFD, 0)
	noError(t, err)
	equal(t, flags&unix.FD_CLOEXEC, unix.FD_CLOEXEC)
	other, err := AttachFile(files[0], s.Name())
	noError(t, err)
	noError(t, other.Close())

	_, err = client.Write([]byte("more"))
	noError(t, err)
	n, files, err = ReceiveFiles(server, buf, 1, "")
	noError(t, err)
	equal(t, []any{string(buf[:n]), len(files)}, []any{"more", 0})
	noError(t, client.Close())
	if _, _, err := ReceiveFiles(server, buf, 1, ""); err != io.EOF { //nolint:errorlint // as Read says it
		t.Fatalf("at the end: %v", err)
	}
}

func TestDescriptorsThatWereNotAskedForAreClosed(t *testing.T) {
	for _, c := range []struct {
		name    string
		receive func(conn *net.UnixConn, p []byte) (int, []*os.File, error)
		want    int
	}{
		{"more than the limit", func(conn *net.UnixConn, p []byte) (int, []*os.File, error) { return ReceiveFiles(conn, p, 1, "") }, 1},
		{"none expected", func(conn *net.UnixConn, p []byte) (int, []*os.File, error) {
			n, err := conn.Read(p)
			return n, nil, err
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := socketPair(t)
			s := anonymousSegment(t, 1<<20)
			f, err := s.File()
			noError(t, err)
			defer f.Close()
			before := openFiles(t)
			noError(t, SendFiles(client, []byte("x"), f, f, f, f, f))
			n, files, err := c.receive(server, make([]byte, 8))
			noError(t, err)
			equal(t, []int{n, len(files), openFiles(t) - before}, []int{1, c.want, c.want})
			for _, f := range files {
				noError(t, f.Close())
			}
		})
	}
}

func TestSendFilesRefuses(t *testing.T) {
	client, server := socketPair(t)
	f, err := os.Open(os.DevNull)
	noError(t, err)
	defer f.Close()
	many := make([]*os.File, MaxFiles+1)
	for i := range many {
		many[i] = f
	}
	for name, err := range map[string]error{
		"no bytes": SendFiles(client, nil, f), "no files": SendFiles(client, []byte("x")), "too many": SendFiles(client, []byte("x"), many...),
	} {
		if err == nil {
			t.Errorf("%s: sent", name)
		}
	}
	if _, _, err := ReceiveFiles(server, make([]byte, 1), 0, ""); err == nil {
		t.Error("a limit of 0")
	}
}

func TestAChildInheritsASegment(t *testing.T) {
	owner, err := NewOwner(OwnerOptions{Size: 1 << 20, Anonymous: true, Options: Options{MinBatchBytes: -1}})
	noError(t, err)
	defer owner.Close()
	f, err := owner.Segment().File()
	noError(t, err)
	b := batch(t, scalars(200))
	r, err := owner.Segment().Write(b)
	noError(t, err)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=inherited:"+owner.Segment().Name())
	child.ExtraFiles = []*os.File{f}
	out, err := child.CombinedOutput()
	noError(t, f.Close())
	equal(t, string(out), "200 rows\n")
	noError(t, err)
	regions, err := owner.Segment().Regions() // the child has freed it
	noError(t, err)
	equal(t, len(regions), 0)
	equal(t, r.Offset, int64(HeaderBytes))
}

// inheritedChild reads the only batch of the segment on descriptor 3, frees it,
// and says how many rows it has.
func inheritedChild(name string) int {
	if _, err := AttachInherited(1, name); err == nil {
		return 1
	}
	if _, err := AttachInherited(77, name); err == nil {
		return 2
	}
	s, err := AttachInherited(3, name)
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		return 3
	}
	flags, err := unix.FcntlInt(3, unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		return 4
	}
	regions, err := s.Regions()
	if err != nil || len(regions) != 1 {
		return 5
	}
	schema, err := wire.NewSchema(scalars(0).Schema())
	if err != nil {
		return 6
	}
	b, release, err := s.View(regions[0], schema, wire.Limits{})
	if err != nil {
		return 7
	}
	_, _ = os.Stdout.WriteString(strconv.Itoa(b.Rows) + " rows\n")
	release()
	if s.Free(regions[0].Offset) != nil || s.Close() != nil {
		return 8
	}
	return 0
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
