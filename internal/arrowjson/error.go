package arrowjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
)

// Kind says in what way JSON was refused.
type Kind int

// The kinds. The first is for values that a column of the type cannot hold.
const (
	KindValue    Kind = iota
	KindForm          // a string is not in a form of the type
	KindNull          // null where a value is required
	KindMissing       // a required member is not there
	KindName          // no member is called so: Value is the name, Names are those there are
	KindPair          // Value is not a [key, value] pair
	KindBase64        // a string that is not base64
	KindFraction      // a decimal of Have digits behind the point, more than the type has
	KindSize          // Have bytes or elements are not the number that the type has
	KindEnds          // the text ends inside the JSON value
	KindGoesOn        // something follows the JSON value
	KindSyntax        // the text is not JSON
	KindTwice         // an object has two members of one name: Value is the name
	KindDeep          // the nesting is deeper than allowed
)

// An Error is JSON that was refused.
type Error struct {
	// Path is the place: members behind dots, elements in brackets.
	Path string
	// Reason is for whoever wrote the JSON. It never contains a value, but may
	// contain a name. Of the kinds from KindEnds on it goes on where "the text …"
	// begins, but for KindTwice.
	Reason string

	Kind  Kind
	Type  arrow.DataType // that was wanted, if a type was
	Value any            // that came, if one did
	Names []string
	Have  int
}

// Error is the path and the reason.
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

// Within puts a member's name, or an index in brackets, in front of the path
// of an [*Error]. Other errors stay as they are.
func Within(name string, err error) error {
	e, ok := errors.AsType[*Error](err)
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
	return Within("["+strconv.Itoa(i)+"]", err)
}

func refusef(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Reason: fmt.Sprintf(format, args...)}
}

// valuef refuses a value of the type that the column has.
func valuef(format string, args ...any) *Error { return refusef(KindValue, format, args...) }

// formf refuses a string that does not say what it should.
func formf(format string, args ...any) *Error { return refusef(KindForm, format, args...) }

// WrongKind says what was expected and what came, without its value.
func WrongKind(want string, v any) *Error {
	got := "an object"
	switch v.(type) {
	case nil:
		got = "null"
	case bool:
		got = "a boolean"
	case string:
		got = "a string"
	case json.Number:
		got = "a number"
	case []any:
		got = "an array"
	}
	return valuef("want %s, got %s", want, got)
}
