package values

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
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
type Object struct {
	Names  []string
	Values map[string]any
}

// maxDepth bounds nesting, which is recursion here.
const maxDepth = 200

// Parse reads one JSON value, and nothing may follow it. A member that occurs
// twice is refused.
func Parse(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := parseValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, refusef("not JSON: something follows the value at byte %d", dec.InputOffset())
	}
	return v, nil
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

func parseValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, refusef("nested more than %d deep", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, notJSON(err)
	}
	switch token {
	case json.Delim('{'):
		return parseObject(dec, depth)
	case json.Delim('['):
		items := []any{}
		for dec.More() {
			item, err := parseValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		_, err := dec.Token()
		return items, notJSON(err)
	}
	return token, nil
}

func parseObject(dec *json.Decoder, depth int) (any, error) {
	o := NewObject()
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		name := token.(string)
		v, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		if !o.Set(name, v) {
			return nil, refusef("%q is given twice", name)
		}
	}
	_, err := dec.Token()
	return o, notJSON(err)
}

func notJSON(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return refusef("not JSON: it ends too early")
	}
	return refusef("not JSON: %v", err)
}

// NewObject returns an object without members.
func NewObject() *Object { return &Object{Values: map[string]any{}} }

// Set adds a member, and reports false where there is one of that name.
func (o *Object) Set(name string, v any) bool {
	if _, ok := o.Values[name]; ok {
		return false
	}
	o.Names = append(o.Names, name)
	o.Values[name] = v
	return true
}

// MarshalJSON writes the members in their order.
func (o *Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range o.Names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(AppendString(nil, name))
		b.WriteByte(':')
		v, err := json.Marshal(o.Values[name])
		if err != nil {
			return nil, err
		}
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
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
