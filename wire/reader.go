package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// Read buffer sizes of a connection, in bytes: it starts small, so that an idle
// connection costs little, and grows when reads fill it.
const (
	minReadBuffer = 4 << 10
	maxReadBuffer = 64 << 10
)

// Lifetime says who will hold the memory of a batch's columns.
type Lifetime uint8

const (
	// Borrow reads into memory that the Reader uses again: valid until its
	// next use.
	Borrow Lifetime = iota
	// Own reads into memory that is never used again, where the batch is
	// large enough for that to be worth it (see Batch.Owned).
	Own
	// InPlace leaves the values where the source has them, when that is a [Lender]
	// which lends the body; otherwise, and for a compressed body, it is Borrow. It
	// counts against no budget. Whoever else has the memory may change the values
	// at any time, and nothing but the values.
	InPlace
)

// Lender is a source of a [Reader] whose bytes need not be copied.
type Lender interface {
	io.Reader
	// Lend returns the n bytes that begin back bytes before the next one to be
	// read, and goes on behind them. It returns nil, and does nothing, when they
	// have to be read: the values in them must be aligned.
	Lend(back, n int64) []byte
}

// Reader reads consecutive IPC streams from one connection. It is not safe for
// concurrent use.
//
// [Reader.NextStream] opens the next stream, [Reader.Next] reads its batches.
// A refusal that leaves the connection usable (see [InStep]) is followed by
// [Reader.Drain].
type Reader struct {
	src    io.Reader
	limits Limits
	cache  *SchemaCache

	buf  []byte // input read but not consumed: buf[r:w]
	r, w int
	err  error // of src, once buf is empty

	schema    *Schema // of the open stream, nil between streams
	failed    error   // the stream can only be drained
	hdr       header
	hdrBuf    []byte
	pending   int64 // bytes of the announced body that were not read
	discarded int64 // bytes thrown away in this stream

	store  bodyStore
	batch  Batch
	held   int64 // bytes taken from the budget
	dicts  dictionaries
	others *otherReader

	consumed int64
}

// NewReader returns a Reader of src. cache may be shared by many connections;
// nil gives the Reader one of its own.
func NewReader(src io.Reader, limits Limits, cache *SchemaCache) *Reader {
	if cache == nil {
		cache = &SchemaCache{}
	}
	return &Reader{src: src, limits: limits.withDefaults(), cache: cache, store: bodyStore{budget: limits.Budget}}
}

// Consumed is the number of bytes read from the connection's streams so far.
func (r *Reader) Consumed() int64 { return r.consumed }

// Buffered reports whether input has arrived that was not consumed.
func (r *Reader) Buffered() bool { return r.w > r.r }

// NextStream opens the next stream and returns its schema. At a clean end of
// the connection it returns io.EOF.
func (r *Reader) NextStream() (*Schema, error) {
	if r.schema != nil || r.failed != nil {
		return nil, errors.New("wire: NextStream while a stream is open")
	}
	r.release()
	poison(r.store.cur)
	r.shrink()
	if err := r.fill(1); err != nil {
		return nil, err // io.EOF: nothing of a stream has been read
	}
	r.discarded = 0
	n, err := r.prefix()
	if err != nil {
		return nil, r.fatal(err)
	}
	if n == 0 {
		return nil, r.fatal(formatErrorf("stream", "ends before its schema"))
	}
	message, err := r.metadata(n)
	if err != nil {
		return nil, r.fatal(err)
	}
	schema, err := r.cache.lookup(message)
	if err != nil {
		return nil, r.fatal(err)
	}
	if schema != r.batch.Schema {
		r.batch = Batch{Schema: schema}
	}
	r.schema = schema
	r.dicts.reset()
	r.others = nil
	return schema, nil
}

// Next reads the next batch into borrowed memory. It returns io.EOF at the end
// of the stream.
func (r *Reader) Next() (*Batch, error) {
	if _, err := r.Announce(); err != nil {
		return nil, err
	}
	return r.Take(Borrow)
}

// Announce reads the header of the next batch and returns its metadata, before
// its body is read; [Reader.Take] follows. It returns io.EOF at the end of the
// stream, which is thereby closed. Where a body is refused for its size, the
// metadata is returned beside the error.
func (r *Reader) Announce() (Metadata, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	if r.schema == nil {
		return nil, errors.New("wire: Announce without an open stream")
	}
	r.release()
	poison(r.store.cur)
	for {
		n, err := r.prefix()
		if err != nil {
			return nil, r.fatal(err)
		}
		if n == 0 {
			r.schema = nil
			r.store.settle()
			return nil, io.EOF
		}
		if err := r.header(n); err != nil {
			return r.hdr.meta, err
		}
		switch r.hdr.kind {
		case headerBatch:
			return r.hdr.meta, nil
		case headerDictionary:
			if err := r.dictionary(); err != nil {
				return nil, r.refuse(err)
			}
		default:
			return nil, r.fatal(formatErrorf("stream", "a second schema"))
		}
	}
}

// header reads and parses one message header of n bytes and announces its body.
func (r *Reader) header(n int) error {
	if err := r.parseHeader(n); err != nil {
		return r.fatal(err)
	}
	if r.pending > r.limits.MaxMessageBytes {
		return r.refuse(&LimitError{
			Limit: "MaxMessageBytes", What: "message body", Got: r.pending, Max: r.limits.MaxMessageBytes, InStep: true,
		})
	}
	return nil
}

// parseHeader reads one message header. A header of the same bytes as the last
// one, which is what equal calls and ticks send, needs no parsing: what was
// parsed does not change.
func (r *Reader) parseHeader(n int) error {
	message, err := r.metadata(n)
	if err != nil {
		r.hdr, r.hdrBuf = header{}, r.hdrBuf[:0]
		return err
	}
	if b := message[prefixBytes:]; len(r.hdrBuf) != len(b) || !bytes.Equal(r.hdrBuf, b) {
		r.hdrBuf = append(r.hdrBuf[:0], b...)
		if err := r.hdr.parse(r.hdrBuf); err != nil {
			r.hdrBuf = r.hdrBuf[:0]
			r.hdr.meta = nil
			return err
		}
	}
	r.pending = r.hdr.bodyLen
	return nil
}

// Take reads the body of the announced batch. The result is valid until the
// Reader's next use, or longer when it is Owned.
func (r *Reader) Take(life Lifetime) (*Batch, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	n := r.pending
	if r.hdr.rows < 0 || r.hdr.rows > math.MaxInt32 {
		return nil, r.refuse(batchErrorf("record batch", "%d rows: at most %d are accepted", r.hdr.rows, math.MaxInt32))
	}
	b := &r.batch
	b.Rows, b.Meta = int(r.hdr.rows), r.hdr.meta
	b.Owned, b.body = life == Own && n > smallBody, nil
	var mem []byte
	if life == InPlace && r.hdr.compression == compressionNone {
		mem = r.lent(n)
	}
	shared := mem != nil
	if mem == nil {
		if err := r.acquire(n); err != nil {
			return nil, r.refuse(err)
		}
		var err error
		if mem, err = r.bodyBytes(b, n); err != nil {
			return nil, r.fatal(err)
		}
	}
	if err := r.columns(b, mem, shared); err != nil {
		return nil, r.refuse(err)
	}
	return b, nil
}

// Skip throws the body of the announced batch away.
func (r *Reader) Skip() error {
	if err := r.discard(r.pending); err != nil {
		return r.fatal(err)
	}
	r.pending = 0
	return nil
}

// Drain reads the open stream to its end and throws it away. It returns nil
// when the connection is in step again, also when no stream was open. The last
// batch stays valid.
func (r *Reader) Drain() error {
	if r.schema == nil {
		return r.failed
	}
	if r.failed != nil && !InStep(r.failed) {
		return r.failed
	}
	if r.failed != nil {
		r.failed = nil
		r.release()
	}
	for {
		if err := r.discard(r.pending); err != nil {
			return r.fatal(err)
		}
		r.pending = 0
		n, err := r.prefix()
		if err != nil {
			return r.fatal(err)
		}
		if n == 0 {
			r.schema = nil
			return nil
		}
		if err := r.parseHeader(n); err != nil {
			return r.fatal(err)
		}
	}
}

// Reset makes the Reader read from src, as a new one would. It keeps its memory
// and what it remembers of headers; batches that it lent are no longer valid.
func (r *Reader) Reset(src io.Reader) {
	r.release()
	poison(r.store.cur)
	r.store.settle()
	r.src, r.r, r.w, r.err = src, 0, 0, nil
	r.schema, r.failed, r.others = nil, nil, nil
	r.pending, r.discarded, r.consumed = 0, 0, 0
	r.dicts.reset()
}

// Close gives back what the Reader holds: its share of a budget, and memory. The
// source is not closed; the Reader must not be used again.
func (r *Reader) Close() {
	r.release()
	r.store.drop()
}

// acquire takes n bytes from the budget until the next release.
func (r *Reader) acquire(n int64) error {
	if n <= smallBody {
		return nil
	}
	if err := r.limits.Budget.Acquire(n); err != nil {
		return err
	}
	r.held += n
	return nil
}

func (r *Reader) release() {
	if r.held != 0 {
		r.limits.Budget.Release(r.held)
		r.held = 0
	}
}

// refuse makes the stream good only for draining.
func (r *Reader) refuse(err error) error {
	r.release()
	r.failed = err
	return err
}

// fatal makes the connection unusable.
func (r *Reader) fatal(err error) error {
	r.release()
	if err == io.EOF { //nolint:errorlint // the source's own end, not a wrapped one
		err = ErrTruncated
	}
	if f, ok := errors.AsType[*FormatError](err); ok {
		f.InStep = false
	}
	r.failed = err
	return err
}

// prefix reads the eight bytes before a message and returns the length of its
// metadata; 0 is the end of the stream.
func (r *Reader) prefix() (int, error) {
	if err := r.fill(prefixBytes); err != nil {
		return 0, err
	}
	p := r.buf[r.r:]
	if binary.LittleEndian.Uint32(p) != continuation {
		return 0, formatErrorf("message prefix", "% x is not an IPC continuation marker", p[:4])
	}
	n := int32(binary.LittleEndian.Uint32(p[4:]))
	switch {
	case n == 0:
		r.advance(prefixBytes)
	case n < 8:
		return 0, formatErrorf("message prefix", "metadata length is %d", n)
	case int64(n) > r.limits.MaxSchemaBytes:
		return 0, &LimitError{Limit: "MaxSchemaBytes", What: "message metadata", Got: int64(n), Max: r.limits.MaxSchemaBytes}
	}
	return int(n), nil
}

// metadata reads a whole encapsulated message header: prefix and n bytes. The
// result is valid until the next read.
func (r *Reader) metadata(n int) ([]byte, error) {
	total := prefixBytes + n
	if total <= maxReadBuffer {
		if err := r.fill(total); err != nil {
			return nil, err
		}
		message := r.buf[r.r : r.r+total]
		r.advance(total)
		return message, nil
	}
	return r.readGrowing(int64(total))
}

// fill makes at least n bytes, n <= maxReadBuffer, available in the buffer. It
// returns io.EOF when the source ended before the first of them, and
// ErrTruncated when it ended later.
func (r *Reader) fill(n int) error {
	if r.w-r.r >= n {
		return nil
	}
	r.makeRoom(n)
	for r.w-r.r < n {
		if r.err != nil {
			return r.sourceError()
		}
		got, err := r.src.Read(r.buf[r.w:])
		r.w += got
		r.err = err
		if got < 0 || r.w > len(r.buf) {
			return fmt.Errorf("wire: reader returned %d bytes", got)
		}
	}
	return nil
}

func (r *Reader) sourceError() error {
	if r.err != io.EOF { //nolint:errorlint // io.Reader's contract is identity
		return r.err
	}
	if r.w == r.r && r.schema == nil {
		return io.EOF
	}
	return ErrTruncated
}

// truncated is why a body did not arrive whole.
func (r *Reader) truncated() error {
	if r.err != io.EOF { //nolint:errorlint // io.Reader's contract is identity
		return r.err
	}
	return ErrTruncated
}

// makeRoom prepares the buffer for n more bytes in all, and grows it when the
// last read filled it.
func (r *Reader) makeRoom(n int) {
	size := max(len(r.buf), minReadBuffer)
	if r.w == len(r.buf) && len(r.buf) > 0 && size < maxReadBuffer {
		size *= 2
	}
	for size < n {
		size *= 2
	}
	if size != len(r.buf) {
		next := make([]byte, size)
		r.w = copy(next, r.buf[r.r:r.w])
		r.buf, r.r = next, 0
		return
	}
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
}

// shrink starts over in an empty buffer between streams, and lets go of a header
// of unusual size.
func (r *Reader) shrink() {
	if r.r == r.w {
		r.r, r.w = 0, 0
	}
	if cap(r.hdrBuf) > maxReadBuffer {
		r.hdrBuf, r.hdr = nil, header{}
	}
}

func (r *Reader) advance(n int) {
	r.r += n
	r.consumed += int64(n)
}

// readFull reads len(p) bytes: what is buffered first, the rest directly.
func (r *Reader) readFull(p []byte) error {
	n := copy(p, r.buf[r.r:r.w])
	r.advance(n)
	for n < len(p) {
		if r.err != nil {
			return r.truncated()
		}
		got, err := r.src.Read(p[n:])
		n += got
		r.consumed += int64(got)
		r.err = err
	}
	return nil
}

// lent is a body of n bytes where the source has it, or nil. What was read of it
// already is forgotten.
func (r *Reader) lent(n int64) []byte {
	l, ok := r.src.(Lender)
	if !ok || n == 0 {
		return nil
	}
	mem := l.Lend(int64(r.w-r.r), n)
	if mem != nil {
		r.pending, r.consumed = 0, r.consumed+n
		r.r, r.w, r.err = 0, 0, nil
	}
	return mem
}

// bodyBytes reads the n bytes of b's body: into fresh memory when b is Owned,
// else into the connection's own.
func (r *Reader) bodyBytes(b *Batch, n int64) ([]byte, error) {
	r.pending = 0
	if n == 0 {
		return nil, nil
	}
	if b.Owned {
		return r.readGrowing(n)
	}
	if b.body = r.store.find(int(n)); b.body != nil {
		return b.body.buf, r.readFull(b.body.buf)
	}
	buf, err := r.readGrowing(n)
	if err == nil {
		b.body = r.store.set(buf)
	}
	return buf, err
}

// readGrowing reads n bytes into fresh memory, of which it takes no more than
// firstGrowth, or growth times what has arrived: what is announced and never
// comes must not cost memory.
func (r *Reader) readGrowing(n int64) ([]byte, error) {
	buf, have := make([]byte, min(n, firstGrowth)), 0
	for {
		if err := r.readFull(buf[have:]); err != nil || int64(len(buf)) == n {
			return buf, err
		}
		have = len(buf)
		next := make([]byte, min(n, growth*int64(have)))
		copy(next, buf)
		buf = next
	}
}

// discard throws n bytes away, within the stream's allowance.
func (r *Reader) discard(n int64) error {
	if r.discarded += n; r.discarded > r.limits.MaxDiscardBytes {
		return &LimitError{
			Limit: "MaxDiscardBytes", What: "refused stream", Got: r.discarded, Max: r.limits.MaxDiscardBytes,
		}
	}
	for n > 0 {
		if r.r == r.w {
			r.r, r.w = 0, 0
			if n > int64(len(r.buf)) && len(r.buf) < maxReadBuffer {
				r.buf = make([]byte, maxReadBuffer)
			}
			if err := r.fill(1); err != nil {
				return err
			}
		}
		k := min(n, int64(r.w-r.r))
		r.advance(int(k))
		n -= k
	}
	return nil
}

// Ready waits until the first byte of the next stream is there, or the source's
// read deadline passes. It reports whether there is something to read; an end
// of the connection is.
func (r *Reader) Ready() (bool, error) {
	err := r.fill(1)
	if err == nil || err == io.EOF { //nolint:errorlint // identity: between streams
		return true, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.err = nil
		return false, nil
	}
	return false, err
}
