package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

func ring(tb testing.TB, keys ...string) *KeyRing {
	tb.Helper()
	raw := make([][]byte, len(keys))
	for i, k := range keys {
		raw[i] = []byte(k)
	}
	r, err := NewKeyRing(raw...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

const (
	keyA = "the first key, with 32 bytes ...."
	keyB = "a second key of sixteen or more"
)

// noise is n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// stateLike is n bytes as a stream's state has them: names, zeros and numbers.
func stateLike(n int) []byte {
	rng := mrand.New(mrand.NewPCG(1, 2))
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, "column_%d\x00\x00\x00\x00\x00\x00\x00int64\x00\x00\x00%d", rng.IntN(40), rng.Uint32())
	}
	return b[:n]
}

func TestATokenOpensToWhatItWasMadeOf(t *testing.T) {
	r := ring(t, keyA)
	for name, payload := range map[string][]byte{
		"an empty payload":             {},
		"one byte":                     {7},
		"what looks like a codec":      {codecZstd},
		"just too short to compress":   bytes.Repeat([]byte{1}, minCompress-1),
		"just long enough to compress": bytes.Repeat([]byte{1}, minCompress),
		"noise that does not compress": noise(5000),
		"a megabyte that compresses":   stateLike(1 << 20),
	} {
		t.Run(name, func(t *testing.T) {
			prefix := []byte("before")
			aad := []byte("whom")
			sealed := r.Seal(bytes.Clone(prefix), KindCursor, aad, payload)
			if !bytes.HasPrefix(sealed, prefix) {
				t.Fatal("Seal changed what was there before")
			}
			sealed = sealed[len(prefix):]
			if n := len(sealed) - len(payload); n > Overhead {
				t.Errorf("the token is %d bytes longer than its payload, more than %d", n, Overhead)
			}
			for _, dst := range [][]byte{nil, bytes.Clone(prefix), make([]byte, 3, 2<<20)} {
				got, err := r.Open(dst, KindCursor, aad, sealed)
				if err != nil {
					t.Fatal(err)
				}
				if want := append(bytes.Clone(dst), payload...); !bytes.Equal(got, want) {
					t.Errorf("opened to %d bytes that differ from the %d sealed", len(got), len(want))
				}
			}
			text := r.SealText(KindSession, aad, payload)
			got, err := r.OpenText(nil, KindSession, aad, text)
			if err != nil || !bytes.Equal(got, payload) {
				t.Errorf("as text: %d bytes and %v", len(got), err)
			}
		})
	}
}

func TestAPayloadTooLargeToDecompressIsNotCompressed(t *testing.T) {
	r := ring(t, keyA)
	got, err := r.Open(nil, KindCall, nil, r.Seal(nil, KindCall, nil, make([]byte, maxPayload+1)))
	if err != nil || len(got) != maxPayload+1 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestTheSamePayloadNeverMakesTheSameToken(t *testing.T) {
	r := ring(t, keyA)
	if a, b := r.SealText(KindCall, nil, nil), r.SealText(KindCall, nil, nil); a == b {
		t.Errorf("twice %q", a)
	}
}

func TestWhateverIsChangedInATokenItDoesNotOpen(t *testing.T) {
	r := ring(t, keyA)
	aad := []byte("whom")
	for name, payload := range map[string][]byte{"raw": []byte("short"), "compressed": stateLike(300)} {
		sealed := r.Seal(nil, KindCursor, aad, payload)
		for i := range sealed {
			for _, flip := range []byte{1, 0x80, 0xff} {
				bad := bytes.Clone(sealed)
				bad[i] ^= flip
				if got, err := r.Open(nil, KindCursor, aad, bad); !errors.Is(err, ErrOpen) || got != nil {
					t.Fatalf("%s, byte %d changed: %v, %v", name, i, got, err)
				}
			}
			if _, err := r.Open(nil, KindCursor, aad, sealed[:i]); !errors.Is(err, ErrOpen) {
				t.Fatalf("%s, cut to %d bytes: %v", name, i, err)
			}
		}
		if _, err := r.Open(nil, KindCursor, aad, append(bytes.Clone(sealed), 0)); !errors.Is(err, ErrOpen) {
			t.Errorf("%s, a byte more: %v", name, err)
		}
	}
}

func TestWhateverIsChangedInATokensTextItDoesNotOpen(t *testing.T) {
	r := ring(t, keyA)
	for _, kind := range []byte{KindCursor, KindCall, KindSession} {
		for n := range 3 { // every form of padding
			token := r.SealText(kind, nil, make([]byte, n))
			for i := range token {
				for _, c := range "AQgw9-_+/=\n\r !é" {
					if rune(token[i]) == c {
						continue
					}
					bad := token[:i] + string(c) + token[i+1:]
					if _, err := r.OpenText(nil, kind, nil, bad); !errors.Is(err, ErrOpen) {
						t.Fatalf("kind %#x: %q for %q: %v", kind, bad, token, err)
					}
				}
			}
			for _, bad := range []string{"", token + "=", token + "\n", "\r" + token, token + "A", token + " "} {
				if _, err := r.OpenText(nil, kind, nil, bad); !errors.Is(err, ErrOpen) {
					t.Errorf("kind %#x: %q for %q: %v", kind, bad, token, err)
				}
			}
		}
	}
}

func TestATokenOpensOnlyAsWhatItIsAndForWhomItIs(t *testing.T) {
	r := ring(t, keyA)
	aad := []byte("whom")
	sealed := r.Seal(nil, KindCursor, aad, []byte("secret"))
	disguised := append([]byte{KindCall}, sealed[1:]...)
	for name, open := range map[string]func() ([]byte, error){
		"another key":                           func() ([]byte, error) { return ring(t, keyB).Open(nil, KindCursor, aad, sealed) },
		"another caller":                        func() ([]byte, error) { return r.Open(nil, KindCursor, []byte("another"), sealed) },
		"no caller":                             func() ([]byte, error) { return r.Open(nil, KindCursor, nil, sealed) },
		"another kind":                          func() ([]byte, error) { return r.Open(nil, KindCall, aad, sealed) },
		"another kind with its byte put on":     func() ([]byte, error) { return r.Open(nil, KindCall, aad, disguised) },
		"the kind moved into the caller's part": func() ([]byte, error) { return r.Open(nil, KindCursor, append([]byte{KindCursor}, aad...), sealed) },
		"nothing":                               func() ([]byte, error) { return r.Open(nil, KindCursor, aad, nil) },
	} {
		if got, err := open(); err != ErrOpen || got != nil { //nolint:errorlint,err113 // the same error, not one like it
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestAKeyRingRotates(t *testing.T) {
	older, newer := ring(t, keyA), ring(t, keyB)
	rotated := ring(t, keyB, keyA)
	if got, err := rotated.Open(nil, KindCall, nil, older.Seal(nil, KindCall, nil, []byte("x"))); err != nil || string(got) != "x" {
		t.Errorf("a token of the older key: %q, %v", got, err)
	}
	sealed := rotated.Seal(nil, KindCall, nil, []byte("y"))
	if got, err := newer.Open(nil, KindCall, nil, sealed); err != nil || string(got) != "y" {
		t.Errorf("a new token under the newer key: %q, %v", got, err)
	}
	if _, err := older.Open(nil, KindCall, nil, sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("a new token under the older key alone: %v", err)
	}
}

// codecOf opens a token without looking at what is inside.
func codecOf(t *testing.T, r *KeyRing, sealed []byte) byte {
	t.Helper()
	inner, err := r.ciphers[0].Open(nil, sealed[1:headerSize], sealed[headerSize:], bind(nil, sealed[0], nil))
	if err != nil {
		t.Fatal(err)
	}
	return inner[0]
}

func TestCompressionHappensInsideTheSealWhenItPays(t *testing.T) {
	r := ring(t, keyA)
	for name, c := range map[string]struct {
		payload []byte
		want    byte
		atMost  int
	}{
		"a large state compresses":          {stateLike(7800), codecZstd, 7800 / 2},
		"a short repetition compresses":     {bytes.Repeat([]byte("ab"), 50), codecZstd, 100},
		"a tiny payload stays raw":          {[]byte("tiny tiny tiny"), codecRaw, 14 + Overhead},
		"noise stays raw and never grows":   {noise(4096), codecRaw, 4096 + Overhead},
		"little noise stays raw":            {noise(minCompress), codecRaw, minCompress + Overhead},
		"an empty payload stays raw":        {nil, codecRaw, Overhead},
		"much noise stays raw":              {noise(3 << 20), codecRaw, 3<<20 + Overhead},
		"noise after text still compresses": {append(bytes.Repeat([]byte("text"), 100), noise(50)...), codecZstd, 250},
	} {
		t.Run(name, func(t *testing.T) {
			sealed := r.Seal(nil, KindCall, nil, c.payload)
			if got := codecOf(t, r, sealed); got != c.want {
				t.Errorf("codec %d, want %d", got, c.want)
			}
			if len(sealed) > c.atMost {
				t.Errorf("%d bytes became %d, more than %d", len(c.payload), len(sealed), c.atMost)
			}
		})
	}
}

// sealAsIs makes an authentic token of an inside that pack would not write.
func sealAsIs(r *KeyRing, inside []byte) []byte {
	sealed := append([]byte{KindCursor}, noise(headerSize-1)...)
	return r.ciphers[0].Seal(sealed, sealed[1:], inside, bind(nil, KindCursor, nil))
}

func TestAnAuthenticTokenThatThisServerDidNotWriteDoesNotOpen(t *testing.T) {
	r := ring(t, keyA)
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	frame := func(n int) []byte { return e.EncodeAll(make([]byte, n), nil) }
	var stream bytes.Buffer // a frame that does not say its size
	w, err := zstd.NewWriter(&stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.Write(make([]byte, maxPayload+1)); err != nil {
		t.Fatal(err)
	}
	if err = w.Close(); err != nil {
		t.Fatal(err)
	}
	with := func(codec byte, payload ...[]byte) []byte {
		return append([]byte{codec}, bytes.Join(payload, nil)...)
	}
	good := frame(1000)
	for name, inside := range map[string][]byte{
		"nothing inside, not even a codec":  {},
		"an unknown codec":                  with(2, []byte("payload")),
		"the last unknown codec":            with(255, good),
		"zstd without a frame":              with(codecZstd),
		"zstd that is none":                 with(codecZstd, []byte("certainly not a frame")),
		"a frame that ends early":           with(codecZstd, good[:len(good)-1]),
		"a frame with more behind it":       with(codecZstd, good, []byte{0}),
		"a bomb":                            with(codecZstd, frame(maxPayload+1)),
		"a large bomb":                      with(codecZstd, frame(4*maxPayload)),
		"a bomb that does not say its size": with(codecZstd, stream.Bytes()),
		"a bomb in two frames":              with(codecZstd, frame(maxPayload), frame(1)),
	} {
		t.Run(name, func(t *testing.T) {
			for _, dst := range [][]byte{nil, []byte("before")} {
				if got, err := r.Open(dst, KindCursor, nil, sealAsIs(r, inside)); !errors.Is(err, ErrOpen) || got != nil {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			}
		})
	}
	if got, err := r.Open(nil, KindCursor, nil, sealAsIs(r, with(codecZstd, frame(maxPayload)))); err != nil || len(got) != maxPayload {
		t.Errorf("as much as may be: %d bytes, %v", len(got), err)
	}
	if got, err := r.Open(nil, KindCursor, nil, sealAsIs(r, with(codecZstd, good))); err != nil || len(got) != 1000 {
		t.Errorf("the good frame by the same way: %d bytes, %v", len(got), err)
	}
}

func TestKeyRingsAreReadFromText(t *testing.T) {
	raw := noise(32)
	raw[0], raw[1] = 0xfb, 0xff // a plus, a slash
	short := noise(20)
	sealed := ring(t, string(raw)).Seal(nil, KindCall, nil, []byte("x"))
	for name, text := range map[string]string{
		"hex":                         hex.EncodeToString(raw),
		"upper hex":                   strings.ToUpper(hex.EncodeToString(raw)),
		"base64":                      base64.StdEncoding.EncodeToString(raw),
		"base64 without padding":      base64.RawStdEncoding.EncodeToString(raw),
		"the other alphabet":          base64.URLEncoding.EncodeToString(raw),
		"the other without padding":   base64.RawURLEncoding.EncodeToString(raw),
		"with space around":           "\n \t" + hex.EncodeToString(raw) + " \r\n",
		"second of two, by comma":     hex.EncodeToString(short) + "," + hex.EncodeToString(raw),
		"second of two, by space":     hex.EncodeToString(short) + " " + hex.EncodeToString(raw),
		"in a file with its comments": "# keys, newest first\n" + hex.EncodeToString(short) + " # this one\n\n" + hex.EncodeToString(raw) + "# that",
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ParseKeyRing(text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Open(nil, KindCall, nil, sealed); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeyRingsRefuseWhatIsNoKey(t *testing.T) {
	good := hex.EncodeToString(noise(32))
	for name, c := range map[string]struct{ text, want string }{
		"nothing":            {"", "seal: a key ring needs at least one key"},
		"only a comment":     {"# none yet\n", "seal: a key ring needs at least one key"},
		"a passphrase":       {"hunter2!", "seal: key 1 is neither hex nor base64"},
		"a bad second key":   {good + ", " + good + "?", "seal: key 2 is neither hex nor base64"},
		"a key of 15 bytes":  {hex.EncodeToString(noise(15)), "seal: key 1 has 15 bytes, fewer than 16"},
		"a short second key": {good + " 00ff", "seal: key 2 has 2 bytes, fewer than 16"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKeyRing(c.text)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAKeyRingKeepsItsKeysOutOfLogs(t *testing.T) {
	options := struct{ Keys *KeyRing }{ring(t, keyA, keyB)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if diff := cmp.Diff("seal.KeyRing of 2 keys", fmt.Sprintf(verb, options.Keys)); diff != "" {
			t.Errorf("%s: %s", verb, diff)
		}
	}
}

func TestRandomKeyRingsDiffer(t *testing.T) {
	if _, err := RandomKeyRing().Open(nil, KindCall, nil, RandomKeyRing().Seal(nil, KindCall, nil, nil)); !errors.Is(err, ErrOpen) {
		t.Error(err)
	}
}

func TestAKeyRingMayBeUsedByManyAtOnce(t *testing.T) {
	r := ring(t, keyA)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for n := range 200 {
				payload := stateLike(n * 7)
				got, err := r.OpenText(nil, KindCall, nil, r.SealText(KindCall, nil, payload))
				if err != nil || !bytes.Equal(got, payload) {
					t.Errorf("%d bytes: %v", len(payload), err)
				}
			}
		})
	}
	wait.Wait()
}

func FuzzOpenTakesAnything(f *testing.F) {
	r := ring(f, keyA)
	f.Add([]byte{}, []byte{}, []byte{})
	f.Add(r.Seal(nil, KindCursor, nil, stateLike(200)), []byte{codecZstd, 0x28, 0xb5, 0x2f, 0xfd, 4, 0}, []byte("whom"))
	f.Add([]byte("not a token"), append([]byte{codecZstd}, noise(20)...), []byte{KindCall})
	f.Fuzz(func(t *testing.T, token, inside, aad []byte) {
		if got, err := r.Open(nil, KindCursor, aad, token); err != nil && (got != nil || !errors.Is(err, ErrOpen)) {
			t.Errorf("a token of anything: %v, %v", got, err)
		}
		if got, err := r.OpenText(nil, KindSession, aad, string(token)); err != nil && (got != nil || !errors.Is(err, ErrOpen)) {
			t.Errorf("a text of anything: %v, %v", got, err)
		}
		if got, err := r.Open(nil, KindCursor, nil, sealAsIs(r, inside)); err != nil && (got != nil || !errors.Is(err, ErrOpen)) {
			t.Errorf("an inside of anything: %v, %v", got, err)
		}
		got, err := r.Open(nil, KindCall, aad, r.Seal(nil, KindCall, aad, token))
		if err != nil || !bytes.Equal(got, token) {
			t.Errorf("a payload of anything: %v, %v", got, err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	r := ring(b, keyA)
	aad := []byte("whom")
	for _, n := range []int{50, 100, 1000, 7800} {
		payload := stateLike(n)
		sealed, text := r.Seal(nil, KindCursor, aad, payload), r.SealText(KindCursor, aad, payload)
		b.Run(fmt.Sprintf("seal/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Seal(nil, KindCursor, aad, payload)
			}
			b.ReportMetric(float64(len(sealed)), "B/token")
		})
		b.Run(fmt.Sprintf("open/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.Open(nil, KindCursor, aad, sealed)
			}
		})
		b.Run(fmt.Sprintf("seal text/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.SealText(KindCursor, aad, payload)
			}
		})
		b.Run(fmt.Sprintf("open text/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.OpenText(nil, KindCursor, aad, text)
			}
		})
	}
}
