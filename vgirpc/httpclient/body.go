package httpclient

import (
	"bytes"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/wire"
)

// keepBody is the largest request buffer that is used again, in bytes.
const keepBody = 1 << 20

// requestBody is the body of one request. net/http may still be reading it when
// the answer has arrived, so its memory is used again only when the call and
// every reader have let go of it.
type requestBody struct {
	pool  *sync.Pool
	w     *wire.Writer
	plain []byte
	coded []byte // plain as zstd
	zstd  bool   // coded is what is sent
	refs  atomic.Int32
	again func() (io.ReadCloser, error) // for http.Request.GetBody
}

func newRequestBody(pool *sync.Pool) *requestBody {
	b := &requestBody{pool: pool}
	b.w = wire.NewWriter(b)
	b.again = func() (io.ReadCloser, error) { return b.reader(), nil }
	return b
}

// encode writes batch as a complete stream. On an error b must not be used
// again.
func (b *requestBody) encode(batch *wire.Batch) error {
	b.refs.Store(1)
	if err := b.w.Open(batch.Schema); err != nil {
		return err
	}
	if err := b.w.Batch(batch); err != nil {
		return err
	}
	if err := b.w.Close(); err != nil {
		return err
	}
	return b.w.Flush()
}

// compress makes zstd of what was encoded.
func (b *requestBody) compress(enc *zstd.Encoder) {
	b.coded = enc.EncodeAll(b.plain, b.coded[:0])
	b.zstd = true
}

// Write collects what the Writer flushes.
func (b *requestBody) Write(p []byte) (int, error) {
	b.plain = append(b.plain, p...)
	return len(p), nil
}

// WriteBuffers implements [wire.BuffersWriter].
func (b *requestBody) WriteBuffers(parts net.Buffers) (int64, error) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b.plain = slices.Grow(b.plain, n)
	for _, p := range parts {
		b.plain = append(b.plain, p...)
	}
	return int64(n), nil
}

func (b *requestBody) bytes() []byte {
	if b.zstd {
		return b.coded
	}
	return b.plain
}

// smallBody is the size of the largest body that is copied, in bytes.
const smallBody = 4 << 10

// reader returns a reader of b as it is now. It is a new one each time: net/http
// may close one again after its request is over.
//
// A small body is copied into a reader of the standard library's: those net/http
// sends together with the header, and saves a write and a packet.
func (b *requestBody) reader() io.ReadCloser {
	if p := b.bytes(); len(p) <= smallBody {
		return io.NopCloser(bytes.NewReader(bytes.Clone(p)))
	}
	b.refs.Add(1)
	return &bodyReader{body: b, rest: b.bytes()}
}

// release lets go of b once.
func (b *requestBody) release() {
	if b.refs.Add(-1) != 0 || cap(b.plain) > keepBody || cap(b.coded) > keepBody {
		return
	}
	b.plain, b.coded, b.zstd = b.plain[:0], b.coded[:0], false
	b.pool.Put(b)
}

// bodyReader reads a body once. Its methods may be called at once: net/http
// closes a body that it is still reading when a call is cancelled.
type bodyReader struct {
	mu   sync.Mutex
	body *requestBody // nil when closed
	rest []byte
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body == nil {
		return 0, net.ErrClosed
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close lets go of the body. Closing again does nothing.
func (r *bodyReader) Close() error {
	r.mu.Lock()
	b := r.body
	r.body, r.rest = nil, nil
	r.mu.Unlock()
	if b != nil {
		b.release()
	}
	return nil
}
