package encoding

import "fmt"

// UnsupportedError says that a request's body has a coding that the server
// does not decode: status 415.
type UnsupportedError struct {
	// Coding is what the request named, cut to 64 bytes.
	Coding string
	// Accept lists what the server decodes, as the Accept-Encoding header of
	// the answer may (RFC 9110, section 15.5.16).
	Accept string

	stacked bool
}

// Error names the coding and what to use instead.
func (e *UnsupportedError) Error() string {
	if e.stacked {
		return fmt.Sprintf("several content codings on one body are not supported (%q): send one of %s", e.Coding, e.Accept)
	}
	return fmt.Sprintf("content coding %q is not supported: send %s or identity", e.Coding, e.Accept)
}

// TooLargeError says that a body goes on past its limit: status 413.
type TooLargeError struct {
	// Limit is the most that was allowed, in bytes.
	Limit int64
	// Decoded says that the limit is on the body after its content coding was
	// undone, and not on the bytes that were sent.
	Decoded bool
}

// Error names the limit.
func (e *TooLargeError) Error() string {
	if e.Decoded {
		return fmt.Sprintf("decoded body exceeds the limit of %d bytes", e.Limit)
	}
	return fmt.Sprintf("body exceeds the limit of %d bytes", e.Limit)
}

// CorruptError says that a body is not what its coding says, or asks for more
// memory than a decoder has: status 400.
type CorruptError struct {
	// Coding is the coding that the body claims.
	Coding Coding
	// Cause is the decoder's error.
	Cause error
}

// Error names the coding and the decoder's error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("decode %s body: %v", e.Coding, e.Cause)
}

// Unwrap returns the decoder's error.
func (e *CorruptError) Unwrap() error { return e.Cause }
