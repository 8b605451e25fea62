//go:build !race

package seal

import "testing"

// Not under the race detector, where pools forget on purpose.
func TestTheAllocationsOfASmallToken(t *testing.T) {
	r := ring(t, keyA)
	payload, aad := stateLike(100), []byte("whom")
	sealed, text := r.Seal(nil, KindCursor, aad, payload), r.SealText(KindCursor, aad, payload)
	for name, c := range map[string]struct {
		max float64
		f   func()
	}{
		"seal":      {2, func() { r.Seal(nil, KindCursor, aad, payload) }},
		"open":      {2, func() { _, _ = r.Open(nil, KindCursor, aad, sealed) }},
		"seal text": {2, func() { r.SealText(KindCursor, aad, payload) }},
		"open text": {2, func() { _, _ = r.OpenText(nil, KindCursor, aad, text) }},
	} {
		if got := testing.AllocsPerRun(100, c.f); got > c.max {
			t.Errorf("%s: %v allocations, more than %v", name, got, c.max)
		}
	}
}
