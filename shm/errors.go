package shm

import (
	"errors"
	"fmt"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

var (
	// ErrUnsupported reports a system on which this package has no shared memory.
	ErrUnsupported = errors.New("shm: shared memory is not supported on this system")
	// ErrFull reports a segment without a gap, or a table without an entry, for
	// what was to be placed: it travels in band.
	ErrFull = errors.New("shm: no room in the segment")
	// ErrNotAllocated reports a region that was to be freed and is not allocated.
	ErrNotAllocated = errors.New("shm: nothing is allocated there")
	// ErrClosed reports the use of a closed segment.
	ErrClosed = errors.New("shm: the segment is closed")
)

// A SegmentError reports a segment, its table, or a pointer into it, that breaks
// the layout of WIRE_PROTOCOL section 11.
type SegmentError struct {
	Name   string // of the segment; "" when it does not matter
	Reason string
}

// Error says which segment and why.
func (e *SegmentError) Error() string {
	if e.Name == "" {
		return "shm: " + e.Reason
	}
	return fmt.Sprintf("shm: segment %q: %s", e.Name, e.Reason)
}

func segmentErrorf(reason string, args ...any) *SegmentError {
	return &SegmentError{Reason: fmt.Sprintf(reason, args...)}
}

// A FaultError reports memory of a segment that is not there any more: its file
// was truncated, or the system had no page left for it.
type FaultError struct {
	Name   string
	Offset int64 // of the byte that could not be touched, in the segment
}

// Error says where.
func (e *FaultError) Error() string {
	return fmt.Sprintf("shm: segment %q: no memory at byte %d: the file was truncated, or shared memory is exhausted", e.Name, e.Offset)
}

// refusal is err as the error of a call: what a peer wrote is INVALID_ARGUMENT,
// and memory that went away DATA_LOSS.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*vgirpc.Error](err); ok {
		return err
	}
	code := vgirpc.InvalidArgument
	var fault *FaultError
	var limit *wire.LimitError
	var busy *wire.BusyError
	switch {
	case errors.As(err, &limit), errors.As(err, &busy):
		code = vgirpc.ResourceExhausted
	case errors.As(err, &fault):
		code = vgirpc.DataLoss
	case errors.Is(err, ErrClosed), errors.Is(err, ErrUnsupported):
		code = vgirpc.FailedPrecondition
	}
	return &vgirpc.Error{Code: code, Type: "SharedMemoryError", Message: err.Error(), Cause: err}
}
