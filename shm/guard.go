package shm

import (
	"runtime/debug"
	"unsafe"
)

// touch copies src to dst, one of which lies in the segment's memory mem. It is
// the only function that reads or writes memory that may go away: a file that is
// truncated takes the pages of its mapping with it, and touching one would end
// the process. Here that is a *FaultError, and dst may be half written.
func touch(dst, src, mem []byte) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			err = faultOf(p, mem)
		}
	}()
	copy(dst, src)
	return nil
}

// faultOf is the panic p of a fault in mem as an error. Any other panic goes on.
func faultOf(p any, mem []byte) error {
	fault, ok := p.(interface {
		error
		Addr() uintptr
	})
	if ok {
		base := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
		if at := fault.Addr(); at >= base && at-base < uintptr(len(mem)) {
			return &FaultError{Offset: int64(at - base)}
		}
	}
	panic(p) //nolint:forbidigo // not ours: memory that the caller gave
}

// aligned reports whether values of any width may lie at the start of p.
func aligned(p []byte) bool {
	return len(p) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(p)))%8 == 0
}
