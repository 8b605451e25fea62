package external

import (
	"fmt"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Names of error types on the wire.
const (
	typeLocation = "ExternalLocationError"
	typeTooLarge = "ResponseTooLargeError"
)

// refusef is a failure that another attempt would not mend.
func refusef(code vgirpc.Code, format string, args ...any) *vgirpc.Error {
	return vgirpc.Errorf(code, "ExternalLocation "+format, args...).WithType(typeLocation)
}

// transient is a failure that another attempt may mend. Its text is redacted.
type transient struct{ text string }

// Error is the text.
func (e *transient) Error() string { return e.text }

func transientf(format string, args ...any) error {
	return &transient{fmt.Sprintf(format, args...)}
}

// overBudget refuses an upload of n bytes that a budget of limit does not
// allow.
func overBudget(n, limit int64) error {
	return vgirpc.Errorf(vgirpc.ResourceExhausted,
		"Externalised payload exceeds max_externalized_response_bytes (%d > %d)", n, limit).WithType(typeTooLarge)
}
