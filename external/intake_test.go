package external

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func TestTheDigestIsThatOfAllThatArrived(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{1})
	spare := &spares{}
	for name, pieces := range map[string]func(io.Reader) io.Reader{
		"in one piece":                 func(r io.Reader) io.Reader { return r },
		"in halves of what is asked":   iotest.HalfReader,
		"with its end beside its data": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{0, 1, inParallel - 1, inParallel, piece + 1, leastSpare, 5<<20 + 3} {
				raw := make([]byte, size)
				_, _ = rng.Read(raw)
				for _, hint := range []int{0, size} {
					m := intake{spares: spare, verify: true}
					err := m.fill(pieces(bytes.NewReader(raw)), int64(hint), 8<<20)
					want := sha256.Sum256(raw)
					if err != nil || !bytes.Equal(m.buf, raw) || !bytes.Equal(m.sum(), want[:]) {
						t.Errorf("%d bytes, hint %d: %d came, %v, digest %x", size, hint, len(m.buf), err, m.sum())
					}
					m.drop() // its memory is the next one's
				}
			}
		})
	}
}

func TestMemoryIsKeptForTheNextObjectUnlessItIsAGiant(t *testing.T) {
	var s spares
	for _, size := range []int{leastSpare - 1, mostSpare + 1} {
		s.give(make([]byte, 0, size))
		if p := s.take(leastSpare); p != nil {
			t.Errorf("%d bytes were kept", cap(p))
		}
	}
	var none *spares
	none.give(make([]byte, leastSpare))
	if p := none.take(leastSpare); p != nil {
		t.Errorf("nobody keeps memory, and there are %d bytes", cap(p))
	}
	if p := s.take(leastSpare - 1); p != nil {
		t.Errorf("%d bytes for what is too small for a spare", cap(p))
	}
}
