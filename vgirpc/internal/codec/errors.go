package codec

import (
	"errors"
	"fmt"

	"github.com/vgirpc/vgirpc-go/wire"
)

// A CompileError reports a Go type or a struct tag that has no Arrow form.
type CompileError struct {
	Type   string // the struct, or the type itself
	Field  string // the Go field, "" when the type as a whole is the problem
	Reason string // what is wrong and what to do
}

// Error names type, field and what to do.
func (e *CompileError) Error() string {
	if e.Field == "" {
		return e.Type + ": " + e.Reason
	}
	return e.Type + "." + e.Field + ": " + e.Reason
}

// A StateError reports a stream state that cannot be stored: a snapshot of it
// would lose something.
type StateError struct {
	Type   string
	Field  string
	Reason string
}

// Error names type, field and what to do.
func (e *StateError) Error() string {
	if e.Field == "" {
		return "stream state " + e.Type + ": " + e.Reason
	}
	return "stream state " + e.Type + ", field " + e.Field + ": " + e.Reason
}

// A SchemaError reports a schema that is not the one declared: of parameters,
// which must match exactly, or of a row that lacks a column.
type SchemaError struct {
	What  string // "parameters", "result" or "row"
	Field string // path of the column whose value has the schema, if it is not the batch's
	Diff  string
}

// Error says where the schemas differ.
func (e *SchemaError) Error() string {
	if e.Field != "" {
		return e.What + " schema mismatch in " + e.Field + ": " + e.Diff
	}
	return e.What + " schema mismatch: " + e.Diff
}

// A ValueError reports one value that its column, or its Go type, cannot hold:
// a null where a value is required, an unknown enum name, a number out of
// range. It never contains the value of a string or of bytes.
type ValueError struct {
	What   string // "parameter", "field" or "result"
	Field  string // path of column names; "[]" is an element of a list
	Row    int    // of the batch; -1 when it is not known
	Reason string
	Null   bool // the value is a null
}

// Error names the column, the row where it is not the first, and the reason.
func (e *ValueError) Error() string {
	what := e.What
	if what == "" {
		what = "field"
	}
	if e.Field != "" {
		what += " " + e.Field
	}
	if e.Row > 0 {
		what = fmt.Sprintf("%s, row %d", what, e.Row)
	}
	return what + ": " + e.Reason
}

func nullError(row int) error {
	return &ValueError{Row: row, Reason: "null where a value is required", Null: true}
}

func valueErrorf(row int, reason string, args ...any) error {
	return &ValueError{Row: row, Reason: fmt.Sprintf(reason, args...)}
}

// malformed reports a batch whose buffers contradict each other. Validation in
// wire finds these first, unless it is off.
func malformed(reason string, args ...any) error {
	return &wire.FormatError{Reason: fmt.Sprintf(reason, args...), InStep: true}
}

// inField puts a column's name in front of the path in err.
func inField(err error, name string) error {
	if value, ok := errors.AsType[*ValueError](err); ok {
		value.Field = join(name, value.Field)
	}
	if format, ok := errors.AsType[*wire.FormatError](err); ok {
		format.Where = join(name, format.Where)
	}
	if schema, ok := errors.AsType[*SchemaError](err); ok {
		schema.Field = join(name, schema.Field)
	}
	return err
}

// inItem says that err, if any, is about an element, whose row is not a row of
// the batch.
func inItem(err error) error {
	if err == nil {
		return nil
	}
	if value, ok := errors.AsType[*ValueError](err); ok {
		value.Row = -1
	}
	return inField(err, "[]")
}

func join(name, path string) string {
	switch {
	case path == "":
		return name
	case path[0] == '[' || path[0] == '(':
		return name + path
	}
	return name + "." + path
}

// recovered turns a panic while reading a hostile batch into an error. It is
// the last resort behind the checks of each codec.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = &wire.FormatError{Where: "record batch", Reason: fmt.Sprint(p), InStep: true}
	}
}
