package shm

import (
	"bytes"
	"runtime"
	"testing"
)

// A large copy is shared among goroutines, and no size may lose bytes between
// their shares or behind the last one.
func TestEveryByteIsCopied(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(mostShares))
	longest := (mostShares+1)*share + 200
	src := bytes.Repeat([]byte{0x5a}, longest)
	dst := make([]byte, longest)
	for shares := range mostShares + 2 {
		for more := range 200 {
			n := shares*share + more
			clear(dst)
			if err := touch(dst[:n], src[:n], dst); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(dst[:n], src[:n]) {
				at := bytes.IndexByte(dst[:n], 0)
				t.Errorf("%d × %d + %d bytes: byte %d was not copied", shares, share, more, at)
			}
			if len(bytes.Trim(dst[n:], "\x00")) > 0 {
				t.Errorf("%d × %d + %d bytes: something was written behind them", shares, share, more)
			}
		}
	}
}
