package jsoncall

import (
	"errors"

	"github.com/vgirpc/vgirpc-go/internal/arrowjson"
)

// ErrTooLarge is what a body beyond the limit is refused with (HTTP 413).
var ErrTooLarge = errors.New("jsoncall: the body is larger than the server accepts")

// A ParamError reports a body that is not the JSON of the method's parameters
// (HTTP 400). It names the place and never contains a value.
type ParamError struct {
	Path   string // "point.x", "values[3]"; "" is the body as a whole
	Reason string
}

// Error names the place and the reason.
func (e *ParamError) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return "parameter " + e.Path + ": " + e.Reason
}

// paramError is a refusal as the caller sees it; other errors stay as they are.
func paramError(err error) error {
	if e, ok := errors.AsType[*arrowjson.Error](err); ok {
		return &ParamError{Path: e.Path, Reason: e.Reason}
	}
	return err
}
