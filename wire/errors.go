package wire

import (
	"errors"
	"fmt"
)

// ErrTruncated reports a connection that ended in the middle of an IPC stream:
// bytes were lost. A connection that ends between two streams is io.EOF.
var ErrTruncated = errors.New("wire: connection lost inside an IPC stream")

// A LimitError refuses something larger than a limit of this side. The
// connection stays usable when InStep is true.
type LimitError struct {
	Limit  string // the option's name, "MaxMessageBytes" for instance
	What   string // what was too large
	Got    int64  // bytes asked for
	Max    int64  // bytes allowed
	InStep bool   // the rest of the stream can be discarded
}

// Error names the limit, both sizes and what to do.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%s of %d bytes exceeds %s (%d bytes): send less, or raise %s on the receiving side",
		e.What, e.Got, e.Limit, e.Max, e.Limit)
}

// A FormatError reports bytes that are not the Arrow IPC that the protocol
// asks for. The connection stays usable when InStep is true.
type FormatError struct {
	Where  string // "message prefix", "record batch", or the path of a field
	Reason string
	InStep bool // the framing held: the rest of the stream can be discarded
}

// Error says where and why.
func (e *FormatError) Error() string { return "invalid Arrow IPC: " + e.Where + ": " + e.Reason }

// A BusyError refuses a message because the process holds too many bytes of
// other calls. It is worth a retry.
type BusyError struct {
	Want, Held, Max int64 // bytes
}

// Error names the budget and what to do.
func (e *BusyError) Error() string {
	return fmt.Sprintf("message of %d bytes refused: %d of %d bytes (MaxBytesInFlight) are held by other calls; retry later",
		e.Want, e.Held, e.Max)
}

// InStep reports whether the stream that gave err can still be drained, so that
// the connection stays usable.
func InStep(err error) bool {
	if limit, ok := errors.AsType[*LimitError](err); ok {
		return limit.InStep
	}
	if format, ok := errors.AsType[*FormatError](err); ok {
		return format.InStep
	}
	var busy *BusyError
	return errors.As(err, &busy)
}

func formatErrorf(where, reason string, args ...any) *FormatError {
	return &FormatError{Where: where, Reason: fmt.Sprintf(reason, args...)}
}

// batchErrorf is a formatErrorf for a message whose framing held.
func batchErrorf(where, reason string, args ...any) *FormatError {
	e := formatErrorf(where, reason, args...)
	e.InStep = true
	return e
}
