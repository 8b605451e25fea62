package observability

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// LogFileOptions configure a [LogFile]. The zero value works: one file that
// grows, written before Append returns.
type LogFileOptions struct {
	// Name is what messages and errors call the log; "log file" when empty.
	Name string
	// ServerID stands for {server_id} in the path.
	ServerID string
	// MaxBytes is the size that a file may have; the line that would exceed it
	// begins a new file, and the old one is renamed to PATH.1, which becomes
	// PATH.2 the next time. 0 for no limit. A file is never empty, so a line
	// that is longer has one for itself.
	MaxBytes int64
	// When begins a new file with each second, minute, hour or day of UTC: "S",
	// "M", "H", "D" or "midnight"; "W0" to "W6" with each week, at the end of
	// Sunday (so W0 is Monday) and so on. The old file is renamed to PATH and
	// the time at which its period began, as in PATH.2026-04-26_17. It excludes
	// MaxBytes; "" for never. A file is renamed when the next line is written.
	When string
	// BackupCount is how many renamed files are kept; 5 when 0.
	BackupCount int
	// Async hands lines to a goroutine that writes many at once, so that no
	// call waits for the disk. A crash loses what was not written yet: the
	// lines of the last 10 ms, and more when the disk is slow.
	Async bool
	// QueueSize is how many lines may wait for an asynchronous write, 10,000
	// when 0, and 16 MiB of them at most. Lines beyond that are dropped.
	QueueSize int
	// ReportInterval is how long losses go unmentioned after the logger was
	// told of some; one minute when 0.
	ReportInterval time.Duration
	// Logger is told when lines are lost, when writing succeeds again, and when
	// a file cannot be renamed; slog.Default when nil.
	Logger *slog.Logger

	clock func() time.Time // for tests
}

// Defaults of [LogFileOptions].
const (
	DefaultBackupCount    = 5
	DefaultQueueSize      = 10_000
	defaultReportInterval = time.Minute
	// closeTimeout is how long Close waits for a disk.
	closeTimeout = 5 * time.Second
)

func (o *LogFileOptions) complete() error {
	if o.Name == "" {
		o.Name = "log file"
	}
	if o.BackupCount == 0 {
		o.BackupCount = DefaultBackupCount
	}
	if o.QueueSize == 0 {
		o.QueueSize = DefaultQueueSize
	}
	if o.ReportInterval == 0 {
		o.ReportInterval = defaultReportInterval
	}
	if o.Logger == nil {
		o.Logger = slog.Default() //nolint:forbidigo // the option's default
	}
	if o.clock == nil {
		o.clock = time.Now
	}
	switch {
	case o.MaxBytes < 0:
		return fmt.Errorf("%s: MaxBytes is %d: want a number of bytes, or 0 for no limit", o.Name, o.MaxBytes)
	case o.MaxBytes > 0 && o.When != "":
		return fmt.Errorf("%s: MaxBytes and When exclude each other: a file is renamed by its size or by the time", o.Name)
	case o.BackupCount < 0:
		return fmt.Errorf("%s: BackupCount is %d: want at least 1, or 0 for %d", o.Name, o.BackupCount, DefaultBackupCount)
	case o.QueueSize < 0:
		return fmt.Errorf("%s: QueueSize is %d: want at least 1, or 0 for %d", o.Name, o.QueueSize, DefaultQueueSize)
	}
	return nil
}

// LogFile is a file of lines, each a JSON object, that outlives full disks and
// the tools that rename it (access-log-spec.md sections 5bc to 5d). It never
// fails who writes: lines that cannot be written are counted, the next one that
// can carries their number as "dropped_records", and the logger is told at most
// once per interval. It recovers by itself, when the disk has room again or the
// directory is back. It is safe for concurrent use.
//
// Two processes should not share a file. When they do for a while, because one
// takes over from the other, no line is torn or lost, but one may be in a file
// that the other process has renamed.
type LogFile struct {
	opts   LogFileOptions
	losses losses

	io      sync.Mutex // held while the sink is used
	sink    sink
	scratch []byte

	closed  atomic.Bool
	closing chan struct{}
	closer  sync.Once
	ended   error         // of the first Close
	queue   *queue        // nil when lines are written at once
	done    chan struct{} // closed when the queue's writer has ended
}

// sink takes whole lines.
type sink interface {
	// writeLines returns how many bytes of lines were written.
	writeLines(lines []byte) (int, error)
	// reopen makes the sink continue in whatever the path stands for now.
	reopen() error
	// trouble returns, once, an error that lost nothing.
	trouble() error
	close() error
}

// OpenLogFile returns a log that appends to the file at path, which is made
// with mode 0600 when it is not there. In path, {pid} stands for this process
// and {server_id} for opts.ServerID. When the file ends in the middle of a line,
// because a process was killed while it wrote, that line is ended, and counted
// as a lost one. The caller closes the log.
func OpenLogFile(path string, opts LogFileOptions) (*LogFile, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	path, err := expandPath(path, opts.ServerID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opts.Name, err)
	}
	file, err := openRotating(path, opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opts.Name, err)
	}
	f := newLogFile(file, opts)
	if file.lines.torn {
		f.losses.pending.Store(1)
		f.losses.total.Store(1)
	}
	return f, nil
}

// newLogFile returns a log that writes to s; opts are complete.
func newLogFile(s sink, opts LogFileOptions) *LogFile {
	f := &LogFile{opts: opts, sink: s, closing: make(chan struct{}), done: make(chan struct{})}
	f.losses.opts = &f.opts
	if !opts.Async {
		close(f.done)
		return f
	}
	f.queue = &queue{limit: opts.QueueSize, wake: make(chan struct{}, 1)}
	go f.writeQueue()
	return f
}

// expandPath puts this process and its server into a path.
func expandPath(path, serverID string) (string, error) {
	const id = "{server_id}"
	if strings.Contains(path, id) && (serverID == "" || strings.ContainsAny(serverID, `/\`+"\x00")) {
		return "", fmt.Errorf("%q in a path, but the server's identifier %q is no file name", id, serverID)
	}
	return strings.NewReplacer("{pid}", strconv.Itoa(os.Getpid()), id, serverID).Replace(path), nil
}

// Append adds a JSON object, which has at least one field and no newline in it,
// as a line. It keeps nothing of it. When lines were lost before, it puts their
// number into the object. After Close it does nothing.
func (f *LogFile) Append(object []byte) {
	if f.closed.Load() {
		return
	}
	if f.queue != nil {
		if !f.queue.add(object, &f.losses) {
			f.losses.lose(1, errQueueFull)
		}
		return
	}
	f.io.Lock()
	if f.closed.Load() {
		f.io.Unlock()
		return
	}
	missing := f.losses.take()
	f.scratch = appendLine(f.scratch[:0], object, missing)
	n, err := f.sink.writeLines(f.scratch)
	trouble := f.sink.trouble()
	_, lost := unwritten(f.scratch, n)
	if cap(f.scratch) > keepBytes {
		f.scratch = nil
	}
	if lost > 0 {
		f.losses.giveBack(missing)
	}
	f.io.Unlock()
	f.settle(lost, err, trouble)
}

// unwritten returns where the lines begin that are not there when n bytes were
// written, and how many they are. One that lacks only its end is there: it is
// ended before the next.
func unwritten(lines []byte, n int) (start int, lost int64) {
	if n > 0 && n < len(lines) && lines[n] == '\n' && lines[n-1] != '\n' {
		n++
	}
	return n, int64(bytes.Count(lines[n:], []byte{'\n'}))
}

// settle reports what became of lines, outside the lock: the logger may be slow.
func (f *LogFile) settle(lost int64, err, trouble error) {
	switch {
	case lost > 0:
		f.losses.lose(lost, err)
	case err == nil:
		f.losses.recovered()
	}
	if trouble != nil {
		f.losses.warn(trouble)
	}
}

// noteLen is the most that appendLine adds to an object.
const noteLen = len(`,"suppressed_records":`) + 20 + len(`,"dropped_records":`) + 20 + 1

// appendLine appends an object and the end of its line, with the numbers of the
// lines that are missing before it.
func appendLine(dst, object []byte, missing gap) []byte {
	if missing == (gap{}) || len(object) <= 2 {
		return append(append(dst, object...), '\n')
	}
	dst = append(dst, object[:len(object)-1]...)
	if missing.suppressed > 0 {
		dst = strconv.AppendInt(append(dst, `,"suppressed_records":`...), missing.suppressed, 10)
	}
	if missing.lost > 0 {
		dst = strconv.AppendInt(append(dst, `,"dropped_records":`...), missing.lost, 10)
	}
	return append(dst, '}', '\n')
}

// suppress counts a line that is left out on purpose. The next line that is
// written says how many there were, as "suppressed_records".
func (f *LogFile) suppress() { f.losses.suppressed.Add(1) }

// suppressed returns, once, how many such lines no other has told of.
func (f *LogFile) suppressed() int64 { return f.losses.suppressed.Swap(0) }

// Reopen continues in the file that the path stands for now, which is made when
// it is not there: to be called when a tool such as logrotate has renamed the
// old one. When that fails, the log stays with the old file.
func (f *LogFile) Reopen() error {
	f.io.Lock()
	defer f.io.Unlock()
	if f.closed.Load() {
		return nil
	}
	if err := f.sink.reopen(); err != nil {
		return fmt.Errorf("%s: reopening: %w", f.opts.Name, err)
	}
	return nil
}

// Dropped is how many lines were lost since the log was opened.
func (f *LogFile) Dropped() int64 { return f.losses.total.Load() }

// Close is Shutdown with a limit of 5 seconds.
func (f *LogFile) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return f.Shutdown(ctx)
}

// Shutdown writes what waits to be written and closes the file. Lines that are
// appended from now on are ignored. When ctx ends first, it returns an error
// that says how many lines are not written. Once is enough: later calls return
// what the first did.
func (f *LogFile) Shutdown(ctx context.Context) error {
	f.closer.Do(func() { f.ended = f.shutdown(ctx) })
	return f.ended
}

func (f *LogFile) shutdown(ctx context.Context) error {
	f.closed.Store(true)
	close(f.closing)
	ended := make(chan error, 1)
	go func() { // a disk that hangs holds the lock as well
		<-f.done
		f.io.Lock()
		defer f.io.Unlock()
		ended <- f.sink.close()
	}()
	select {
	case err := <-ended:
		f.losses.rest()
		if err != nil {
			return fmt.Errorf("%s: %w", f.opts.Name, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %d records not written: %w", f.opts.Name, f.queue.waiting(), ctx.Err())
	}
}

// writer is a sink that somebody else opened.
type writer struct{ lines }

func (w *writer) writeLines(p []byte) (int, error) { return w.write(p) }
func (*writer) reopen() error                      { return nil }
func (*writer) trouble() error                     { return nil }
func (*writer) close() error                       { return nil }

// lines writes lines to a writer. One that was written in part is ended before
// the next.
type lines struct {
	w    io.Writer
	torn bool
}

// write returns how many bytes of p were written, and an error when that is not
// all of them.
func (l *lines) write(p []byte) (int, error) {
	var ending int
	if l.torn {
		p = append([]byte{'\n'}, p...)
		ending = 1
	}
	n, err := l.w.Write(p)
	if n > 0 {
		l.torn = p[n-1] != '\n'
	}
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return max(n-ending, 0), err
}
