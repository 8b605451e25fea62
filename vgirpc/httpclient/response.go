package httpclient

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// keepDecoder is the largest response, in bytes, after which a zstd decoder is
// used again: its history is as large.
const keepDecoder = 4 << 20

// ResponseTooLargeError reports a response that was read up to the client's
// limit and no further. It is the cause of a [vgirpc.Error] of that type.
type ResponseTooLargeError struct {
	Limit int64 // Options.MaxResponseBytes
}

// Error names the limit and the option that sets it.
func (e *ResponseTooLargeError) Error() string {
	return fmt.Sprintf("decoded HTTP response exceeds the accepted limit of %d bytes (MaxResponseBytes)", e.Limit)
}

// source is a decoded response body, which gives no more than a limit.
type source struct {
	r   io.Reader
	n   int64 // bytes given
	max int64 // negative: no limit
	err error // after the last byte; io.EOF at a good end
}

// Read implements io.Reader. The end is reported alone, never with the last
// bytes: who stops at those has not seen it.
func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if room := s.max + 1 - s.n; s.max >= 0 && int64(len(p)) > room {
		p = p[:room]
	}
	n, err := s.r.Read(p)
	if s.n += int64(n); s.max >= 0 && s.n > s.max {
		cause := &ResponseTooLargeError{Limit: s.max}
		s.err = &vgirpc.Error{Code: vgirpc.ResourceExhausted, Type: "ResponseTooLargeError", Message: cause.Error(), Cause: cause}
		return 0, s.err
	}
	if s.err = err; n > 0 {
		err = nil
	}
	return n, err
}

// rawBody is a body as it arrives, which remembers why it broke off: a decoder
// over it may call that something else.
type rawBody struct {
	r   io.Reader
	err error // what ended it; io.EOF at a good end
}

// Read implements io.Reader.
func (b *rawBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil {
		b.err = err
	}
	return n, err
}

// lost reports whether the body broke off.
func (b *rawBody) lost() bool {
	return b.err != nil && b.err != io.EOF //nolint:errorlint // io.Reader's contract is identity
}

// reply reads one response. Replies are used again: a schema that was seen
// before needs no decoding, a body of a few kilobytes no new memory.
type reply struct {
	t       *Transport
	resp    *http.Response
	raw     rawBody // of a response that is encoded
	src     source
	rd      *wire.Reader
	zstd    *zstd.Decoder
	gzip    *gzip.Reader
	ended   bool // read to its end, with nothing wrong
	owned   bool // a batch was too large for the reader's own memory
	release func()
}

func newReply(t *Transport) *reply {
	r := &reply{t: t}
	r.rd = wire.NewReader(&r.src, t.limits, &t.schemas)
	r.release = r.put
	return r
}

// open takes a response over.
func (r *reply) open(resp *http.Response) error {
	r.resp, r.ended, r.owned = resp, false, false
	r.src = source{r: resp.Body, max: r.t.limit}
	outer, inner := resp.Header[headerContentEncoding], resp.Header[headerVGIContentEncoding]
	if outer == nil && inner == nil {
		return nil
	}
	r.raw = rawBody{r: resp.Body}
	r.src.r = &r.raw
	if r.t.limit >= 0 {
		// Encoded, a body is hardly larger than decoded: what is, carries
		// padding that decodes to nothing.
		r.src.r = io.LimitReader(&r.raw, r.t.limit+r.t.limit/64+64<<10)
	}
	for _, coding := range slices.Concat(outer, inner) {
		if err := r.decode(strings.ToLower(strings.TrimSpace(coding))); err != nil {
			return err
		}
	}
	return nil
}

// decode puts a decoder of coding over the source.
func (r *reply) decode(coding string) error {
	var err error
	switch {
	case coding == "" || coding == codingIdentity:
		return nil
	case coding == codingZstd && r.zstd == nil:
		if r.zstd, err = r.t.zstdDecoder(); err == nil {
			err = r.zstd.Reset(r.src.r)
		}
		r.src.r = r.zstd
	case (coding == codingGzip || coding == "x-gzip") && r.gzip == nil:
		if r.gzip, _ = r.t.gzips.Get().(*gzip.Reader); r.gzip == nil {
			r.gzip = new(gzip.Reader)
		}
		err = r.gzip.Reset(r.src.r)
		r.src.r = r.gzip
	default:
		return protocolError(nil, "the response has the content coding %q", wire.Clip(coding, 40))
	}
	if err != nil {
		return r.unreadable(err)
	}
	return nil
}

// zstdDecoder returns a decoder that keeps to the limit.
func (t *Transport) zstdDecoder() (*zstd.Decoder, error) {
	if d, ok := t.zstds.Get().(*zstd.Decoder); ok {
		return d, nil
	}
	window := uint64(512 << 20)
	if t.limit >= 0 {
		window = uint64(max(t.limit, 8<<20)) // a small body may come with the usual window
	}
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(min(window, 2<<30)))
}

// put gives back all that the reply holds. What was not read to a good end
// closes its connection.
func (r *reply) put() {
	_ = r.resp.Body.Close() // it has been read, or is not wanted
	r.resp = nil
	if r.zstd != nil {
		if err := r.zstd.Reset(nil); err == nil && r.src.n <= keepDecoder {
			r.t.zstds.Put(r.zstd)
		} else {
			r.zstd.Close()
		}
		r.zstd = nil
	}
	if r.gzip != nil {
		r.t.gzips.Put(r.gzip)
		r.gzip = nil
	}
	r.raw, r.src = rawBody{}, source{}
	if !r.ended || r.owned || r.rd.Buffered() {
		r.rd.Close()
		return
	}
	r.t.replies.Put(r)
}

// stream opens the next stream of the body.
func (r *reply) stream() error {
	if _, err := r.rd.NextStream(); err != nil {
		return r.unreadable(err)
	}
	return nil
}

// next reads to the next batch that is neither a log nor an error. It returns
// io.EOF at the end of the stream.
func (r *reply) next(req *vgirpc.ClientRequest) (*wire.Batch, error) {
	for {
		_, err := r.rd.Announce()
		if err == io.EOF { //nolint:errorlint // the end of the stream, by identity
			return nil, io.EOF
		}
		var b *wire.Batch
		if err == nil {
			b, err = r.rd.Take(wire.Own)
		}
		if err != nil {
			return nil, r.unreadable(err)
		}
		r.owned = r.owned || b.Owned
		switch b.Kind() {
		case wire.KindError:
			return nil, r.remote(b.Meta)
		case wire.KindLog:
			if req.OnLog != nil {
				req.OnLog(r.correlated(b.Meta))
			}
		default:
			return b, nil
		}
	}
}

// correlated is the metadata of a log with the id of the response, where the
// server did not put one in.
func (r *reply) correlated(meta wire.Metadata) wire.Metadata {
	if id := responseID(r.resp); id != "" && !meta.Has(wire.KeyRequestID) {
		return meta.With(wire.KeyRequestID, id)
	}
	return meta
}

// remote is the error of an EXCEPTION batch.
func (r *reply) remote(meta wire.Metadata) error {
	e := vgirpc.RemoteError(meta)
	if e.RequestID == "" {
		e.RequestID = responseID(r.resp)
	}
	if r.rd.Drain() == nil {
		_ = r.finish() // only whether the connection can be used again
	}
	return e
}

// finish reads to the end of the body, so that its connection can be used again
// and a body that broke off is noticed. The last batch stays valid.
func (r *reply) finish() error {
	var p [1]byte
	switch n, err := r.src.Read(p[:]); {
	case n > 0 || r.rd.Buffered():
		return nil // more than was asked for: the connection closes
	case err == io.EOF: //nolint:errorlint // io.Reader's contract is identity
		r.ended = true
		return nil
	case err != nil:
		return r.unreadable(err)
	default:
		return nil
	}
}

// failure reads the error that a response of a status other than 2xx must have.
func (r *reply) failure(req *vgirpc.ClientRequest) error {
	err := r.stream()
	for err == nil {
		_, err = r.next(req)
	}
	if vgirpc.IsRemote(err) {
		return err
	}
	return statusError(r.resp, "an Arrow body without an error", time.Now())
}

// unreadable is the error of a response that cannot be read on.
func (r *reply) unreadable(err error) error {
	var known *vgirpc.Error
	var limit *wire.LimitError
	var busy *wire.BusyError
	var format *wire.FormatError
	switch {
	case errors.As(err, &known):
		return err
	case r.resp.Request.Context().Err() != nil:
		return vgirpc.ContextError(r.resp.Request.Context())
	case errors.As(err, &limit):
		return &vgirpc.Error{Code: vgirpc.ResourceExhausted, Type: "LimitError", Message: limit.Error(), Cause: err}
	case errors.As(err, &busy):
		return &vgirpc.Error{
			Code: vgirpc.ResourceExhausted, Type: "BusyError", Message: busy.Error(), Cause: err,
			Details: []vgirpc.Detail{vgirpc.RetryInfo{RetryDelaySeconds: 1}},
		}
	case r.raw.lost():
		return brokenOff(r.raw.err)
	case errors.As(err, &format), r.gzip != nil, r.zstd != nil, err == io.EOF, //nolint:errorlint // an empty body, by identity
		errors.Is(err, wire.ErrTruncated) && r.src.err == io.EOF: //nolint:errorlint // the body was complete
		return protocolError(err, "the response cannot be read: %v", err)
	default:
		return brokenOff(err)
	}
}

// pools are what calls use again.
type pools struct {
	bodies, replies, zstds, gzips sync.Pool
}
