package jsoncall

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a body. Schemas are finite and never come
// near it.
const maxDepth = 64

// object is a JSON object in the order in which it was written. Other values
// are nil, bool, string, json.Number and []any.
type object struct {
	names  []string
	values []any
}

// get is the value of a member.
func (o *object) get(name string) (any, bool) {
	if i := slices.Index(o.names, name); i >= 0 {
		return o.values[i], true
	}
	return nil, false
}

// readBody reads a body of at most limit bytes.
func readBody(body io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, ErrTooLarge
	case !utf8.Valid(data):
		return nil, refusef("the body is not valid UTF-8")
	}
	return data, nil
}

// parse reads one JSON value and nothing after it. Numbers keep their digits;
// an object that names a member twice is refused.
func parse(data []byte) (any, error) {
	p := parser{json.NewDecoder(bytes.NewReader(data))}
	p.UseNumber()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := p.Token(); !errors.Is(err, io.EOF) {
		return nil, refusef("the body goes on after the JSON value")
	}
	return v, nil
}

type parser struct{ *json.Decoder }

func (p parser) value(depth int) (any, error) {
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth++; depth > maxDepth {
		return nil, refusef("the body is nested more than %d deep", maxDepth)
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
		return nil, refusef("the body ends inside the JSON value")
	}
	// encoding/json names the position and at most one character.
	return nil, refusef("the body is not JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
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

func (p parser) object(depth int) (*object, error) {
	out := &object{}
	seen := map[string]bool{}
	for p.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		switch {
		case !ok:
			return nil, refusef("the body is not JSON: an object needs names")
		case seen[name]:
			return nil, refusef("the name %.64q stands in one object twice", name)
		}
		seen[name] = true
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		out.names, out.values = append(out.names, name), append(out.values, v)
	}
	_, err := p.token() // the closing brace
	return out, err
}
