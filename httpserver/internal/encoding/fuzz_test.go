package encoding_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
)

// FuzzReader reads anything under any limit: it ends with a typed error or with
// what the standard library makes of it, delivers no byte over the limit, and
// leaves a pool that works.
func FuzzReader(f *testing.F) {
	k := codings(f, encoding.Options{})
	good := []byte(strings.Repeat("a good body ", 100))
	for _, c := range compressed {
		encoded := k.Encode(nil, c, good)
		f.Add(c == encoding.Zstd, uint16(0), encoded)
		f.Add(c == encoding.Zstd, uint16(100), encoded)
		f.Add(c == encoding.Zstd, uint16(5000), append(encoded, encoded...))
		f.Add(c == encoding.Zstd, uint16(9), encoded[:len(encoded)/2])
		f.Add(c == encoding.Zstd, uint16(9), []byte{})
	}
	f.Add(true, uint16(1), join(frame(0, 7<<3), block(rle, 128<<10, false, 0), block(raw, 1, true, 'x')))
	f.Fuzz(func(t *testing.T, isZstd bool, limit uint16, p []byte) {
		c := encoding.Gzip
		if isZstd {
			c = encoding.Zstd
		}
		r := k.NewReader(bytes.NewReader(p), c, int64(limit))
		// What has no limit is still only looked at so far.
		got, err := io.ReadAll(io.LimitReader(r, 1<<20))
		_ = r.Close()
		if limit > 0 && len(got) > int(limit) {
			t.Fatalf("%d bytes under a limit of %d", len(got), limit)
		}
		checkError(t, err, limit)
		if c == encoding.Gzip && err == nil {
			std, stdErr := stdgzip.NewReader(bytes.NewReader(p))
			if stdErr != nil {
				t.Fatal(stdErr)
			}
			want, stdErr := io.ReadAll(io.LimitReader(std, 1<<20))
			if stdErr != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, want %d: %v", len(got), len(want), stdErr)
			}
		}
		next := k.NewReader(bytes.NewReader(k.Encode(nil, c, good)), c, int64(len(good)))
		if got, err := io.ReadAll(next); err != nil || !bytes.Equal(got, good) {
			t.Fatalf("the next body has %d bytes: %v", len(got), err)
		}
		_ = next.Close()
	})
}

func checkError(t *testing.T, err error, limit uint16) {
	t.Helper()
	if err == nil {
		return
	}
	if tooLarge, ok := errors.AsType[*encoding.TooLargeError](err); ok {
		if limit == 0 || tooLarge.Limit != int64(limit) || !tooLarge.Decoded {
			t.Fatalf("a limit of %d is %+v", limit, tooLarge)
		}
		return
	}
	if _, ok := errors.AsType[*encoding.CorruptError](err); !ok {
		t.Fatalf("error is %T (%v)", err, err)
	}
}

// FuzzNegotiate offers anything: what is chosen was offered, and its header is
// one of two.
func FuzzNegotiate(f *testing.F) {
	k := codings(f, encoding.Options{})
	f.Add("zstd, gzip;q=0", "gzip, deflate, br, zstd")
	f.Add("identity", "x-gzip ; q=0.000,,")
	f.Fuzz(func(t *testing.T, custom, standard string) {
		h := http.Header{encoding.CustomAcceptEncoding: {custom}, encoding.AcceptEncoding: {standard}}
		c, name := k.Negotiate(h)
		lists := map[string]string{
			"":                             "",
			encoding.ContentEncoding:       standard,
			encoding.CustomContentEncoding: custom,
		}
		list, ok := lists[name]
		if !ok || (c == encoding.Identity) != (name == "") {
			t.Fatalf("%v in %q", c, name)
		}
		if c != encoding.Identity && !strings.Contains(strings.ToLower(list), c.String()) {
			t.Fatalf("%v in %q, which offered %q", c, name, list)
		}
	})
}
