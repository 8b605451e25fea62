package encoding

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxWindow is the largest window that a zstd frame may ask for, in bytes:
	// what RFC 9659 allows a content coding.
	maxWindow = 8 << 20
	// keepWindow is the largest window whose memory goes back to the pool.
	keepWindow = 2 << 20
	// sourceBuffer is how much of an encoded body is read ahead, in bytes.
	sourceBuffer = 16 << 10
)

// errEmpty is the cause where a body without a byte claims a coding: neither
// zstd nor gzip has such a form.
var errEmpty = fmt.Errorf("empty body: %w", io.ErrUnexpectedEOF)

// source is the encoded body. It remembers why it ended, because decoders
// report a lost connection as if the data were damaged, or do not report it at
// all.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.err = err
	return n, err
}

// stream is a pooled decoder with what it reads from.
type stream struct {
	source source
	buf    *bufio.Reader // over source
	zstd   *zstd.Decoder // over buf; one of the two is set
	gzip   *gzip.Reader  // over buf
	giant  bool          // it holds more memory than the pool wants
	most   int64         // the limit on what is decoded, 0 for none
}

func newStream() *stream {
	s := &stream{}
	s.buf = bufio.NewReaderSize(&s.source, sourceBuffer)
	return s
}

func newZstdStream() (*stream, error) {
	s := newStream()
	var err error
	s.zstd, err = zstd.NewReader(nil,
		// One goroutine, the caller's, which decodes no more than it is asked for.
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		// In a stream this bounds the window, which is what takes memory.
		zstd.WithDecoderMaxMemory(maxWindow),
	)
	if err != nil {
		return nil, fmt.Errorf("zstd decoder: %w", err)
	}
	return s, nil
}

func newGzipStream() (*stream, error) {
	s := newStream()
	s.gzip = new(gzip.Reader)
	return s, nil
}

// open makes src the body. It reads nothing.
func (s *stream) open(src io.Reader, most int64) {
	s.source = source{r: src}
	s.buf.Reset(&s.source)
	s.giant, s.most = false, most
}

// rest lets go of the body, and reports whether the stream may serve another.
// Without a source, a decoder keeps nothing of a body but its window, into
// which the next frame cannot reach.
func (s *stream) rest() bool {
	s.source = source{}
	s.buf.Reset(&s.source)
	if s.zstd == nil {
		return true
	}
	if s.giant {
		s.zstd.Close()
		return false
	}
	return s.zstd.Reset(nil) == nil
}

// start reads the beginning of the body.
func (s *stream) start() error {
	if _, err := s.buf.Peek(1); err != nil {
		return errEmpty // or the source's own error, which goes first
	}
	if s.gzip != nil {
		return s.member()
	}
	if err := s.inspect(); err != nil {
		return err
	}
	return s.zstd.Reset(s.buf)
}

// inspect looks at the first frame's header and refuses what it says is too
// large, before a window is allocated for it. What the header does not say, or
// says wrongly, the decoder and the count of its bytes find out.
func (s *stream) inspect() error {
	head, _ := s.buf.Peek(zstd.HeaderMaxSize) // a short frame has fewer
	var h zstd.Header
	_ = h.Decode(head) // the decoder says better what is wrong with it
	if s.most > 0 && h.HasFCS && h.FrameContentSize > uint64(s.most) {
		return &TooLargeError{Limit: s.most, Decoded: true}
	}
	s.giant = h.WindowSize > keepWindow || (h.SingleSegment && h.FrameContentSize > keepWindow)
	return nil
}

// member begins a member of a gzip body, of which at least one byte is there.
// Members are told apart here because the library takes one whose header is
// cut short within its name or comment for the end of the body.
func (s *stream) member() error {
	err := s.gzip.Reset(s.buf)
	if err == io.EOF { //nolint:errorlint // see body.explain
		return io.ErrUnexpectedEOF
	}
	s.gzip.Multistream(false)
	return err
}

func (s *stream) read(p []byte) (int, error) {
	if s.zstd != nil {
		return s.zstd.Read(p)
	}
	for {
		n, err := s.gzip.Read(p)
		if err != io.EOF { //nolint:errorlint // see body.explain
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		if _, more := s.buf.Peek(1); more != nil {
			return 0, err
		}
		if err := s.member(); err != nil {
			return 0, err
		}
	}
}

// Reader is the decoded body of one request. It is for one goroutine. After
// the first error, io.EOF included, every read returns that error.
type Reader struct {
	body  body
	limit limit
}

// NewReader returns the decoded form of src, whose coding is c. It delivers no
// more than most bytes; 0 or less is no limit. Reads report a body that goes on
// past the limit as a *TooLargeError with Decoded set, after the last byte that
// fits; a zstd frame that declares so is refused at once. Damaged, truncated
// and empty bodies, bytes after the last frame, and zstd frames that need a
// window over 8 MiB or a dictionary are a *CorruptError. Concatenated frames
// and members are one body. Errors of src itself are returned as they are.
//
// Nothing is read before the first Read. The caller closes the Reader and
// remains the owner of src.
func (k *Codings) NewReader(src io.Reader, c Coding, most int64) *Reader {
	r := &Reader{body: body{codings: k, coding: c}, limit: newLimit(most, true)}
	switch c {
	case Zstd:
		r.body.stream = k.zstdStreams.Get().(*stream)
	case Gzip:
		r.body.stream = k.gzipStreams.Get().(*stream)
	default:
		r.body.plain = src
		return r
	}
	r.body.stream.open(src, r.limit.most)
	return r
}

// Read reads decoded bytes.
func (r *Reader) Read(p []byte) (int, error) { return r.limit.read(&r.body, p) }

// errClosed is what reads after Close return.
var errClosed = errors.New("read of a closed body")

// Close gives the decoder back, from which this Reader reads no more. It does
// not close the body, and does not fail. A second Close does nothing.
func (r *Reader) Close() error {
	s := r.body.stream
	r.body.stream, r.body.plain, r.limit.err = nil, nil, errClosed
	switch {
	case s == nil || !s.rest():
	case s.zstd != nil:
		r.body.codings.zstdStreams.Put(s)
	default:
		r.body.codings.gzipStreams.Put(s)
	}
	return nil
}

// body is a body without its limit.
type body struct {
	codings *Codings
	coding  Coding
	stream  *stream   // nil for Identity, and after Close
	plain   io.Reader // the body itself for Identity
	started bool
}

// Read reads decoded bytes, and gives errors their type.
func (b *body) Read(p []byte) (n int, err error) {
	if b.stream == nil {
		return b.plain.Read(p)
	}
	if !b.started {
		b.started = true
		err = b.stream.start()
	}
	if err == nil {
		n, err = b.stream.read(p)
	}
	if err == nil {
		return n, nil
	}
	return n, b.explain(err)
}

// explain turns a decoder's error into ours. The source's own error goes first:
// it is the cause of whatever the decoder made of it. Ends are compared and not
// searched for, because an error that wraps io.EOF is a body cut short.
func (b *body) explain(err error) error {
	switch from := b.stream.source.err; {
	case from != nil && from != io.EOF: //nolint:errorlint // as above
		return from
	case err == io.EOF: //nolint:errorlint // as above
		return err
	}
	if tooLarge := (*TooLargeError)(nil); errors.As(err, &tooLarge) {
		return err
	}
	return &CorruptError{Coding: b.coding, Cause: err}
}

// Limit returns src up to most bytes, as they are sent: a body that goes on is
// a *TooLargeError without Decoded, after its first most bytes. 0 or less is no
// limit, and returns src.
func Limit(src io.Reader, most int64) io.Reader {
	if most <= 0 {
		return src
	}
	return &limited{src: src, limit: newLimit(most, false)}
}

type limited struct {
	src   io.Reader
	limit limit
}

func (l *limited) Read(p []byte) (int, error) { return l.limit.read(l.src, p) }

// limit counts what is read, and keeps the error that ended it.
type limit struct {
	most, left int64
	decoded    bool
	err        error
}

func newLimit(most int64, decoded bool) limit {
	if most <= 0 {
		return limit{left: math.MaxInt64, decoded: decoded}
	}
	return limit{most: most, left: most, decoded: decoded}
}

func (l *limit) read(src io.Reader, p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if int64(len(p))-1 > l.left {
		// One byte over the limit tells a body that ends there from one that
		// goes on.
		p = p[:l.left+1]
	}
	n, err := src.Read(p)
	if int64(n) > l.left {
		n, err = int(l.left), &TooLargeError{Limit: l.most, Decoded: l.decoded}
	}
	l.left -= int64(n)
	l.err = err
	return n, err
}
