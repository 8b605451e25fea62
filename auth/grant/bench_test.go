package grant

import "testing"

func BenchmarkVerify(b *testing.B) {
	k := newKeys(b, Options{Keys: [][]byte{keyB, keyA}})
	token, _, err := k.Mint(Request{Principal: "ada@example.com", Purpose: "nightly", Scopes: []string{"read", "write"}, TTLSeconds: 600})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Verify(token); err != nil {
			b.Fatal(err)
		}
	}
}
