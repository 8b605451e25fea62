package encoding_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
)

var compressed = []encoding.Coding{encoding.Zstd, encoding.Gzip}

// frame begins a zstd frame: flags, then window or content size as they say.
func frame(descriptor byte, rest ...byte) []byte {
	return append([]byte{0x28, 0xb5, 0x2f, 0xfd, descriptor}, rest...)
}

// Kinds of zstd blocks.
const (
	raw = 0
	rle = 1
)

// block is a zstd block of a kind that needs no compressor.
func block(kind, size int, last bool, content ...byte) []byte {
	head := uint32(size)<<3 | uint32(kind)<<1
	if last {
		head |= 1
	}
	return append([]byte{byte(head), byte(head >> 8), byte(head >> 16)}, content...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// endless begins with head and then repeats a piece for ever. It counts what is
// read.
type endless struct {
	head, piece []byte
	read        int64
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.head) == 0 {
		e.head = e.piece
	}
	n := copy(p, e.head)
	e.head = e.head[n:]
	e.read += int64(n)
	return n, nil
}

// zstdBomb is a frame of which each 4 bytes expand to 128 KiB.
func zstdBomb() *endless {
	return &endless{
		head:  frame(0, 7<<3), // a window of 128 KiB, no content size
		piece: block(rle, 128<<10, false, 0),
	}
}

// gzipBomb is a member of which each kilobyte expands to a mebibyte.
func gzipBomb(t *testing.T) *endless {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	piece := func() []byte {
		b.Reset()
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return bytes.Clone(b.Bytes())
	}
	return &endless{head: piece(), piece: piece()}
}

func TestBombsEndAtTheLimit(t *testing.T) {
	const limit = 32 << 20
	k := codings(t, encoding.Options{})
	for name, test := range map[string]struct {
		coding encoding.Coding
		bomb   *endless
	}{
		"zstd": {encoding.Zstd, zstdBomb()},
		"gzip": {encoding.Gzip, gzipBomb(t)},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := k.NewReader(test.bomb, test.coding, limit)
			n, err := io.Copy(io.Discard, r)
			_ = r.Close()
			runtime.ReadMemStats(&after)

			if diff := cmp.Diff(&encoding.TooLargeError{Limit: limit, Decoded: true}, err); diff != "" {
				t.Fatal(diff)
			}
			if n != limit {
				t.Errorf("%d bytes were delivered, want %d", n, limit)
			}
			if test.bomb.read > 128<<10 {
				t.Errorf("%d bytes were read for it", test.bomb.read)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
				t.Errorf("it took %d bytes of memory", took)
			}
		})
	}
}

func TestDeclaredSizesAreRefusedUnread(t *testing.T) {
	const limit = 1 << 20
	const tenGiB = 10 << 30
	k := codings(t, encoding.Options{})
	size := binary.LittleEndian.AppendUint64(nil, tenGiB)
	for name, head := range map[string][]byte{
		"beside a window":     frame(3<<6, append([]byte{7 << 3}, size...)...),
		"in a single segment": frame(3<<6|1<<5, size...),
	} {
		t.Run(name, func(t *testing.T) {
			src := &endless{head: head, piece: block(rle, 128<<10, false, 0)}
			r := k.NewReader(src, encoding.Zstd, limit)
			n, err := r.Read(make([]byte, 64))
			if diff := cmp.Diff(&encoding.TooLargeError{Limit: limit, Decoded: true}, err); diff != "" {
				t.Error(diff)
			}
			if n != 0 || src.read > 16<<10 {
				t.Errorf("%d bytes were delivered, %d read", n, src.read)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	k := codings(t, encoding.Options{})
	body := []byte(strings.Repeat("0123456789", 1000))
	const size = 10_000
	for name, test := range map[string]struct {
		limit int64
		want  int // bytes
		over  bool
	}{
		"none":                     {0, size, false},
		"none, below zero":         {-1, size, false},
		"more than the body":       {size + 1, size, false},
		"exactly the body":         {size, size, false},
		"one byte less":            {size - 1, size - 1, true},
		"one byte":                 {1, 1, true},
		"the largest there can be": {math.MaxInt64, size, false},
	} {
		for _, c := range []encoding.Coding{encoding.Identity, encoding.Zstd, encoding.Gzip} {
			t.Run(name+" of "+c.String(), func(t *testing.T) {
				for how, wrap := range map[string]func(io.Reader) io.Reader{
					"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
				} {
					// Frames without their size are limited by counting alone.
					r := k.NewReader(wrap(bytes.NewReader(streamed(t, c, body))), c, test.limit)
					got, err := io.ReadAll(wrap(r))
					var want error
					if test.over {
						want = &encoding.TooLargeError{Limit: test.limit, Decoded: true}
					}
					if diff := cmp.Diff(want, err); diff != "" {
						t.Errorf("%s: %s", how, diff)
					}
					if !bytes.Equal(got, body[:test.want]) {
						t.Errorf("%s: %d bytes, want %d", how, len(got), test.want)
					}
					if _, again := r.Read(make([]byte, 1)); test.over && !errors.Is(again, err) {
						t.Errorf("%s: the next read has another error: %v", how, again)
					}
					_ = r.Close()
				}
			})
		}
		t.Run(name+" of what is sent", func(t *testing.T) {
			got, err := io.ReadAll(encoding.Limit(bytes.NewReader(body), test.limit))
			var want error
			if test.over {
				want = &encoding.TooLargeError{Limit: test.limit}
			}
			if diff := cmp.Diff(want, err); diff != "" {
				t.Error(diff)
			}
			if !bytes.Equal(got, body[:test.want]) {
				t.Errorf("%d bytes, want %d", len(got), test.want)
			}
		})
	}
}

func TestTheErrorSaysWhichLimit(t *testing.T) {
	for err, want := range map[error]string{
		&encoding.TooLargeError{Limit: 512}:                "body exceeds the limit of 512 bytes",
		&encoding.TooLargeError{Limit: 512, Decoded: true}: "decoded body exceeds the limit of 512 bytes",
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

// streamed encodes without knowing the size, as a client does that sends while
// it writes.
func streamed(t *testing.T, c encoding.Coding, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch c {
	case encoding.Zstd:
		enc, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = enc
	case encoding.Gzip:
		w = gzip.NewWriter(&b)
	default:
		return body
	}
	for p := body; len(p) > 0; {
		n := min(len(p), 3333)
		if _, err := w.Write(p[:n]); err != nil {
			t.Fatal(err)
		}
		if f, ok := w.(interface{ Flush() error }); ok {
			if err := f.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		p = p[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEveryTruncationIsCorrupt(t *testing.T) {
	k := codings(t, encoding.Options{})
	body := append([]byte(strings.Repeat("compressible ", 20)), noise(50)...)
	for _, c := range compressed {
		for how, encoded := range map[string][]byte{
			"of known size":   k.Encode(nil, c, body),
			"of unknown size": streamed(t, c, body),
			"in two frames":   k.Encode(k.Encode(nil, c, body), c, body),
		} {
			t.Run(c.String()+" "+how, func(t *testing.T) {
				whole := map[int]bool{len(encoded): true}
				if how == "in two frames" {
					whole[len(encoded)/2] = true
				}
				for n := range len(encoded) + 1 {
					r := k.NewReader(bytes.NewReader(encoded[:n]), c, 1<<20)
					_, err := io.ReadAll(r)
					_ = r.Close()
					corrupt, ok := errors.AsType[*encoding.CorruptError](err)
					switch {
					case whole[n] && err != nil:
						t.Errorf("%d of %d bytes: %v", n, len(encoded), err)
					case !whole[n] && !ok:
						t.Errorf("%d of %d bytes: error is %v", n, len(encoded), err)
					case ok && (corrupt.Coding != c || errors.Unwrap(err) == nil):
						t.Errorf("%d of %d bytes: %v lacks its cause", n, len(encoded), err)
					}
				}
			})
		}
	}
}

// labelled is a gzip member with everything that a header can hold.
func labelled(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEveryTruncationOfALabelledMemberIsCorrupt(t *testing.T) {
	k := codings(t, encoding.Options{})
	body := []byte("body")
	member := labelled(t, body)
	for name, before := range map[string][]byte{"the first member": nil, "the second member": member} {
		t.Run(name, func(t *testing.T) {
			for n := 1; n < len(member); n++ {
				r := k.NewReader(bytes.NewReader(join(before, member[:n])), encoding.Gzip, 0)
				_, err := io.ReadAll(r)
				_ = r.Close()
				if _, ok := errors.AsType[*encoding.CorruptError](err); !ok {
					t.Errorf("%d of %d bytes: error is %v", n, len(member), err)
				}
			}
		})
	}
}

func TestDamage(t *testing.T) {
	k := codings(t, encoding.Options{})
	body := []byte(strings.Repeat("some text ", 100))
	gz, zs := k.Encode(nil, encoding.Gzip, body), k.Encode(nil, encoding.Zstd, body)
	flipped := func(p []byte, i int) []byte {
		p = bytes.Clone(p)
		p[i] ^= 0x55
		return p
	}
	aRawByte := block(raw, 1, true, 'x')
	for name, test := range map[string]struct {
		coding encoding.Coding
		body   []byte
	}{
		"nothing at all as zstd":         {encoding.Zstd, nil},
		"nothing at all as gzip":         {encoding.Gzip, nil},
		"plain text as zstd":             {encoding.Zstd, body},
		"plain text as gzip":             {encoding.Gzip, body},
		"zstd called gzip":               {encoding.Gzip, zs},
		"gzip called zstd":               {encoding.Zstd, gz},
		"garbage after a frame":          {encoding.Zstd, join(zs, []byte("garbage"))},
		"one zero after a frame":         {encoding.Zstd, join(zs, []byte{0})},
		"garbage after a member":         {encoding.Gzip, join(gz, []byte("garbage and more"))},
		"one zero after a member":        {encoding.Gzip, join(gz, []byte{0})},
		"a wrong gzip checksum":          {encoding.Gzip, flipped(gz, len(gz)-6)},
		"a wrong gzip size":              {encoding.Gzip, flipped(gz, len(gz)-1)},
		"a wrong magic number":           {encoding.Zstd, flipped(zs, 0)},
		"a wrong content size":           {encoding.Zstd, join(frame(1<<5, 2), aRawByte)},
		"a reserved bit":                 {encoding.Zstd, join(frame(1<<5|1<<3, 1), aRawByte)},
		"a reserved block type":          {encoding.Zstd, join(frame(1<<5, 1), block(3, 1, true, 'x'))},
		"a block larger than the window": {encoding.Zstd, join(frame(0, 0), block(rle, 128<<10, true, 0))},
		"a dictionary that nobody has":   {encoding.Zstd, join(frame(1<<5|1, 9, 1), aRawByte)},
		"a window over 8 MiB":            {encoding.Zstd, join(frame(0, 13<<3|1), aRawByte)},
		"a window of a tebibyte":         {encoding.Zstd, join(frame(0, 30<<3), aRawByte)},
	} {
		t.Run(name, func(t *testing.T) {
			r := k.NewReader(bytes.NewReader(test.body), test.coding, 1<<20)
			_, err := io.ReadAll(r)
			if corrupt, ok := errors.AsType[*encoding.CorruptError](err); !ok || corrupt.Coding != test.coding {
				t.Errorf("error is %T (%v)", err, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			// The next one gets a decoder that works.
			good := k.Encode(nil, test.coding, body)
			next := k.NewReader(bytes.NewReader(good), test.coding, 1<<20)
			if got, err := io.ReadAll(next); err != nil || !bytes.Equal(got, body) {
				t.Errorf("the next body has %d bytes: %v", len(got), err)
			}
			_ = next.Close()
		})
	}
}

func TestWhatIsAccepted(t *testing.T) {
	k := codings(t, encoding.Options{})
	one, two := []byte(strings.Repeat("one ", 50)), noise(500)
	both := join(one, two)
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z'}
	for name, test := range map[string]struct {
		coding     encoding.Coding
		body, want []byte
	}{
		"two zstd frames":             {encoding.Zstd, join(k.Encode(nil, encoding.Zstd, one), k.Encode(nil, encoding.Zstd, two)), both},
		"two gzip members":            {encoding.Gzip, join(k.Encode(nil, encoding.Gzip, one), k.Encode(nil, encoding.Gzip, two)), both},
		"members with all labels":     {encoding.Gzip, join(labelled(t, one), k.Encode(nil, encoding.Gzip, nil), labelled(t, two)), both},
		"frames without their size":   {encoding.Zstd, join(streamed(t, encoding.Zstd, one), streamed(t, encoding.Zstd, two)), both},
		"a skippable frame":           {encoding.Zstd, join(skippable, k.Encode(nil, encoding.Zstd, one), skippable), one},
		"a frame of nothing":          {encoding.Zstd, k.Encode(nil, encoding.Zstd, nil), nil},
		"a member of nothing":         {encoding.Gzip, k.Encode(nil, encoding.Gzip, nil), nil},
		"the smallest window":         {encoding.Zstd, join(frame(0, 0), block(raw, 1, true, 'x')), []byte("x")},
		"a window of 8 MiB":           {encoding.Zstd, join(frame(0, 13<<3), block(raw, 1, true, 'x')), []byte("x")},
		"a window beyond the limit":   {encoding.Zstd, join(frame(0, 12<<3), block(rle, 1000, true, 'x')), bytes.Repeat([]byte("x"), 1000)},
		"plain bytes":                 {encoding.Identity, one, one},
		"no plain bytes":              {encoding.Identity, nil, nil},
		"a frame at the highest rate": {encoding.Zstd, best(t, both), both},
	} {
		t.Run(name, func(t *testing.T) {
			r := k.NewReader(iotest.HalfReader(bytes.NewReader(test.body)), test.coding, 2000)
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, test.want) {
				t.Errorf("%d bytes, want %d: %v", len(got), len(test.want), err)
			}
			_ = r.Close()
		})
	}
}

func best(t *testing.T, body []byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderCRC(true))
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll(body, nil)
}

func TestErrorsOfTheSourceComeThrough(t *testing.T) {
	k := codings(t, encoding.Options{})
	lost := errors.New("connection lost")
	body := noise(100_000)
	for name, broken := range map[string]error{
		"an error":                           lost,
		"the end of a connection":            io.ErrUnexpectedEOF,
		"an error that wraps an end":         fmt.Errorf("read: %w", io.EOF),
		"the limit on the bytes sent":        &encoding.TooLargeError{Limit: 9},
		"an end that looks like a good body": io.ErrUnexpectedEOF,
	} {
		for _, c := range []encoding.Coding{encoding.Identity, encoding.Zstd, encoding.Gzip} {
			t.Run(name+" in "+c.String(), func(t *testing.T) {
				encoded := k.Encode(nil, c, body)
				for _, n := range []int{0, 1, 3, 9, 20_000, len(encoded) - 1, len(encoded)} {
					src := io.MultiReader(bytes.NewReader(encoded[:n]), iotest.ErrReader(broken))
					r := k.NewReader(src, c, 0)
					if _, err := io.Copy(io.Discard, struct{ io.Reader }{r}); err != broken { //nolint:errorlint,err113 // the very same
						t.Errorf("after %d of %d bytes: %v", n, len(encoded), err)
					}
					_ = r.Close()
				}
			})
		}
	}
}

func TestAPooledDecoderShowsNothingOfTheLastBody(t *testing.T) {
	k := codings(t, encoding.Options{})
	secret := noise(4000)
	// A frame that consists of references to what came before it: to a reader
	// without the dictionary, before its beginning.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderDictRaw(0, secret))
	if err != nil {
		t.Fatal(err)
	}
	probe := enc.EncodeAll(secret[:3000], nil)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderDictRaw(0, secret))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := dec.DecodeAll(probe, nil); err != nil || !bytes.Equal(got, secret[:3000]) || len(probe) > 500 {
		t.Fatalf("the probe of %d bytes is none: %v", len(probe), err)
	}
	for range 20 {
		first := k.NewReader(bytes.NewReader(k.Encode(nil, encoding.Zstd, secret)), encoding.Zstd, 0)
		if _, err := io.Copy(io.Discard, first); err != nil {
			t.Fatal(err)
		}
		_ = first.Close()
		second := k.NewReader(bytes.NewReader(probe), encoding.Zstd, 0)
		got, err := io.ReadAll(second)
		_ = second.Close()
		if _, ok := errors.AsType[*encoding.CorruptError](err); !ok {
			t.Fatalf("error is %v", err)
		}
		if bytes.Contains(secret, got) && len(got) >= 8 {
			t.Fatalf("%d bytes of the last body", len(got))
		}
	}
}

func TestAClosedReader(t *testing.T) {
	k := codings(t, encoding.Options{})
	for _, c := range []encoding.Coding{encoding.Identity, encoding.Zstd, encoding.Gzip} {
		t.Run("of "+c.String()+" reads no more and disturbs no other", func(t *testing.T) {
			body := noise(200_000)
			encoded := k.Encode(nil, c, body)
			p := make([]byte, 10)

			abandoned := k.NewReader(bytes.NewReader(encoded), c, 0)
			if _, err := io.ReadFull(abandoned, p); err != nil {
				t.Fatal(err)
			}
			_ = abandoned.Close()
			other := k.NewReader(bytes.NewReader(encoded), c, 0)
			defer other.Close()
			if _, err := io.ReadFull(other, p); err != nil {
				t.Fatal(err)
			}
			if err := abandoned.Close(); err != nil {
				t.Error(err)
			}
			if n, err := abandoned.Read(p); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("read %d bytes after Close: %v", n, err)
			}
			third := k.NewReader(bytes.NewReader(encoded), c, 0)
			defer third.Close()
			for name, r := range map[string]io.Reader{"other": io.MultiReader(bytes.NewReader(p), other), "third": third} {
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s has %d bytes: %v", name, len(got), err)
				}
			}
		})
	}
}
