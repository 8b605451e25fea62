package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Exit statuses. They are stable: exitCodesHelp documents them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitWarnings    = 4
	exitProblems    = 5
	exitCodes       = 64
	exitInterrupted = 130
)

// codeNumbers are the canonical codes in the order of their numbers, which begin
// at 1.
func codeNumbers() []vgirpc.Code {
	return []vgirpc.Code{
		vgirpc.Cancelled, vgirpc.Unknown, vgirpc.InvalidArgument, vgirpc.DeadlineExceeded, vgirpc.NotFound,
		vgirpc.AlreadyExists, vgirpc.PermissionDenied, vgirpc.ResourceExhausted, vgirpc.FailedPrecondition,
		vgirpc.Aborted, vgirpc.OutOfRange, vgirpc.Unimplemented, vgirpc.Internal, vgirpc.Unavailable,
		vgirpc.DataLoss, vgirpc.Unauthenticated,
	}
}

// codeStatus is the exit status of a call that ended with a code.
func codeStatus(code vgirpc.Code) int {
	number := slices.Index(codeNumbers(), code) + 1
	if number == 0 {
		number = slices.Index(codeNumbers(), vgirpc.Unknown) + 1
	}
	return exitCodes + number
}

func exitCodesHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, `The exit status of vgi says what happened:

  %3d  all went well
  %3d  something failed here: a file, the output
  %3d  the command line makes no sense: a flag, a URL, an argument of a method
  %3d  the server could not be reached
  %3d  doctor: there are warnings
  %3d  doctor: there are problems
  %3d  interrupted

A call that failed has the number of its code, from %d on:

`, exitOK, exitFailed, exitUsage, exitUnreachable, exitWarnings, exitProblems, exitInterrupted, exitCodes)
	for _, code := range codeNumbers() {
		fmt.Fprintf(&b, "  %3d  %s\n", codeStatus(code), code)
	}
	b.WriteString(`
A code is the server's own answer, or what this side makes of a call that got
none: DEADLINE_EXCEEDED when --timeout has passed, UNAVAILABLE when the
connection broke in the middle, UNAUTHENTICATED when HTTP answered 401.
bench ends with the code that most of the failed calls had.
`)
	return b.String()
}

// failure is an error with the exit status that it means.
type failure struct {
	status int
	err    error
}

func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the error.
func (f *failure) Unwrap() error { return f.err }

// usagef is an error of the one who typed the command line.
func usagef(format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...)}
}

// unreachable is the error of a connection that was not made.
func unreachable(err error) error {
	switch vgirpc.CodeOf(err) {
	case vgirpc.InvalidArgument:
		if !vgirpc.IsRemote(err) {
			return &failure{exitUsage, err}
		}
	case vgirpc.Unavailable:
		return &failure{exitUnreachable, err}
	default:
	}
	return err
}

// statusOf is the exit status of an error.
func statusOf(ctx context.Context, err error) int {
	var f *failure
	var e *vgirpc.Error
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &f):
		return f.status
	case errors.As(err, &e), errors.Is(err, context.DeadlineExceeded):
		return codeStatus(vgirpc.CodeOf(err))
	}
	return exitFailed
}

// report is an error as --json-errors writes it.
type report struct {
	Status    int               `json:"exit_status"`
	Code      vgirpc.Code       `json:"code,omitempty"`
	Kind      string            `json:"kind,omitempty"`
	Type      string            `json:"type,omitempty"`
	Message   string            `json:"message"`
	Details   []json.RawMessage `json:"details,omitempty"`
	Remote    bool              `json:"remote"`
	RequestID string            `json:"request_id,omitempty"`
	ServerID  string            `json:"server_id,omitempty"`
	Traceback string            `json:"traceback,omitempty"`
}

func newReport(status int, err error, traceback bool) report {
	r := report{Status: status, Message: err.Error(), Remote: vgirpc.IsRemote(err)}
	var e *vgirpc.Error
	if !errors.As(err, &e) {
		if errors.Is(err, context.DeadlineExceeded) {
			r.Code = vgirpc.DeadlineExceeded
		}
		return r
	}
	r.Message = plain(err, e)
	r.Code, r.Kind, r.Type = vgirpc.CodeOf(e), e.Kind, e.TypeName()
	r.Details, r.RequestID, r.ServerID = e.RawDetails, e.RequestID, e.ServerID
	if len(r.Details) == 0 {
		for _, d := range e.Details {
			if raw := detailJSON(d); raw != nil {
				r.Details = append(r.Details, raw)
			}
		}
	}
	if traceback {
		r.Traceback = e.Traceback
	}
	return r
}

// plain is the text of err without the type, code and kind of the e in it, which are
// told beside it. What is around e stays: which call it was, of how many.
func plain(err error, e *vgirpc.Error) string {
	return strings.Replace(err.Error(), e.Error(), e.Message, 1)
}

// detailJSON is a detail in the form in which it travels, nil when it has none.
func detailJSON(d vgirpc.Detail) json.RawMessage {
	body, err := json.Marshal(d)
	fields := map[string]any{}
	if err != nil || json.Unmarshal(body, &fields) != nil {
		return nil
	}
	fields["@type"] = d.DetailType()
	if body, err = json.Marshal(fields); err != nil {
		return nil
	}
	return body
}

// writeError tells of an error, as text or as one line of JSON.
func writeError(w io.Writer, status int, err error, asJSON, traceback bool) {
	r := newReport(status, err, traceback)
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(map[string]report{"error": r}); err == nil {
			return
		}
	}
	text := "error: "
	if r.Code != "" && status >= exitCodes {
		text += string(r.Code) + ": "
	}
	fmt.Fprintln(w, text+clean(r.Message))
	if r.Remote && r.Type != "" && r.Type != "Error" {
		fmt.Fprintf(w, "  type: %s\n", clean(r.Type))
	}
	for _, line := range []struct{ name, value string }{
		{"kind", r.Kind}, {"request", r.RequestID}, {"server", r.ServerID},
	} {
		if line.value != "" {
			fmt.Fprintf(w, "  %s: %s\n", line.name, clean(line.value))
		}
	}
	for _, d := range r.Details {
		fmt.Fprintf(w, "  detail: %s\n", clean(string(d)))
	}
	if r.Traceback != "" {
		fmt.Fprintf(w, "  traceback:\n    %s\n", strings.ReplaceAll(clean(r.Traceback), "\n", "\n    "))
	}
	if hint := loginHint(err); hint != "" {
		fmt.Fprintln(w, "  hint: "+hint)
	}
	if status == exitUsage {
		fmt.Fprintln(w, "Try 'vgi --help'.")
	}
}

// clean is text of a server without what steers a terminal. Lines stay.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
