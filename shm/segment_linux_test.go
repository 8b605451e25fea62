package shm

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/wire"
)

// sharedFiles lists the named segments of this module.
func sharedFiles() (names []string) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// leftBehind lists the segments that this process still holds, and those that
// came since and that nobody holds.
func leftBehind(before []string) (left []string) {
	open, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range open {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, filepath.Join(directory, prefix)) {
			left = append(left, target)
		}
	}
	for _, name := range sharedFiles() {
		if slices.Contains(before, name) {
			continue
		}
		if stale, _ := removeStale(filepath.Join(directory, name)); stale {
			left = append(left, name)
		}
	}
	return left
}

func TestANamedSegmentIsItsCreators(t *testing.T) {
	s := segment(t, 100_000)
	path := filepath.Join(directory, s.Name())
	info, err := os.Stat(path)
	noError(t, err)
	equal(t, []any{info.Mode().Perm(), info.Size(), s.Size()}, []any{fs.FileMode(0o600), int64(100_000), int64(100_000)})

	if _, err := Create(s.Name(), 100_000); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("a second one of the name: %v", err)
	}
	other, err := Attach(s.Name(), 70_000) // the hint does not count
	noError(t, err)
	equal(t, other.Size(), int64(100_000))
	offset, err := other.Allocate(10)
	noError(t, err)
	regions, err := s.Regions()
	noError(t, err)
	equal(t, regions, []Region{{offset, 10}})

	noError(t, other.Unlink())
	noError(t, other.Close())
	noError(t, other.Close())
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("who attached took it away: %v", err)
	}
	if _, err := other.Allocate(1); !errors.Is(err, ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
	noError(t, s.Unlink())
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("after Unlink: %v", err)
	}
}

func TestUnlinkLeavesAnotherFileOfTheName(t *testing.T) {
	s := segment(t, 100_000)
	path := filepath.Join(directory, s.Name())
	noError(t, os.Remove(path))
	noError(t, os.WriteFile(path, []byte("somebody else's"), 0o600))
	noError(t, s.Unlink())
	noError(t, os.Remove(path)) // it was still there
}

func TestAttachRefuses(t *testing.T) {
	plain := filepath.Join(directory, prefix+"plain_"+strconv.Itoa(os.Getpid()))
	noError(t, os.WriteFile(plain, make([]byte, 100_000), 0o600))
	t.Cleanup(func() { _ = os.Remove(plain) })
	small := filepath.Join(directory, prefix+"small_"+strconv.Itoa(os.Getpid()))
	noError(t, os.WriteFile(small, []byte("VGIS"), 0o600))
	t.Cleanup(func() { _ = os.Remove(small) })
	fifo := filepath.Join(directory, prefix+"fifo_"+strconv.Itoa(os.Getpid()))
	noError(t, unix.Mkfifo(fifo, 0o600))
	t.Cleanup(func() { _ = os.Remove(fifo) })
	target := segment(t, 100_000)
	link := filepath.Join(directory, prefix+"link_"+strconv.Itoa(os.Getpid()))
	noError(t, os.Symlink(filepath.Join(directory, target.Name()), link))
	t.Cleanup(func() { _ = os.Remove(link) })

	before := sharedFiles()
	for _, c := range []struct {
		name, segment string
		size          int64
		want          string
	}{
		{"no name", "", 100_000, "without a name"},
		{"a path", "a/b", 100_000, "no segment's name"},
		{"a leading slash", "/psm_1", 100_000, "no segment's name"},
		{"the directory above", "..", 100_000, "no segment's name"},
		{"a NUL", "a\x00b", 100_000, "no segment's name"},
		{"a name that is too long", strings.Repeat("n", 256), 100_000, "256 bytes"},
		{"a size that is too small", "psm_1", HeaderBytes, "65536 bytes"},
		{"a negative size", "psm_1", -1, "-1 bytes"},
		{"a name that nobody has", "psm_no_such_segment", 100_000, "no such file"},
		{"a file that is no segment", filepath.Base(plain), 100_000, "magic"},
		{"a file that is too small", filepath.Base(small), 100_000, "4 bytes"},
		{"a pipe", filepath.Base(fifo), 100_000, "no shared memory"},
		{"a link", filepath.Base(link), 100_000, "symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Attach(c.segment, c.size); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	equal(t, sharedFiles(), before)
}

func TestTruncationUnderOurFeet(t *testing.T) {
	for _, c := range []struct {
		name string
		to   int64
		do   func(s *Segment, r Region, b *wire.Batch) error
	}{
		{"a batch that is read", HeaderBytes, func(s *Segment, r Region, b *wire.Batch) error {
			_, _, err := s.Read(r, b.Schema, wire.Limits{})
			return err
		}},
		{"the table when something is allocated", 0, func(s *Segment, _ Region, _ *wire.Batch) error {
			_, err := s.Allocate(1)
			return err
		}},
		{"the table when something is freed", 0, func(s *Segment, r Region, _ *wire.Batch) error { return s.Free(r.Offset) }},
		{"the place of a batch that is written", HeaderBytes, func(s *Segment, _ Region, b *wire.Batch) error {
			_, err := s.Write(b)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := segment(t, 32<<20)
			b := batch(t, scalars(10_000))
			r, err := s.Write(b)
			noError(t, err)
			noError(t, os.Truncate(filepath.Join(directory, s.Name()), c.to))
			err = c.do(s, r, b)
			fault, ok := errors.AsType[*FaultError](err)
			if !ok || fault.Name != s.Name() || fault.Offset < c.to {
				t.Fatalf("got %v", err)
			}
		})
	}
	t.Run("by another process, while we go on", func(t *testing.T) {
		s := segment(t, 8<<20)
		b := batch(t, scalars(20_000))
		r, err := s.Write(b)
		noError(t, err)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childVariable+"=truncate:"+s.Name())
		noError(t, child.Start())
		faults := 0
		for faults == 0 { // ends with the child's deed
			_, release, err := s.Read(r, b.Schema, wire.Limits{})
			if err == nil {
				release()
				continue
			}
			if _, ok := errors.AsType[*FaultError](err); !ok {
				t.Fatal(err)
			}
			faults++
		}
		noError(t, child.Wait())
	})
}

func TestAFaultElsewhereIsNotOurs(t *testing.T) {
	mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	noError(t, err)
	defer unix.Munmap(mem)
	defer func() {
		if recover() == nil {
			t.Error("a fault outside the segment was swallowed")
		}
	}()
	own := make([]byte, 8)
	_ = touch(own, mem[:8], own)
}

func TestManyGoroutinesOfOneSide(t *testing.T) {
	s := segment(t, 8<<20)
	rec := scalars(200)
	b := batch(t, rec)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				r, err := s.Write(b)
				if err != nil {
					t.Error(err)
					return
				}
				got, release, err := s.Read(r, b.Schema, wire.Limits{})
				if err != nil || got.Rows != b.Rows {
					t.Error(err)
					return
				}
				release()
				if err := s.Free(r.Offset); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	equal(t, regionsOf(t, s), 0)
}

func TestStaleSegmentsAreRemoved(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=die")
	in, err := child.StdinPipe()
	noError(t, err)
	out, err := child.StdoutPipe()
	noError(t, err)
	noError(t, child.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	noError(t, err)
	name := strings.TrimSpace(line)
	alive := segment(t, 100_000)

	_, err = RemoveStale()
	noError(t, err)
	for _, n := range []string{name, alive.Name()} {
		if _, err := os.Stat(filepath.Join(directory, n)); err != nil {
			t.Fatalf("a live creator's segment is gone: %v", err)
		}
	}
	noError(t, child.Process.Kill())
	_ = child.Wait() // it was killed
	_ = in.Close()
	_, err = RemoveStale()
	noError(t, err)
	if _, err := os.Stat(filepath.Join(directory, name)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a dead creator's segment: %v", err)
	}
	if _, err := os.Stat(filepath.Join(directory, alive.Name())); err != nil {
		t.Fatalf("a live creator's segment is gone: %v", err)
	}
}

// runChild is this program as a process of its own.
func runChild(what string) int {
	verb, arg, _ := strings.Cut(what, ":")
	switch verb {
	case "truncate":
		if os.Truncate(filepath.Join(directory, arg), HeaderBytes) != nil {
			return 1
		}
	case "die": // says its segment's name and waits to be killed
		s, err := Create("", 100_000)
		if err != nil {
			return 1
		}
		_, _ = os.Stdout.WriteString(s.Name() + "\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
	case "worker":
		return worksInherited(arg)
	case "rewrite":
		return rewriteChild(arg)
	}
	return 0
}
