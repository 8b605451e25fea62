//go:build !race

// The race detector makes pools forget what they are given, so that allocations
// are counted without it.

package encoding_test

import (
	"bytes"
	"net/http"
	"runtime"
	"testing"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
)

func TestNegotiatingDoesNotAllocate(t *testing.T) {
	k := codings(t, encoding.Options{})
	for name, h := range map[string]http.Header{
		"no header":        {},
		"identity":         header("X-VGI-Accept-Encoding", "identity", "Accept-Encoding", "identity"),
		"zstd":             header("X-VGI-Accept-Encoding", "zstd"),
		"a library's list": header("Accept-Encoding", "gzip, deflate, br, zstd"),
		"both with q":      header("X-VGI-Accept-Encoding", "zstd;q=1, gzip", "Accept-Encoding", "br;q=0.5, gzip;q=0"),
	} {
		if n := testing.AllocsPerRun(100, func() { k.Negotiate(h) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	requests := []http.Header{{}, header("Content-Encoding", "zstd"), header("Content-Encoding", "identity")}
	for _, h := range requests {
		if n := testing.AllocsPerRun(100, func() { _, _ = k.Requested(h) }); n != 0 {
			t.Errorf("request %v: %v allocations", h, n)
		}
	}
}

func TestEncodingIntoRoomDoesNotAllocate(t *testing.T) {
	k := codings(t, encoding.Options{})
	for _, size := range []int{300, 50 << 10, 1 << 20} {
		body := bytes.Repeat([]byte("abcdefghij"), size/10)
		parts := [][]byte{body[:10], body[10:200], body[200:]}
		room := make([]byte, 0, size+1024)
		for _, c := range []encoding.Coding{encoding.Identity, encoding.Zstd, encoding.Gzip} {
			for range runtime.GOMAXPROCS(0) {
				k.Encode(room, c, body) // each of the encoders, which take turns
			}
			if n := testing.AllocsPerRun(20, func() { k.Encode(room, c, body) }); n != 0 {
				t.Errorf("%v of %d bytes: %v allocations", c, size, n)
			}
			// The zstd encoder allocates the header of a frame of several blocks.
			if n := testing.AllocsPerRun(20, func() { k.EncodeParts(room, c, parts) }); n > 1 {
				t.Errorf("%v of %d bytes in parts: %v allocations", c, size, n)
			}
		}
	}
}

func TestReadingAllocatesTheReaderAlone(t *testing.T) {
	k := codings(t, encoding.Options{})
	body := bytes.Repeat([]byte("abcdefghij"), 20<<10)
	p := make([]byte, 32<<10)
	for _, c := range []encoding.Coding{encoding.Identity, encoding.Zstd, encoding.Gzip} {
		src := bytes.NewReader(nil)
		encoded := k.Encode(nil, c, body)
		n := testing.AllocsPerRun(20, func() {
			src.Reset(encoded)
			r := k.NewReader(src, c, int64(len(body)))
			for {
				if _, err := r.Read(p); err != nil {
					break
				}
			}
			_ = r.Close()
		})
		if n > 1 {
			t.Errorf("%v: %v allocations", c, n)
		}
	}
}
