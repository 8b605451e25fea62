package values

import (
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/internal/arrowjson"
)

// Error is a value that a column cannot hold.
type Error struct {
	Path string // name of the argument, with members behind dots and items in brackets
	Text string
}

// Error is the path and the text.
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Text
	}
	return e.Path + ": " + e.Text
}

func refusef(format string, args ...any) *Error { return &Error{Text: fmt.Sprintf(format, args...)} }

// within puts an error inside of a member or item.
func within(name string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", name, err)
	}
	if e.Path != "" && !strings.HasPrefix(e.Path, "[") {
		name += "."
	}
	return &Error{Path: name + e.Path, Text: e.Text}
}

// Object is a JSON object with its members in their order. Values are nil, bool,
// json.Number, string, []any and *Object.
type Object = arrowjson.Object

// NewObject returns an object without members.
func NewObject() *Object { return &Object{} }

// maxDepth bounds nesting, which is recursion.
const maxDepth = 200

// Parse reads one JSON value, and nothing may follow it. A member that occurs
// twice is refused.
func Parse(data []byte) (any, error) {
	v, err := arrowjson.Parse(data, maxDepth)
	return v, refusal(err)
}

// ParseObject is [Parse] for an object.
func ParseObject(data []byte) (*Object, error) {
	v, err := Parse(data)
	if err != nil {
		return nil, err
	}
	o, ok := v.(*Object)
	if !ok {
		return nil, refusef("want a JSON object, got %s", describe(v))
	}
	return o, nil
}

// refusal is an error of package arrowjson as people see it, who may be shown
// what they wrote.
func refusal(err error) error {
	e, ok := errors.AsType[*arrowjson.Error](err)
	if !ok {
		return err
	}
	return &Error{Path: e.Path, Text: text(e)}
}

func text(e *arrowjson.Error) string {
	switch e.Kind {
	case arrowjson.KindNull:
		return fmt.Sprintf("null is not of type %s: it is required", TypeName(e.Type))
	case arrowjson.KindMissing:
		return fmt.Sprintf("missing: it is required, of type %s", TypeName(e.Type))
	case arrowjson.KindName:
		return unknownName(e)
	case arrowjson.KindPair:
		return describe(e.Value) + " is not a [key, value] pair"
	case arrowjson.KindBase64:
		return fmt.Sprintf("%s is not base64, as a %s is written", describe(e.Value), TypeName(e.Type))
	case arrowjson.KindFraction:
		scale := e.Type.(arrow.DecimalType).GetScale()
		return fmt.Sprintf("%s has %d digits behind the point: a %s has %d", describe(e.Value), e.Have, TypeName(e.Type), scale)
	case arrowjson.KindSize:
		what := "items"
		if isBinary(e.Type.ID()) {
			what = "bytes"
		}
		return fmt.Sprintf("%d %s are not of type %s", e.Have, what, TypeName(e.Type))
	case arrowjson.KindTwice:
		return describe(e.Value) + " is given twice"
	case arrowjson.KindEnds:
		return "not JSON: it ends too early"
	case arrowjson.KindGoesOn:
		return fmt.Sprintf("not JSON: something follows the value at byte %d", e.Have)
	case arrowjson.KindSyntax, arrowjson.KindDeep:
		return strings.TrimPrefix(e.Reason, "is ")
	case arrowjson.KindValue, arrowjson.KindForm:
	}
	return fmt.Sprintf("%s is not of type %s%s", describe(e.Value), TypeName(e.Type), hint(e))
}

func unknownName(e *arrowjson.Error) string {
	name, _ := e.Value.(string)
	if len(e.Names) == 0 {
		return fmt.Sprintf("unknown name %q: there are none", name)
	}
	return fmt.Sprintf("unknown name %q%s: want %s", name, DidYouMean(name, e.Names), strings.Join(e.Names, ", "))
}

// hint is what to write instead, where the type alone does not tell.
func hint(e *arrowjson.Error) string {
	_, isText := e.Value.(string)
	switch id := e.Type.ID(); {
	case id == arrow.DURATION && !isText:
		return `: want a string such as "90.5s"`
	case arrow.IsDecimal(id) && e.Kind == arrowjson.KindForm:
		return ": want digits such as 12.50"
	case !isBinary(id) || isText:
		return ""
	}
	if _, ok := e.Value.(*Object); ok {
		return ": want a string of base64, and its description does not say which fields are packed into it (see --pack)"
	}
	return ": want a string of base64"
}

func isBinary(id arrow.Type) bool {
	return id == arrow.BINARY || id == arrow.LARGE_BINARY || id == arrow.FIXED_SIZE_BINARY || id == arrow.BINARY_VIEW
}

// describe is a value for an error message, shortened.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case *Object:
		return "an object"
	case []any:
		return "an array"
	case string:
		if len(v) > 40 {
			v = strings.ToValidUTF8(v[:40], "") + "…"
		}
		return fmt.Sprintf("%q", v)
	default:
		return fmt.Sprint(v)
	}
}
