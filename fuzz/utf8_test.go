package fuzz_test

import (
	"testing"
	"unicode/utf8"

	utf8x "github.com/segmentio/asm/utf8"
)

// FuzzUTF8AgreesWithTheStandardLibrary watches over the vector code that checks
// text columns.
func FuzzUTF8AgreesWithTheStandardLibrary(f *testing.F) {
	for _, s := range []string{
		"", "plain ascii text", "value number aé", "éééééééé", "1234567é", "1234567\xc3", "\xa9", "1234567\xc31234567",
		"\xc0\x80", "\xc1\xbf345678", "日本語の文字列日本語の文字列日本語の文字列", "12345é日本", "\xf0\x9f\x98\x80 and more", "\xed\xa0\x80",
		"a long text of more than thirty-two bytes that ends in the middle of a character: \xe6\x97",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, p []byte, cut uint8) {
		p = p[min(int(cut), len(p)):] // another alignment
		if got, want := utf8x.Valid(p), utf8.Valid(p); got != want {
			t.Fatalf("%q: got %v, want %v", p, got, want)
		}
	})
}
