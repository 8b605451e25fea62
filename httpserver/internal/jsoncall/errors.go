package jsoncall

import (
	"errors"
	"fmt"
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

func refusef(format string, args ...any) error {
	return &ParamError{Reason: fmt.Sprintf(format, args...)}
}

// within puts a member's name, or an element's index in brackets, in front of
// the path in err.
func within(name string, err error) error {
	e, ok := errors.AsType[*ParamError](err)
	switch {
	case !ok:
		return err
	case e.Path == "" || e.Path[0] == '[':
		e.Path = name + e.Path
	default:
		e.Path = name + "." + e.Path
	}
	return err
}

func withinItem(i int, err error) error {
	if err == nil {
		return nil
	}
	return within(fmt.Sprintf("[%d]", i), err)
}
