package seal

import (
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// How a payload is coded inside the seal: its first byte.
const (
	codecRaw  byte = 0
	codecZstd byte = 1
)

const (
	// maxPayload bounds what a payload may decompress to, in bytes (WIRE_PROTOCOL
	// section 10). It was authenticated before, so this guards against a fault of
	// this program, not against an attacker.
	maxPayload = 64 << 20

	// minCompress is the shortest payload for which compression is tried, in
	// bytes. The frame around a compressed one takes a dozen, and what is shorter
	// hardly repeats itself.
	minCompress = 64
)

// Codecs without input or output of their own: they hold no goroutines. The
// fastest level makes tokens as small as the next one, within a percent, from a
// quarter of the memory.
var (
	encoders = sync.Pool{New: func() any {
		e, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithEncoderLevel(zstd.SpeedFastest)) // fails on wrong options only
		return e
	}}
	decoders = sync.Pool{New: func() any {
		d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPayload))
		return d
	}}
)

// pack appends the codec and payload, compressed if that makes it shorter. dst
// has room for the codec and the payload as it is.
func pack(dst, payload []byte) []byte {
	dst = append(dst, codecRaw)
	if len(payload) < minCompress || len(payload) > maxPayload { // what is longer would not open again
		return append(dst, payload...)
	}
	e := encoders.Get().(*zstd.Encoder)
	packed := e.EncodeAll(payload, dst[len(dst):])
	encoders.Put(e)
	if len(packed) >= len(payload) {
		return append(dst, payload...)
	}
	dst[len(dst)-1] = codecZstd
	return append(dst, packed...) // onto itself, unless the encoder took more room on its way
}

// unpack undoes [pack] for buf from start on.
func unpack(buf []byte, start int) ([]byte, error) {
	payload := buf[start+1:]
	switch buf[start] {
	case codecRaw:
		n := copy(buf[start:], payload)
		return buf[:start+n], nil
	case codecZstd:
		return expand(buf[:start], payload)
	default:
		return nil, ErrOpen
	}
}

// scratch holds compressed payloads while their place is needed for the
// decompressed ones.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// maxScratch is the largest buffer that is kept, in bytes.
const maxScratch = 64 << 10

// expand appends the decompressed payload, which lies in dst's spare room, to dst.
func expand(dst, payload []byte) ([]byte, error) {
	if len(payload) == 0 { // the decoder takes nothing for nothing; pack does not make it
		return nil, ErrOpen
	}
	buf := scratch.Get().(*[]byte)
	*buf = append((*buf)[:0], payload...)
	d := decoders.Get().(*zstd.Decoder)
	out, err := d.DecodeAll(*buf, dst[len(dst):])
	decoders.Put(d)
	if cap(*buf) <= maxScratch {
		scratch.Put(buf)
	}
	if err != nil {
		return nil, ErrOpen
	}
	if len(dst) == 0 {
		return out, nil
	}
	return append(slices.Grow(dst, len(out)), out...), nil
}
