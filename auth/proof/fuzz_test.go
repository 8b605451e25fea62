package proof

import (
	"strings"
	"testing"
)

// FuzzProofParse: whatever parses is made of exactly its fields, each of its
// form; nothing panics.
func FuzzProofParse(f *testing.F) {
	const nonce, mac = "AAAAAAAAAAAAAAAAAAAAAA", "XQ2QBf35oajjaP7HIas3OfyEvNhyXTTptbrxWFxWk3I"
	for _, seed := range []string{
		"v1.conformance-proxy.1700000000." + nonce + "." + mac,
		"v1.k.99999999999999999999." + nonce + "." + mac,
		"v1.k.1." + nonce + "." + mac + ".x",
		"v1.k.1." + nonce + "." + mac[1:] + ".",
		"v1.k.1." + nonce[1:] + "=." + mac,
		"v1.k\x00.1." + nonce + "." + mac,
		"v1....", "v1.a.b.c", "v2.k.1.n.m", "v1", ".", "",
		strings.Repeat("v1.", 200),
	} {
		f.Add(seed)
	}
	gate, err := New(Options{Mode: Require, OriginID: "o", Keys: []Key{{ID: "k", Secret: [32]byte{1}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, ok := parse(value)
		_, _, outcome := gate.verify([]string{value}, 1)
		if outcome == OK {
			t.Errorf("%q was accepted", value)
		}
		if ok == (outcome == Malformed) {
			t.Errorf("parsed: %t, outcome: %s", ok, outcome)
		}
		if !ok {
			return
		}
		if joined := strings.Join([]string{"v1", c.kid, c.ts, c.nonce, c.mac}, "."); joined != value || len(value) > 512 {
			t.Errorf("%q was read as %q", value, joined)
		}
		if strings.Count(value, ".") != 4 || strings.ContainsAny(value, "\x00,+/= \r\n") || unixSeconds(c.ts) < 0 {
			t.Errorf("%q has a field that is not of its form", value)
		}
	})
}
