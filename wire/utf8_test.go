package wire_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vgirpc/vgirpc-go/wire"
)

func FuzzValidUTF8(f *testing.F) {
	for _, s := range []string{
		"", "plain ascii text", "value number aé", "éééééééé", "1234567é", "1234567\xc3", "\xa9", "1234567\xc31234567",
		"\xc0\x80", "\xc1\xbf345678", "日本語の文字列", "12345é日本", "\xf0\x9f\x98\x80 and more", "\xed\xa0\x80", "aaaaaaa\xc3\xa9\xa9",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if got, want := wire.ValidUTF8(p), utf8.Valid(p); got != want {
			t.Fatalf("%q: got %v, want %v", p, got, want)
		}
	})
}

func TestUTF8IsJudgedAlikeAtEveryAlignment(t *testing.T) {
	pieces := []string{"a", "é", "\xc3", "\xa9", "日", "\xc1\x80", "\x7f", "߿", "\xf4\x90\x80\x80"}
	for _, piece := range pieces {
		for before := range 20 {
			for after := range 20 {
				s := strings.Repeat("x", before) + piece + strings.Repeat("é", after)
				if got, want := wire.ValidUTF8([]byte(s)), utf8.ValidString(s); got != want {
					t.Fatalf("%q: got %v, want %v", s, got, want)
				}
			}
		}
	}
}

func BenchmarkValidUTF8(b *testing.B) {
	p := []byte(strings.Repeat("value number aé", 10_000))
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			wire.ValidUTF8(p)
		}
	})
	b.Run("standard library", func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			utf8.Valid(p)
		}
	})
}
