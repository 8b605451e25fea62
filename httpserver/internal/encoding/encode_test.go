package encoding_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
)

// noise cannot be compressed, and is the same each time.
func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(p)
	return p
}

// decode undoes a coding with decoders of its own.
func decode(t *testing.T, c encoding.Coding, p []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(p)
	switch c {
	case encoding.Zstd:
		d, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		r = d
	case encoding.Gzip:
		d, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = d
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var bodies = map[string][][]byte{
	"no part":                       nil,
	"one empty part":                {{}},
	"one byte":                      {[]byte("a")},
	"one part among empty ones":     {{}, []byte(strings.Repeat("one part ", 100)), {}},
	"small parts":                   {[]byte("schema"), []byte("batch"), []byte("end")},
	"parts of one zstd block":       {bytes.Repeat([]byte("b"), 100<<10), bytes.Repeat([]byte("c"), 28<<10)},
	"parts over several blocks":     {bytes.Repeat([]byte("abcdefg "), 40<<10), []byte("tail"), bytes.Repeat([]byte("z"), 1<<20)},
	"noise":                         {noise(3000), noise(300 << 10)},
	"a part larger than the window": {[]byte("head"), bytes.Repeat(noise(700<<10), 3)},
}

func TestWhatIsEncodedDecodesAgain(t *testing.T) {
	k := codings(t, encoding.Options{})
	for name, parts := range bodies {
		want := bytes.Join(parts, nil)
		for _, c := range []encoding.Coding{encoding.Identity, encoding.Zstd, encoding.Gzip} {
			t.Run(name+" as "+c.String(), func(t *testing.T) {
				prefix := []byte("before ")
				whole := k.Encode(bytes.Clone(prefix), c, want)
				inParts := k.EncodeParts(bytes.Clone(prefix), c, parts)
				for how, encoded := range map[string][]byte{"whole": whole, "in parts": inParts} {
					encoded, ok := bytes.CutPrefix(encoded, prefix)
					if !ok {
						t.Fatalf("%s: what stood in dst is gone", how)
					}
					if got := decode(t, c, encoded); !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes became %d others", how, len(want), len(got))
					}
					got, err := io.ReadAll(k.NewReader(bytes.NewReader(encoded), c, 0))
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: our reader has %d bytes for %d: %v", how, len(got), len(want), err)
					}
				}
			})
		}
	}
}

func TestZstdFramesCarryTheirContentSize(t *testing.T) {
	k := codings(t, encoding.Options{})
	for name, parts := range bodies {
		t.Run(name, func(t *testing.T) {
			body := bytes.Join(parts, nil)
			for how, encoded := range map[string][]byte{
				"whole":    k.Encode(nil, encoding.Zstd, body),
				"in parts": k.EncodeParts(nil, encoding.Zstd, parts),
			} {
				var h zstd.Header
				if err := h.Decode(encoded); err != nil {
					t.Fatal(err)
				}
				got := zstd.Header{HasFCS: h.HasFCS, FrameContentSize: h.FrameContentSize, HasCheckSum: h.HasCheckSum}
				want := zstd.Header{HasFCS: true, FrameContentSize: uint64(len(body))}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %s", how, diff)
				}
				if h.WindowSize > 512<<10 {
					t.Errorf("%s: decoders need a window of %d bytes", how, h.WindowSize)
				}
			}
		})
	}
}

func TestEncodingShrinksWhatRepeats(t *testing.T) {
	k := codings(t, encoding.Options{})
	body := bytes.Repeat([]byte("a row like the one before; "), 10_000)
	for _, c := range []encoding.Coding{encoding.Zstd, encoding.Gzip} {
		if got := len(k.Encode(nil, c, body)); got > len(body)/50 {
			t.Errorf("%v makes %d bytes of %d", c, got, len(body))
		}
	}
}

func TestPoolsServeManyAtOnce(t *testing.T) {
	k := codings(t, encoding.Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 40 {
				c := encoding.Coding((i + j) % 3)
				body := bytes.Repeat([]byte{byte(i), byte(j)}, 1+j*997)
				var encoded []byte
				if j%2 == 0 {
					encoded = k.Encode(nil, c, body)
				} else {
					encoded = k.EncodeParts(nil, c, [][]byte{body[:j], body[j:]})
				}
				if j%5 == 0 && c != encoding.Identity {
					// A reader that fails on the way disturbs nobody.
					r := k.NewReader(bytes.NewReader(encoded[:len(encoded)-1]), c, 0)
					if _, err := io.ReadAll(r); err == nil {
						t.Error("a truncated body was read")
					}
					_ = r.Close()
				}
				r := k.NewReader(bytes.NewReader(encoded), c, int64(len(body)))
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%v: %d bytes became %d: %v", c, len(body), len(got), err)
				}
				_ = r.Close()
			}
		})
	}
	wg.Wait()
}
