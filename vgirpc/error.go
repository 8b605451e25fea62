package vgirpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Error is a failed call as it travels: a canonical code, a kind that the
// caller may branch on, typed details, and a message for developers
// (WIRE_PROTOCOL section 8).
//
// A handler returns one to choose what the caller sees; any other error is sent
// with code UNKNOWN under the name of its Go type. A client's call returns one
// for everything that went wrong remotely; [IsRemote] tells whether the server
// said so.
type Error struct {
	Code    Code   // UNKNOWN when empty
	Kind    string // unique within the protocol; "" for none
	Type    string // name of the error's type on the wire; "Error" when empty
	Message string
	Details []Detail
	Cause   error // for errors.Is and As on this side; sent as text only

	// What a remote error brought along.
	RawDetails []json.RawMessage // every element as received, unknown types too
	Traceback  string
	RequestID  string
	ServerID   string

	remote bool
	stack  []uintptr
}

// Errorf returns an *Error with a code and a formatted message. A %w operand
// becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Cause: errors.Unwrap(err), stack: callers(1)}
}

// WithKind sets the kind and returns e.
func (e *Error) WithKind(kind string) *Error {
	e.Kind = kind
	return e
}

// WithType sets the name of the error's type on the wire and returns e.
func (e *Error) WithType(name string) *Error {
	e.Type = name
	return e
}

// WithDetails appends details and returns e.
func (e *Error) WithDetails(details ...Detail) *Error {
	e.Details = append(e.Details, details...)
	return e
}

// Error is the type, the code and the message.
func (e *Error) Error() string {
	var b strings.Builder
	if t := e.wireType(); t != "Error" {
		b.WriteString(t + ": ")
	}
	b.WriteString(e.Message)
	if e.Code != "" && e.Code != Unknown {
		b.WriteString(" (" + string(e.Code))
		if e.Kind != "" {
			b.WriteString(", " + e.Kind)
		}
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is an *Error of the same kind or, when target has
// no kind, of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	if !ok {
		return false
	}
	if t.Kind != "" {
		return e.Kind == t.Kind
	}
	return t.Code != "" && e.Kind == "" && e.Code == t.Code && t.Message == ""
}

// StackTrace is where the error was made, as runtime.Callers has it, the
// innermost call first: of one by [Errorf], and of a panic. Nil where that is not
// known.
func (e *Error) StackTrace() []uintptr { return slices.Clone(e.stack) }

// TypeName is the name of the error's type on the wire: Type, or "Error".
func (e *Error) TypeName() string { return e.wireType() }

func (e *Error) wireType() string {
	if e.Type == "" {
		return "Error"
	}
	return e.Type
}

// Retryable reports whether the same call may be tried again: UNAVAILABLE, or
// RESOURCE_EXHAUSTED with a [RetryInfo] (WIRE_PROTOCOL section 8).
func (e *Error) Retryable() bool {
	if e.Code == Unavailable {
		return true
	}
	_, ok := DetailOf[RetryInfo](e)
	return ok && e.Code == ResourceExhausted
}

// DetailOf returns err's detail of type D, when err is or wraps an *Error that
// has one.
func DetailOf[D Detail](err error) (D, bool) {
	var zero D
	var e *Error
	if !errors.As(err, &e) {
		return zero, false
	}
	for _, d := range e.Details {
		if got, ok := d.(D); ok {
			return got, true
		}
	}
	return zero, false
}

// CodeOf returns the code of err: that of the *Error in its chain, CANCELLED or
// DEADLINE_EXCEEDED for those of package context, else UNKNOWN.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case errors.As(err, &e):
		if e.Code == "" {
			return Unknown
		}
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return Cancelled
	}
	return Unknown
}

// IsRemote reports whether err came from the other side as a typed answer, and
// was not inferred on this one.
func IsRemote(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.remote
}

// remoteError is the error that an EXCEPTION batch carries.
func remoteError(meta wire.Metadata) *Error {
	s := wire.ParseStatus(meta)
	code := Code(s.Code)
	if code != "" && !code.Valid() {
		code = Unknown
	}
	e := &Error{
		Code: code, Kind: s.Kind, Type: s.Type, Message: s.Message, RawDetails: s.Details,
		Traceback: s.Traceback, RequestID: s.RequestID, ServerID: s.ServerID, remote: true,
	}
	for _, raw := range s.Details {
		if d := decodeDetail(raw); d != nil {
			e.Details = append(e.Details, d)
		}
	}
	return e
}

// asError gives any error the form in which it travels.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		if e == err { //nolint:err113,errorlint // identity: nothing is wrapped around it
			return e
		}
		wrapped := *e
		wrapped.Message, wrapped.Cause = err.Error(), err
		return &wrapped
	}
	out := &Error{Code: CodeOf(err), Type: typeName(err), Message: errorText(err), Cause: errors.Unwrap(err)}
	var limit *wire.LimitError
	var busy *wire.BusyError
	var format *wire.FormatError
	var value *codec.ValueError
	var schema *codec.SchemaError
	switch {
	case errors.As(err, &limit):
		out.Code, out.Type = ResourceExhausted, "LimitError"
	case errors.As(err, &busy):
		out.Code, out.Type = ResourceExhausted, "BusyError"
		out.Details = []Detail{RetryInfo{RetryDelaySeconds: 1}}
	case errors.As(err, &format), errors.Is(err, wire.ErrTruncated):
		out.Code, out.Type = InvalidArgument, "FormatError"
	case errors.As(err, &value), errors.As(err, &schema):
		out.Code, out.Type = InvalidArgument, "TypeError"
	}
	return out
}

// errorText is err.Error(), guarded: an error's text must not be able to fail
// the answer.
func errorText(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("(its Error method panicked: %v)", p)
		}
	}()
	return err.Error()
}

// typeName is the name of err's Go type without package and pointer, or "Error"
// for the anonymous ones of the standard library.
func typeName(err error) string {
	t := reflect.TypeOf(err)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch name := t.Name(); name {
	case "", "errorString", "wrapError", "wrapErrors", "joinError":
		return "Error"
	default:
		return name
	}
}

// status is e as the wire carries it. method is "protocol/method" for the
// traceback, and "" where none was resolved.
func (e *Error) status(method string, tracebacks bool) wire.Status {
	s := wire.Status{Type: e.wireType(), Message: e.Message, Code: string(e.Code), Kind: e.Kind}
	if e.Code == "" {
		s.Code = string(Unknown)
	}
	for _, d := range e.Details {
		raw, err := encodeDetail(d)
		if err != nil {
			s.Details = nil // all or nothing: a partial list misleads
			break
		}
		s.Details = append(s.Details, raw)
	}
	if tracebacks {
		e.trace(&s, method)
	}
	return s
}

// trace writes the traceback: type and message, the method, then the stack
// where one was taken.
func (e *Error) trace(s *wire.Status, method string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", s.Type, s.Message)
	if method != "" {
		fmt.Fprintf(&b, "\n  in %s", method)
	}
	frames := runtime.CallersFrames(e.stack)
	for len(e.stack) > 0 {
		f, more := frames.Next()
		fmt.Fprintf(&b, "\n  at %s (%s:%d)", f.Function, f.File, f.Line)
		if len(s.Frames) < maxFrames {
			s.Frames = append(s.Frames, wire.Frame{File: f.File, Line: f.Line, Function: f.Function})
		}
		if !more {
			break
		}
	}
	slices.Reverse(s.Frames) // the most recent frame is the last
	if e.Cause != nil {
		s.Cause = errorText(e.Cause)
		fmt.Fprintf(&b, "\ncaused by %s: %s", typeName(e.Cause), s.Cause)
	}
	s.Traceback = b.String()
}

// maxFrames bounds the frames of an error (WIRE_PROTOCOL section 8).
const maxFrames = 5

// callers is the stack above the function that called it, skipping skip more.
func callers(skip int) []uintptr {
	var pcs [32]uintptr
	n := runtime.Callers(skip+2, pcs[:])
	return append([]uintptr(nil), pcs[:n]...)
}

// panicError is the error of a handler that panicked.
func panicError(p any) *Error {
	e := &Error{Code: Unknown, Type: "PanicError", stack: callers(2)}
	if err, ok := p.(error); ok {
		e.Message, e.Cause = "handler panicked: "+errorText(err), err
		return e
	}
	e.Message = fmt.Sprintf("handler panicked: %v", p)
	return e
}

// protocolErrorf is an error about the request itself.
func protocolErrorf(wireType, format string, args ...any) *Error {
	return &Error{Code: InvalidArgument, Type: wireType, Message: fmt.Sprintf(format, args...)}
}
