package recording

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Options configure a [Writer]. The zero value records without payloads.
type Options struct {
	// Payloads keeps every byte of every message. Without it values are
	// replaced: see [Redact].
	Payloads bool
	// MaxBytes is the size at which the file is full; nothing is recorded any
	// more then, and the connections go on. 0 is no bound, else it is 4096 or
	// more.
	MaxBytes int64
	// Buffer is how many bytes may wait for the disk; 64 MiB when 0. A message
	// that finds no room, because the disk is slow or because it is larger than
	// all of it, is dropped and counted.
	Buffer int64
	// Transport is "stdio", "unix", "tcp" or "http", for whoever reads the file.
	Transport string
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Sizes that a Writer reckons with, in bytes.
const (
	defaultBuffer = 64 << 20
	leastMax      = 4 << 10
	// frameCost is what a frame costs beside its bytes, in memory and in the
	// file.
	frameCost = 1 << 10
	// ownRoom is kept free of messages, for frames of the recorder's own.
	ownRoom = 1 << 20
	// flushBytes is how much is collected for one write to the file.
	flushBytes = 256 << 10
)

// Writer writes a recording. Its methods may be called at once, and do not wait
// for the destination.
type Writer struct {
	opts  Options
	start time.Time
	out   *counted
	w     *wire.Writer
	sch   *wire.Schema
	red   *redactor

	mu     sync.Mutex
	queue  []Frame
	held   int64 // bytes of the queue, and of messages that have begun
	conns  int64
	closed bool
	wake   chan struct{} // of one place
	done   chan struct{}
	ended  sync.Once

	// Of the goroutine that writes, and of Close when that is over.
	full    bool
	left    Frame // counts what was dropped after the file was full
	err     error
	dropped Frame // frames of the recorder's own that found no room; under mu
}

// New begins a recording on dst, which it does not close.
func New(dst io.Writer, opts Options) (*Writer, error) {
	switch {
	case opts.MaxBytes != 0 && opts.MaxBytes < leastMax:
		return nil, fmt.Errorf("recording: MaxBytes is %d: want 0 for no bound, or %d and more", opts.MaxBytes, leastMax)
	case opts.Buffer < 0:
		return nil, fmt.Errorf("recording: Buffer is %d: want 0 for %d, or a number of bytes", opts.Buffer, defaultBuffer)
	}
	if opts.Buffer == 0 {
		opts.Buffer = defaultBuffer
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	w := &Writer{opts: opts, start: opts.Now(), out: &counted{w: dst}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if !opts.Payloads {
		w.red = newRedactor()
	}
	info := Info{Payloads: opts.Payloads, Transport: opts.Transport, Started: w.start}
	var err error
	if w.sch, err = info.schema(); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	w.w = wire.NewWriter(w.out)
	if err := errors.Join(w.w.Open(w.sch), w.w.Flush()); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	go w.run()
	return w, nil
}

// counted counts what has been written.
type counted struct {
	w io.Writer
	n int64
}

// Write writes p.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Close writes what waits, ends the recording and returns why it is not complete,
// if it is not. Frames that come later are dropped.
func (w *Writer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
	<-w.done
	w.ended.Do(w.finish)
	return w.err
}

// finish writes the last frames.
func (w *Writer) finish() {
	if w.err != nil {
		return
	}
	w.mu.Lock() // taps may still tell of what they drop
	w.left.Rows += w.dropped.Rows
	w.left.Size += w.dropped.Size
	w.mu.Unlock()
	if w.left.Rows > 0 {
		w.frame(Frame{At: w.since(), From: Recorder, Kind: KindDropped, Rows: w.left.Rows, Size: w.left.Size})
	}
	w.frame(Frame{At: w.since(), From: Recorder, Kind: KindFinish})
	if w.err == nil {
		w.err = errors.Join(w.w.Close(), w.w.Flush())
	}
}

func (w *Writer) since() time.Duration { return w.opts.Now().Sub(w.start) }

// connection numbers a connection.
func (w *Writer) connection() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns++
	return w.conns
}

// take asks for room for n bytes of a message.
func (w *Writer) take(n int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.held+n > w.opts.Buffer {
		return false
	}
	w.held += n
	return true
}

func (w *Writer) release(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held -= n
}

// offer puts a frame into the queue, and reports whether there was room. The room
// for its bytes was taken before.
func (w *Writer) offer(f Frame) bool {
	own := f.From == Recorder
	w.mu.Lock()
	room := w.opts.Buffer
	if own {
		room += ownRoom
	}
	ok := !w.closed && w.held+frameCost <= room
	switch {
	case ok:
		w.held += frameCost
		w.queue = append(w.queue, f)
	case own && f.Kind == KindDropped:
		w.dropped.Rows += f.Rows
		w.dropped.Size += f.Size
	case own:
		w.dropped.Rows++
	}
	w.mu.Unlock()
	if ok {
		w.signal()
	}
	return ok
}

func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// run writes what comes, until Close.
func (w *Writer) run() {
	defer close(w.done)
	var batch []Frame
	for {
		<-w.wake
		for {
			w.mu.Lock()
			batch, w.queue = w.queue, batch[:0]
			closed := w.closed
			w.mu.Unlock()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			w.write(batch)
			clear(batch)
		}
	}
}

// write writes frames that were queued, and gives back their room.
func (w *Writer) write(frames []Frame) {
	var held int64
	for _, f := range frames {
		held += frameCost + f.held()
		for _, f := range f.expand() {
			w.record(f)
		}
		if w.w.Pending() >= flushBytes {
			w.flush()
			w.release(held)
			held = 0
		}
	}
	w.flush()
	w.release(held)
}

// held is the room that the frame's bytes took.
func (f *Frame) held() int64 { return int64(len(f.Bytes)) }

// record writes a frame, unless the file is full.
func (w *Writer) record(f Frame) {
	if w.red != nil {
		f = w.red.redact(f)
	}
	if w.opts.MaxBytes > 0 && !w.full {
		size := w.out.n + int64(w.w.Pending()) + int64(len(f.Bytes)) + frameCost
		for _, p := range f.Meta {
			size += int64(len(p.Key) + len(p.Value) + 16)
		}
		if size > w.opts.MaxBytes-3*frameCost { // full, dropped, finish
			w.frame(Frame{At: f.At, From: Recorder, Kind: KindFull})
			w.full = true
		}
	}
	switch {
	case !w.full:
		w.frame(f)
	case f.Kind == KindDropped:
		w.left.Rows += f.Rows
		w.left.Size += f.Size
	default:
		w.left.Rows++
		w.left.Size += f.Size
	}
}

func (w *Writer) frame(f Frame) {
	if w.err != nil {
		return
	}
	b := f.batch(w.sch)
	if err := w.w.Batch(&b); err != nil {
		w.err = fmt.Errorf("recording: %w", err)
	}
}

// flush hands what was collected to the file. After an error nothing more is
// written: the file would not make sense behind half a frame.
func (w *Writer) flush() {
	if w.err == nil {
		if err := w.w.Flush(); err != nil {
			w.err = fmt.Errorf("recording: the file is cut off after %s bytes: %w", strconv.FormatInt(w.out.n, 10), err)
		}
	}
}
