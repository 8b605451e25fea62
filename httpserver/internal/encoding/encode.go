package encoding

import (
	"fmt"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// encodeWindow is how far back our zstd frames look, in bytes: that of the
// reference library at level 1. Both sides need that much memory.
const encodeWindow = 512 << 10

// gzipLevel is the level at which we write gzip.
const gzipLevel = 6

// zstdOptions are those of every zstd encoder here: level 1 and no checksum,
// which TCP and TLS make redundant.
func zstdOptions(more ...zstd.EOption) []zstd.EOption {
	return append([]zstd.EOption{
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(encodeWindow),
	}, more...)
}

// output is a writer that appends, and so cannot fail.
type output struct{ p []byte }

func (o *output) Write(p []byte) (int, error) {
	o.p = append(o.p, p...)
	return len(p), nil
}

// take returns what was written and forgets it.
func (o *output) take() []byte {
	p := o.p
	o.p = nil
	return p
}

type zstdWriter struct {
	out output
	enc *zstd.Encoder
}

type gzipWriter struct {
	out output
	enc *gzip.Writer
}

func newZstdWriter() (*zstdWriter, error) {
	// One goroutine, the caller's.
	enc, err := zstd.NewWriter(nil, zstdOptions(zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		return nil, fmt.Errorf("zstd encoder: %w", err)
	}
	return &zstdWriter{enc: enc}, nil
}

func newGzipWriter() (*gzipWriter, error) {
	enc, err := gzip.NewWriterLevel(nil, gzipLevel)
	if err != nil {
		return nil, fmt.Errorf("gzip encoder: %w", err)
	}
	return &gzipWriter{enc: enc}, nil
}

// Encode appends src in coding c to dst and returns the extended slice. zstd
// frames carry their content's size. With room enough in dst it does not
// allocate once the codecs are warm. It keeps neither slice.
func (k *Codings) Encode(dst []byte, c Coding, src []byte) []byte {
	switch c {
	case Zstd:
		return sized(k.zstdAll.EncodeAll(src, dst), len(dst), len(src))
	case Gzip:
		w := k.gzipWriter(dst)
		_, _ = w.enc.Write(src) // an output takes every write
		return k.closeGzip(w)
	default:
		return append(dst, src...)
	}
}

// EncodeParts is Encode for a body in parts, which become one frame or member.
// They are not joined first.
func (k *Codings) EncodeParts(dst []byte, c Coding, parts [][]byte) []byte {
	switch c {
	case Zstd:
		return k.zstdParts(dst, parts)
	case Gzip:
		w := k.gzipWriter(dst)
		for _, p := range parts {
			_, _ = w.enc.Write(p) // an output takes every write
		}
		return k.closeGzip(w)
	default:
		for _, p := range parts {
			dst = append(dst, p...)
		}
		return dst
	}
}

func (k *Codings) zstdParts(dst []byte, parts [][]byte) []byte {
	var size, filled int
	var last []byte
	for _, p := range parts {
		if len(p) > 0 {
			size, filled, last = size+len(p), filled+1, p
		}
	}
	if filled <= 1 {
		return sized(k.zstdAll.EncodeAll(last, dst), len(dst), len(last))
	}
	w := k.zstdWriters.Get().(*zstdWriter)
	w.out.p = dst
	w.enc.ResetContentSize(&w.out, int64(size))
	for _, p := range parts {
		_, _ = w.enc.Write(p) // an output takes every write
	}
	_ = w.enc.Close() // it checks the size, which was counted above
	encoded := sized(w.out.take(), len(dst), size)
	k.zstdWriters.Put(w)
	return encoded
}

// sized gives the zstd frame that begins at an offset of p its content's size,
// which the encoder leaves out below 256 bytes: there a frame has either a
// window descriptor or, as a single segment, one byte of content size (RFC
// 8878, section 3.1.1.1). Both are one byte in the same place.
func sized(p []byte, offset, size int) []byte {
	const descriptor, next, singleSegment = 4, 5, 1 << 5
	if f := p[offset:]; size < 256 && f[descriptor] == 0 {
		f[descriptor], f[next] = singleSegment, byte(size)
	}
	return p
}

func (k *Codings) gzipWriter(dst []byte) *gzipWriter {
	w := k.gzipWriters.Get().(*gzipWriter)
	w.out.p = dst
	w.enc.Reset(&w.out)
	return w
}

func (k *Codings) closeGzip(w *gzipWriter) []byte {
	_ = w.enc.Close() // an output takes every write
	dst := w.out.take()
	k.gzipWriters.Put(w)
	return dst
}
