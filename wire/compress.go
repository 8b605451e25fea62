package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// decompress expands one compressed buffer: eight bytes of expanded length,
// then the compressed bytes; a length of -1 says that they are not compressed
// (Arrow columnar format, "Compression"). Memory is taken as bytes come out,
// and the batch as a whole may not grow past MaxMessageBytes.
func (s *columnScan) decompress(l *layout, p []byte) ([]byte, error) {
	if len(p) < 8 {
		return nil, batchErrorf(l.field, "compressed buffer of %d bytes", len(p))
	}
	n, p := int64(binary.LittleEndian.Uint64(p)), p[8:]
	if n == -1 {
		return p, nil
	}
	if n < 0 {
		return nil, batchErrorf(l.field, "compressed buffer claims %d bytes", n)
	}
	if n > s.budget {
		return nil, &LimitError{
			Limit: "MaxMessageBytes", What: "decompressed batch", Got: n, Max: s.budget, InStep: true,
		}
	}
	if err := s.reader.acquire(n); err != nil {
		return nil, err
	}
	s.budget -= n
	out, err := expand(s.compression, p, n)
	if err != nil {
		return nil, batchErrorf(l.field, "%v", err)
	}
	if int64(len(out)) != n {
		return nil, batchErrorf(l.field, "compressed buffer claims %d bytes and holds another number", n)
	}
	return out, nil
}

// maxWindow bounds what a zstd frame may ask to look back, in bytes: what
// encoders use at their highest ordinary level, with room to spare.
const maxWindow = 32 << 20

// expand decompresses p and stops one byte past n.
func expand(c compression, p []byte, n int64) ([]byte, error) {
	var src io.Reader
	switch c {
	case compressionZstd:
		d, err := zstd.NewReader(bytes.NewReader(p), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		src = d
	case compressionLZ4:
		src = lz4.NewReader(bytes.NewReader(p))
	default:
		return nil, errors.New("unknown compression codec")
	}
	var out bytes.Buffer
	out.Grow(int(min(n, firstGrowth)))
	if _, err := io.Copy(&out, io.LimitReader(src, n+1)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
