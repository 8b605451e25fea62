package arrowjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// Object is a JSON object with its members in their order. Values are nil, bool,
// json.Number, string, []any and *Object. The zero value has no members.
type Object struct {
	names  []string
	values []any
	index  map[string]int // of names, once there are many
}

// few is how many names are looked through rather than looked up.
const few = 8

// Len is the number of members.
func (o *Object) Len() int { return len(o.names) }

// Names are the names of the members in their order. They belong to the object.
func (o *Object) Names() []string { return o.names }

// Get is the value of a member, and whether there is one of that name.
func (o *Object) Get(name string) (any, bool) {
	if i := o.find(name); i >= 0 {
		return o.values[i], true
	}
	return nil, false
}

// Set adds a member, and reports false where there is one of that name.
func (o *Object) Set(name string, v any) bool {
	if o.find(name) >= 0 {
		return false
	}
	o.names, o.values = append(o.names, name), append(o.values, v)
	switch n := len(o.names); {
	case o.index != nil:
		o.index[name] = n - 1
	case n > few:
		o.index = make(map[string]int, 2*n)
		for i, name := range o.names {
			o.index[name] = i
		}
	}
	return true
}

// Replace sets the value of a member, and reports false where there is none of
// that name.
func (o *Object) Replace(name string, v any) bool {
	i := o.find(name)
	if i >= 0 {
		o.values[i] = v
	}
	return i >= 0
}

func (o *Object) find(name string) int {
	if o.index == nil {
		return slices.Index(o.names, name)
	}
	if i, ok := o.index[name]; ok {
		return i
	}
	return -1
}

// Only refuses members that have none of n names, which differ, with an
// [*Error] of KindName.
func (o *Object) Only(n int, name func(i int) string) error {
	known := 0
	for i := range n {
		if o.find(name(i)) >= 0 {
			known++
		}
	}
	if known == len(o.names) {
		return nil
	}
	names := make([]string, n)
	for i := range names {
		names[i] = name(i)
	}
	for _, given := range o.names {
		if !slices.Contains(names, given) {
			return unknownName(given, names)
		}
	}
	return nil // names do not differ, and JSON does not tell which is meant
}

func unknownName(name string, names []string) error {
	e := refusef(KindName, "unknown name %.64q: there are none", name)
	if len(names) > 0 {
		e = refusef(KindName, "unknown name %.64q: want %s", name, strings.Join(names, ", "))
	}
	e.Value, e.Names = name, names
	return e
}

// Parse reads one JSON value and nothing after it, nested at most maxDepth deep:
// nesting is recursion here. Numbers keep their digits; an object that names a
// member twice is refused. The error is an [*Error].
func Parse(data []byte, maxDepth int) (any, error) {
	p := parser{json.NewDecoder(bytes.NewReader(data)), maxDepth}
	p.UseNumber()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := p.Token(); !errors.Is(err, io.EOF) {
		e := refusef(KindGoesOn, "goes on after the JSON value")
		e.Have = int(p.InputOffset())
		return nil, e
	}
	return v, nil
}

type parser struct {
	*json.Decoder

	maxDepth int
}

func (p parser) value(depth int) (any, error) {
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth++; depth > p.maxDepth {
		return nil, refusef(KindDeep, "is nested more than %d deep", p.maxDepth)
	}
	if delim == '[' {
		return p.array(depth)
	}
	return p.object(depth)
}

func (p parser) token() (json.Token, error) {
	t, err := p.Token()
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, refusef(KindEnds, "ends inside the JSON value")
	}
	// encoding/json names the position and at most one character.
	return nil, refusef(KindSyntax, "is not JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
}

func (p parser) array(depth int) ([]any, error) {
	out := []any{}
	for p.More() {
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := p.token() // the closing bracket
	return out, err
}

func (p parser) object(depth int) (*Object, error) {
	out := &Object{}
	for p.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, refusef(KindSyntax, "is not JSON: an object needs names")
		}
		if out.find(name) >= 0 {
			e := refusef(KindTwice, "the name %.64q stands in one object twice", name)
			e.Value = name
			return nil, e
		}
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		out.Set(name, v)
	}
	_, err := p.token() // the closing brace
	return out, err
}
