package observability

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func newClock(at time.Time) *clock {
	c := new(clock)
	c.at.Store(at.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// said is what a logger was told.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.FieldsFunc(s.b.String(), func(r rune) bool { return r == '\n' })
}

func (s *said) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func openFile(t *testing.T, path string, opts LogFileOptions) *LogFile {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	f, err := OpenLogFile(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// entry is a line of these tests.
type entry struct {
	N       int   `json:"n"`
	Dropped int64 `json:"dropped_records"`
}

func put(f *LogFile, n int) { f.Append(fmt.Appendf(nil, `{"n":%d}`, n)) }

// read returns the lines of a file, each of which must be whole, except those
// that torn allows.
func read(t *testing.T, path string, torn int) []entry {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []entry
	for line := range strings.Lines(string(text)) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
			if torn--; torn < 0 {
				t.Errorf("%s: a torn line %q", filepath.Base(path), line)
			}
			continue
		}
		all = append(all, e)
	}
	return all
}

// files returns the numbers in each file of a directory.
func files(t *testing.T, dir string) map[string][]int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]int{}
	for _, e := range entries {
		numbers := []int{}
		for _, line := range read(t, filepath.Join(dir, e.Name()), 0) {
			numbers = append(numbers, line.N)
		}
		out[e.Name()] = numbers
	}
	return out
}

func TestAFileThatWouldExceedItsSizeIsRenamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	f := openFile(t, path, LogFileOptions{MaxBytes: 24, BackupCount: 2}) // lines of 8 bytes
	for n := range 6 {
		put(f, n)
	}
	want := map[string][]int{"log": {3, 4, 5}, "log.1": {0, 1, 2}}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("after two files (-want +got):\n%s", diff)
	}
	f.Append([]byte(`{"n":6,"long":"` + strings.Repeat("x", 30) + `"}`))
	put(f, 7)
	want = map[string][]int{"log": {7}, "log.1": {6}, "log.2": {3, 4, 5}}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("with a line that is longer than a file, and the oldest file gone (-want +got):\n%s", diff)
	}
	_ = f.Close()
	f = openFile(t, path, LogFileOptions{MaxBytes: 24, BackupCount: 2})
	for n := range 3 {
		put(f, 8+n)
	}
	want = map[string][]int{"log": {10}, "log.1": {7, 8, 9}, "log.2": {6}}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

func TestAnAsynchronousFileIsRenamedBetweenLines(t *testing.T) {
	dir := t.TempDir()
	f := openFile(t, filepath.Join(dir, "log"), LogFileOptions{MaxBytes: 24, BackupCount: 100, Async: true})
	for n := range 10 {
		put(f, n)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := map[string][]int{"log": {9}, "log.1": {6, 7, 8}, "log.2": {3, 4, 5}, "log.3": {0, 1, 2}}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestSchedule(t *testing.T) {
	at := time.Date(2026, 4, 29, 17, 30, 45, 5e8, time.FixedZone("", 2*3600)) // a Wednesday
	for _, tt := range []struct{ when, began, ends string }{
		{"S", "2026-04-29_15-30-45", "2026-04-29T15:30:46Z"},
		{"M", "2026-04-29_15-30", "2026-04-29T15:31:00Z"},
		{"H", "2026-04-29_15", "2026-04-29T16:00:00Z"},
		{"D", "2026-04-29", "2026-04-30T00:00:00Z"},
		{"midnight", "2026-04-29", "2026-04-30T00:00:00Z"},
		{"W0", "2026-04-27", "2026-05-04T00:00:00Z"},
		{"W2", "2026-04-29", "2026-05-06T00:00:00Z"},
		{"W3", "2026-04-23", "2026-04-30T00:00:00Z"},
		{"w6", "2026-04-26", "2026-05-03T00:00:00Z"},
	} {
		s, err := newSchedule(tt.when)
		if err != nil {
			t.Errorf("%s: %v", tt.when, err)
			continue
		}
		began := s.begin(at)
		if got := began.Format(s.suffix); got != tt.began {
			t.Errorf("%s: the period began %s, want %s", tt.when, got, tt.began)
		}
		if got := s.next(began).Format(time.RFC3339); got != tt.ends {
			t.Errorf("%s: it ends %s, want %s", tt.when, got, tt.ends)
		}
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, tt := range []struct {
		name string
		path string
		opts LogFileOptions
		want string
	}{
		{"a period that is none", "log", LogFileOptions{When: "fortnight"}, `"fortnight": want S, M, H, D`},
		{"a day that no week has", "log", LogFileOptions{When: "W7"}, `"W7"`},
		{"size and time", "log", LogFileOptions{When: "H", MaxBytes: 1}, "exclude each other"},
		{"a negative size", "log", LogFileOptions{MaxBytes: -1}, "MaxBytes is -1"},
		{"a negative number of files", "log", LogFileOptions{BackupCount: -1}, "BackupCount is -1"},
		{"a negative queue", "log", LogFileOptions{QueueSize: -1}, "QueueSize is -1"},
		{"a device that is to be renamed", os.DevNull, LogFileOptions{MaxBytes: 1}, "no regular file"},
		{"a server without an identifier", "{server_id}", LogFileOptions{}, "server_id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path
			if !filepath.IsAbs(path) {
				path = filepath.Join(t.TempDir(), path)
			}
			f, err := OpenLogFile(path, tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v: want an error with %q", f, err, tt.want)
			}
		})
	}
}

// missing ends a test that needs what this system does not have: it is skipped, or
// fails where the variable CI is set.
func missing(t *testing.T, what ...any) {
	t.Helper()
	what = append([]any{"this system does not have what the test needs: "}, what...)
	if os.Getenv("CI") != "" {
		t.Fatal(what...)
	}
	t.Skip(what...)
}

func TestALinkIsNotRenamed(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("log", link); err != nil {
		missing(t, "links: ", err)
	}
	if _, err := OpenLogFile(link, LogFileOptions{MaxBytes: 8}); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("error %v", err)
	}
	f := openFile(t, link, LogFileOptions{})
	put(f, 1)
	if diff := cmp.Diff([]entry{{N: 1}}, read(t, filepath.Join(dir, "log"), 0)); diff != "" {
		t.Errorf("what it stands for (-want +got):\n%s", diff)
	}
}

func TestAFileIsRenamedWhenItsPeriodIsOver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	at := newClock(time.Date(2026, 4, 26, 17, 30, 0, 0, time.UTC))
	opts := LogFileOptions{When: "H", BackupCount: 2, clock: at.now}
	f := openFile(t, path, opts)
	put(f, 1)
	at.advance(29 * time.Minute)
	put(f, 2)
	at.advance(time.Minute)
	put(f, 3) // 18:00
	want := map[string][]int{"log": {3}, "log.2026-04-26_17": {1, 2}}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("at six (-want +got):\n%s", diff)
	}
	at.advance(3 * time.Hour) // nothing is logged at 19:00 and 20:00
	put(f, 4)                 // 21:00
	_ = f.Close()
	if err := os.Chtimes(path, at.now(), at.now()); err != nil {
		t.Fatal(err)
	}
	at.advance(time.Hour)
	f = openFile(t, path, opts) // 22:00: what is in the file is older
	put(f, 5)
	want = map[string][]int{"log": {5}, "log.2026-04-26_18": {3}, "log.2026-04-26_21": {4}}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("after a restart at ten, the oldest gone (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(path+".2026-04-26_22", []byte("{\"n\":100}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".notes", []byte("{\"n\":200}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at.advance(time.Hour)
	put(f, 6)
	want = map[string][]int{"log": {6}, "log.2026-04-26_22": {100}, "log.2026-04-26_22.1": {5}, "log.notes": {200}}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("with a name that is taken, and a file that is no backup (-want +got):\n%s", diff)
	}
}

func TestALineThatACrashHasTornIsEndedAndCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("{\"n\":1}\n{\"n\""), 0o600); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path, LogFileOptions{})
	put(f, 3)
	put(f, 4)
	if diff := cmp.Diff([]entry{{N: 1}, {N: 3, Dropped: 1}, {N: 4}}, read(t, path, 1)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if f.Dropped() != 1 {
		t.Errorf("%d dropped", f.Dropped())
	}
}

func TestAFileThatSomebodyElseRenames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	rename := func(t *testing.T, to string) {
		t.Helper()
		if err := os.Rename(path, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	at := newClock(time.Now())
	f := openFile(t, path, LogFileOptions{clock: at.now})
	put(f, 1)
	rename(t, "told")
	put(f, 2) // nobody has said so yet
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	put(f, 3)
	rename(t, "created")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	put(f, 4)
	at.advance(checkInterval)
	put(f, 5) // seen without being told
	rename(t, "gone")
	at.advance(checkInterval)
	put(f, 6) // somebody may be about to create the file
	at.advance(checkInterval)
	put(f, 7)
	at.advance(missingTime)
	put(f, 8) // nobody does
	want := map[string][]int{"told": {1, 2}, "created": {3, 4}, "gone": {5, 6, 7}, "log": {8}}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if f.Dropped() != 0 {
		t.Errorf("%d dropped", f.Dropped())
	}
}

func TestAFileThatSomebodyElseTruncatesGoesOnFromItsBeginning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	at := newClock(time.Now())
	f := openFile(t, path, LogFileOptions{MaxBytes: 24, clock: at.now})
	put(f, 1)
	put(f, 2)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	put(f, 3)
	put(f, 4) // three lines by the count of what was written
	put(f, 5)
	if diff := cmp.Diff(map[string][]int{"log": {3, 4, 5}}, files(t, filepath.Dir(path))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestADirectoryThatVanishesAndComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	path := filepath.Join(dir, "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var told said
	at := newClock(time.Now())
	f := openFile(t, path, LogFileOptions{Name: "the log", clock: at.now, Logger: told.logger()})
	put(f, 1)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for n := range 100 { // for 50 seconds
		at.advance(checkInterval / 2)
		put(f, n)
	}
	if err := f.Reopen(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reopening: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	at.advance(checkInterval)
	put(f, 200)
	put(f, 201)
	// The first of the lost ones went into the file that had no name any more.
	if diff := cmp.Diff([]entry{{N: 200, Dropped: 99}, {N: 201}}, read(t, path, 0)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	want := []string{
		`level=ERROR msg="the log: records lost" lost=1 error="open ` + path + `: no such file or directory"`,
		`level=WARN msg="the log: writing again" lost=99`,
	}
	if diff := cmp.Diff(want, told.lines()); diff != "" {
		t.Errorf("the logger was told (-want +got):\n%s", diff)
	}
}

func TestADiskThatIsFullAndHasRoomAgain(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		missing(t, "a device that is always full: ", err)
	}
	for _, async := range []bool{false, true} {
		t.Run(fmt.Sprintf("async %v", async), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "log")
			if err := os.Symlink(full, path); err != nil {
				t.Fatal(err)
			}
			var told said
			at := newClock(time.Now())
			f := openFile(t, path, LogFileOptions{clock: at.now, Logger: told.logger(), Async: async})
			lost := func(want int64) {
				t.Helper()
				for f.Dropped() < want { // the writer is another goroutine
					if async {
						time.Sleep(time.Millisecond)
					} else {
						t.Fatalf("%d dropped, want %d", f.Dropped(), want)
					}
				}
			}
			for n := range 4 { // two a minute
				put(f, n)
				lost(int64(n + 1))
				at.advance(30 * time.Second)
			}
			if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			put(f, 10)
			put(f, 11)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]entry{{N: 10, Dropped: 4}, {N: 11}}, read(t, path, 0)); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			want := []string{
				`level=ERROR msg="log file: records lost" lost=1 error="write ` + path + `: no space left on device"`,
				`level=ERROR msg="log file: records lost" lost=2 error="write ` + path + `: no space left on device"`,
				`level=WARN msg="log file: writing again" lost=4`,
			}
			if diff := cmp.Diff(want, told.lines()); diff != "" {
				t.Errorf("the logger was told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFileThatCannotBeRenamedGoesOn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	if err := os.MkdirAll(filepath.Join(path+".1", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	var told said
	at := newClock(time.Now())
	f := openFile(t, path, LogFileOptions{MaxBytes: 8, BackupCount: 1, clock: at.now, Logger: told.logger()})
	for n := range 4 {
		put(f, n)
		at.advance(time.Second)
	}
	if got := len(read(t, path, 0)); got != 4 || f.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped", got, f.Dropped())
	}
	if lines := told.lines(); len(lines) != 1 || !strings.Contains(lines[0], "goes on as it is") {
		t.Errorf("the logger was told %q", lines)
	}
	if err := os.RemoveAll(path + ".1"); err != nil {
		t.Fatal(err)
	}
	at.advance(renameInterval)
	put(f, 4)
	if diff := cmp.Diff(map[string][]int{"log": {4}, "log.1": {0, 1, 2, 3}}, files(t, dir)); diff != "" {
		t.Errorf("when nothing is in the way any more (-want +got):\n%s", diff)
	}
}

// TestRotationsThatRaceLoseNothing has two logs, as of two processes, that
// rename the same files while both are told to open them anew.
func TestRotationsThatRaceLoseNothing(t *testing.T) {
	for _, async := range []bool{false, true} {
		t.Run(fmt.Sprintf("async %v", async), func(t *testing.T) {
			const writers, each = 4, 2000
			dir := t.TempDir()
			path := filepath.Join(dir, "log")
			opts := LogFileOptions{MaxBytes: 1000, BackupCount: 1_000_000, Async: async, QueueSize: writers * each}
			var logs [2]*LogFile
			for i := range logs {
				logs[i] = openFile(t, path, opts)
			}
			var wg, reopening sync.WaitGroup
			stop := make(chan struct{})
			reopening.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						if err := logs[i%2].Reopen(); err != nil {
							t.Error(err)
						}
					}
				}
			})
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						put(logs[w%2], w*each+i)
					}
				})
			}
			wg.Wait()
			close(stop)
			reopening.Wait()
			for _, f := range logs {
				if err := f.Close(); err != nil || f.Dropped() != 0 {
					t.Errorf("%v, %d dropped", err, f.Dropped())
				}
			}
			var got []int
			for _, numbers := range files(t, dir) {
				got = append(got, numbers...)
			}
			slices.Sort(got)
			want := make([]int, writers*each)
			for i := range want {
				want[i] = i
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

// stubborn is a sink that does what a test says.
type stubborn struct {
	out   bytes.Buffer
	write func(p []byte) (int, error)
}

func (s *stubborn) writeLines(p []byte) (int, error) {
	n, err := s.write(p)
	_, _ = s.out.Write(p[:n])
	return n, err
}
func (*stubborn) reopen() error  { return nil }
func (*stubborn) trouble() error { return nil }
func (*stubborn) close() error   { return nil }

func newStubborn(t *testing.T, s *stubborn, opts LogFileOptions) *LogFile {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := opts.complete(); err != nil {
		t.Fatal(err)
	}
	return newLogFile(s, opts)
}

func TestAQueueThatIsFullDropsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		s := &stubborn{write: func(p []byte) (int, error) { <-free; return len(p), nil }}
		var told said
		f := newStubborn(t, s, LogFileOptions{Async: true, QueueSize: 4, Logger: told.logger()})
		for n := range 10 { // none of these blocks
			put(f, n)
		}
		synctest.Wait()
		time.Sleep(time.Second) // the writer has taken what there is, and hangs
		put(f, 10)
		if f.Dropped() != 7 {
			t.Errorf("%d dropped, want 7", f.Dropped())
		}
		close(free)
		time.Sleep(time.Second)
		put(f, 11)
		put(f, 12)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		const want = "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":11,\"dropped_records\":7}\n{\"n\":12}\n"
		if diff := cmp.Diff(want, s.out.String()); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if lines := told.lines(); len(lines) != 2 || !strings.Contains(lines[0], "queue") || !strings.Contains(lines[1], "lost=7") {
			t.Errorf("the logger was told %q", lines)
		}
	})
}

func TestAQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		s := &stubborn{write: func(p []byte) (int, error) { <-free; return len(p), nil }}
		f := newStubborn(t, s, LogFileOptions{Async: true})
		long := []byte(`{"n":"` + strings.Repeat("x", 5<<20) + `"}`)
		for range 10 {
			f.Append(long)
		}
		if f.Dropped() != 7 {
			t.Errorf("%d of 10 lines of 5 MiB dropped, want 7", f.Dropped())
		}
		close(free)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownDoesNotWaitForADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		s := &stubborn{write: func(p []byte) (int, error) { <-free; return len(p), nil }}
		f := newStubborn(t, s, LogFileOptions{Async: true})
		put(f, 1)
		time.Sleep(time.Second)
		put(f, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := f.Shutdown(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 records not written") {
			t.Errorf("error %v", err)
		}
		put(f, 3)
		close(free)
		synctest.Wait()
		if got := s.out.String(); got != "{\"n\":1}\n{\"n\":2}\n" {
			t.Errorf("written in the end: %q", got)
		}
	})
}

// TestEveryLineIsWrittenOrAnnounced holds whatever a disk does.
func TestEveryLineIsWrittenOrAnnounced(t *testing.T) {
	for _, async := range []bool{false, true} {
		t.Run(fmt.Sprintf("async %v", async), func(t *testing.T) {
			for seed := range uint64(50) {
				synctest.Test(t, func(t *testing.T) {
					random := rand.New(rand.NewPCG(seed, 0))
					var out bytes.Buffer
					w := &writer{lines{w: writeFunc(func(p []byte) (int, error) {
						n := len(p)
						var err error
						if random.IntN(2) == 0 {
							n, err = random.IntN(len(p)+1), errors.New("no")
						}
						out.Write(p[:n])
						return n, err
					})}}
					opts := LogFileOptions{Async: async, QueueSize: 7, Logger: slog.New(slog.DiscardHandler)}
					if err := opts.complete(); err != nil {
						t.Fatal(err)
					}
					f := newLogFile(w, opts)
					const total = 300
					for n := range total {
						put(f, n)
						if n%10 == 9 {
							time.Sleep(time.Second)
						}
					}
					if err := f.Close(); err != nil {
						t.Fatal(err)
					}
					var whole, announced int64
					for line := range strings.Lines(out.String()) {
						var e entry
						if json.Unmarshal([]byte(line), &e) == nil {
							whole++
							announced += e.Dropped
						}
					}
					if pending := f.losses.pending.Load(); whole+f.Dropped() != total || announced+pending != f.Dropped() {
						t.Errorf("seed %d: of %d lines %d are there, %d announced, %d to be announced, %d dropped",
							seed, total, whole, announced, pending, f.Dropped())
					}
				})
			}
		})
	}
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }
