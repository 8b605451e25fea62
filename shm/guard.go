package shm

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"
)

const (
	// piece is how much is copied at once, in bytes. A copy of 1 MiB or more goes
	// around the caches, and the other process, which is about to read it, would
	// find it in none of them.
	piece = 512 << 10
	// share is what is worth another goroutine, in bytes. The other process waits
	// meanwhile, and one core alone is slower than a socket, on which two copy. They
	// take pieces until there are none: who gets no core copies less.
	share = 1 << 20
	// mostShares is how many goroutines copy at once: more would wait for memory.
	mostShares = 4
)

// touch copies src to dst, which are as long as each other, and one of which lies
// in the segment's memory mem. It is the only function that reads or writes
// memory that may go away: a file that is truncated takes the pages of its
// mapping with it, and touching one would end the process. Here that is a
// *FaultError, and dst may be half written.
func touch(dst, src, mem []byte) error {
	shares := min(len(src)/share, mostShares)
	if shares > 1 {
		shares = min(shares, runtime.GOMAXPROCS(0))
	}
	if shares < 2 {
		return guarded(dst, src).errorIn(mem)
	}
	var next atomic.Int64
	copies := func() (f fault) {
		for f.reason == nil {
			at := int(next.Add(piece)) - piece
			if at >= len(src) {
				break
			}
			to := min(at+piece, len(src))
			f = guarded(dst[at:to], src[at:to])
		}
		return f
	}
	faults := make([]fault, shares)
	var others sync.WaitGroup
	for i := 1; i < shares; i++ {
		others.Go(func() { faults[i] = copies() })
	}
	faults[0] = copies()
	others.Wait()
	for _, f := range faults {
		if err := f.errorIn(mem); err != nil {
			return err
		}
	}
	return nil
}

// fault is what recover gave, nil when all went well.
type fault struct{ reason any }

// guarded copies src to dst. A fault in either ends it.
func guarded(dst, src []byte) (f fault) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		f.reason = recover()
	}()
	for len(src) > 0 {
		n := copy(dst, src[:min(len(src), piece)])
		dst, src = dst[n:], src[n:]
	}
	return f
}

// errorIn is a fault in mem as an error. Any other panic goes on.
func (f fault) errorIn(mem []byte) error {
	if f.reason == nil {
		return nil
	}
	at, ok := f.reason.(interface {
		error
		Addr() uintptr
	})
	if ok {
		base := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
		if at := at.Addr(); at >= base && at-base < uintptr(len(mem)) {
			return &FaultError{Offset: int64(at - base)}
		}
	}
	panic(f.reason) //nolint:forbidigo // not ours: memory that the caller gave
}

// aligned reports whether values of any width may lie at the start of p.
func aligned(p []byte) bool {
	return len(p) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(p)))%8 == 0
}
