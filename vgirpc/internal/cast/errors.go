package cast

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// maxListed is the number of fields that an error's text names. A peer's schema
// may have any number.
const maxListed = 8

// MismatchError reports that a received schema cannot be made into the declared
// one, whatever the rows hold. Each field stands in one of the three lists.
type MismatchError struct {
	// Missing are declared fields that were not received.
	Missing []arrow.Field
	// Unexpected are received fields that were not declared.
	Unexpected []arrow.Field
	// Types are fields that are in both schemas, with types between which there
	// is no cast.
	Types []TypeConflict
}

// TypeConflict is a field whose received type has no cast to the declared one.
type TypeConflict struct {
	// Field is the name of the top-level field.
	Field string
	// Expected is the declared type.
	Expected arrow.DataType
	// Received is the type that came.
	Received arrow.DataType
}

// Error begins with "Input schema mismatch", as the reference implementation's
// text does, and names the first fields of the lists with their types.
func (e *MismatchError) Error() string {
	var parts []string
	for _, f := range e.Missing {
		parts = append(parts, "missing "+schemacmp.FieldString(f))
	}
	for _, f := range e.Unexpected {
		parts = append(parts, "unexpected "+schemacmp.FieldString(f))
	}
	for _, c := range e.Types {
		name := schemacmp.FieldString(arrow.Field{Name: c.Field, Type: c.Expected, Nullable: true})
		parts = append(parts, "expected "+name+", received "+schemacmp.TypeString(c.Received))
	}
	if more := len(parts) - maxListed; more > 0 {
		parts = append(parts[:maxListed], fmt.Sprintf("and %d more", more))
	}
	return "Input schema mismatch: " + strings.Join(parts, "; ")
}

// ValueError reports a value that has no equal in the declared type, or a null
// where none is allowed. It never holds the value.
type ValueError struct {
	// Field is the path to the value: the top-level field's name, and below it
	// the names of struct fields, "item" in a list, "key" and "value" in a map,
	// with dots between them.
	Field string
	// Row is the row in the batch, from zero.
	Row int
	// Received is the value's type, at the end of the path.
	Received arrow.DataType
	// Expected is the declared type, at the end of the path.
	Expected arrow.DataType
	// Reason completes a sentence about the value, such as "does not fit".
	Reason string
}

// Error names the field, the row and the types.
func (e *ValueError) Error() string {
	return fmt.Sprintf("Input value mismatch: field %q, row %d: the value %s (%s to %s)",
		wire.Clip(e.Field, 200), e.Row, e.Reason, schemacmp.TypeString(e.Received), schemacmp.TypeString(e.Expected))
}

// The reasons of a ValueError.
const (
	reasonRange   = "does not fit"
	reasonLoss    = "would lose precision"
	reasonNull    = "is null and must not be"
	reasonUTF8    = "is not valid UTF-8"
	reasonTooMany = "is one distinct value more than the dictionary's index can count"
	reasonTooBig  = "makes the column too big"
)

// below puts a name in front of the path of an error from a child.
func below(name string, err *ValueError) *ValueError {
	if err.Field != "" {
		name += "." + err.Field
	}
	err.Field = name
	return err
}
