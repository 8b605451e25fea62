package recording

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/wire"
)

// Conn records one connection, or one HTTP request with its response.
type Conn struct {
	w  *Writer
	id int64
}

// Open begins to record a connection.
func (w *Writer) Open() *Conn {
	c := &Conn{w, w.connection()}
	c.own(KindOpen, nil)
	return c
}

// own records something that is no message.
func (c *Conn) own(kind Kind, meta wire.Metadata) {
	c.w.offer(Frame{At: c.w.since(), Conn: c.id, From: Recorder, Kind: kind, Meta: meta})
}

// Fail records that the connection failed, and the kind of the error: its text may
// be the peer's, and is in recordings with payloads alone.
func (c *Conn) Fail(err error) {
	c.own(KindError, wire.Metadata{{Key: MetaClass, Value: classOf(err)}, {Key: MetaError, Value: err.Error()}})
}

// Close records the end of the connection.
func (c *Conn) Close() { c.own(KindClose, nil) }

// Head records the head of an HTTP message. Credentials must not be in it.
func (c *Conn) Head(from Side, meta wire.Metadata) {
	kind := KindRequest
	if from == Server {
		kind = KindResponse
	}
	if !c.w.offer(Frame{At: c.w.since(), Conn: c.id, From: from, Kind: kind, Meta: meta}) {
		c.w.offer(Frame{At: c.w.since(), Conn: c.id, From: Recorder, Kind: KindDropped, Rows: 1})
	}
}

// Tap records one direction of a connection. It is not safe for concurrent use.
// Nothing that it does waits for the file.
type Tap struct {
	c       *Conn
	from    Side
	split   splitter
	taken   int64 // room of the message that has begun
	dropped int64 // messages since the last that was recorded, with their bytes
	lost    int64
	ended   bool
	coding  string
}

// Tap records the bytes that one side sends on a byte stream, which are Arrow IPC
// from the first one on.
func (c *Conn) Tap(from Side) *Tap {
	t := &Tap{c: c, from: from}
	t.split = splitter{bodies: c.w.opts.Payloads, take: t.take, release: t.release, emit: t.emit}
	return t
}

// BodyTap records the body of an HTTP message. coding is its content encoding;
// one that is unknown is recorded as bytes.
func (c *Conn) BodyTap(from Side, arrowBody bool, coding string) *Tap {
	t := c.Tap(from)
	switch {
	case arrowBody && (coding == "" || coding == "identity"):
	case arrowBody && (coding == "gzip" || coding == "zstd"):
		t.coding = coding
		t.split.bodies, t.split.raw = true, true // it is unpacked, and redacted, on the way to the file
	default:
		t.split.raw = true
	}
	return t
}

// Write records bytes that pass. It never fails.
func (t *Tap) Write(p []byte) (int, error) {
	if t.coding != "" {
		t.split.keep(p, true)
		t.split.size += int64(len(p))
		return len(p), nil
	}
	t.split.write(p)
	return len(p), nil
}

// End records that the side sends nothing more, or half a message and the error
// that ended it.
func (t *Tap) End(err error) {
	if t.ended {
		return
	}
	t.ended = true
	t.split.end()
	t.report()
	if err != nil && !errors.Is(err, io.EOF) {
		t.c.Fail(err)
	}
}

// HalfClose records that the side sends nothing more, though the connection is
// still open.
func (t *Tap) HalfClose() {
	t.End(nil)
	t.c.w.offer(Frame{At: t.c.w.since(), Conn: t.c.id, From: t.from, Kind: KindHalfClose})
}

func (t *Tap) take(n int64) bool {
	if !t.c.w.take(n) {
		return false
	}
	t.taken += n
	return true
}

func (t *Tap) release() {
	t.c.w.release(t.taken)
	t.taken = 0
}

// emit queues a message. What was dropped before it is told first.
func (t *Tap) emit(kind Kind, size int64, message []byte) {
	t.report()
	f := Frame{At: t.c.w.since(), Conn: t.c.id, From: t.from, Kind: kind, Size: size, Bytes: message}
	if t.coding != "" {
		f.Kind = codedKind + Kind(t.coding)
		if !t.c.w.opts.Payloads {
			f.Kind = codedRedactedKind + Kind(t.coding)
		}
	}
	wanted := t.split.bodies || kind != KindRaw
	if (message == nil && wanted) || !t.c.w.offer(f) {
		t.release()
		t.dropped++
		t.lost += size
		return
	}
	t.taken = 0 // the queue gives it back
}

// report tells of what was dropped.
func (t *Tap) report() {
	if t.dropped == 0 {
		return
	}
	t.c.w.offer(Frame{At: t.c.w.since(), Conn: t.c.id, From: Recorder, Kind: KindDropped, Rows: t.dropped, Size: t.lost})
	t.dropped, t.lost = 0, 0
}

// Kinds of frames in the queue that stand for a packed body.
const (
	codedKind         = Kind("packed/keep/")
	codedRedactedKind = Kind("packed/redact/")
)

// maxUnpacked bounds a body that is unpacked, in bytes.
const maxUnpacked = 256 << 20

// expand returns the frames that a queued frame stands for.
func (f *Frame) expand() []Frame {
	kind := string(f.Kind)
	var bodies bool
	var coding string
	switch {
	case len(kind) > len(codedKind) && kind[:len(codedKind)] == string(codedKind):
		bodies, coding = true, kind[len(codedKind):]
	case len(kind) > len(codedRedactedKind) && kind[:len(codedRedactedKind)] == string(codedRedactedKind):
		coding = kind[len(codedRedactedKind):]
	default:
		return []Frame{*f}
	}
	var out []Frame
	split := splitter{
		bodies: bodies, take: func(int64) bool { return true }, release: func() {},
		emit: func(kind Kind, size int64, message []byte) {
			out = append(out, Frame{At: f.At, Conn: f.Conn, From: f.From, Kind: kind, Size: size, Bytes: message})
		},
	}
	left, err := unpack(&split, coding, f.Bytes)
	if err != nil || left {
		out = append(out, Frame{At: f.At, Conn: f.Conn, From: Recorder, Kind: KindDropped, Rows: 1, Size: f.Size})
	}
	return out
}

// unpack gives a packed body to split, and reports whether some of it is left
// because it is too large.
func unpack(split *splitter, coding string, body []byte) (left bool, err error) {
	var r io.Reader
	if coding == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return false, err
		}
		r = z
	} else {
		z, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
		if err != nil {
			return false, err
		}
		defer z.Close()
		r = z
	}
	limited := &io.LimitedReader{R: r, N: maxUnpacked}
	_, err = io.Copy(writeFunc(split.write), limited)
	split.end()
	return limited.N == 0, err
}

// writeFunc is a function as an io.Writer that never fails.
type writeFunc func(p []byte)

// Write calls f.
func (f writeFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
