package peer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of one object (transport-identity-spec.md, "Stateful binding").
const (
	MaxObjectBytes  = 65_536 // of canonical JSON
	MaxObjectDepth  = 16     // containers in each other; the object itself is the first
	MaxObjectValues = 4_096  // values of all kinds; the object itself is the first
)

var (
	errObjectBytes  = fmt.Errorf("peer: a JSON object of more than %d bytes", MaxObjectBytes)
	errObjectDepth  = fmt.Errorf("peer: a JSON object of more than %d levels", MaxObjectDepth)
	errObjectValues = fmt.Errorf("peer: a JSON object of more than %d values", MaxObjectValues)
	errNotObject    = errors.New("peer: no JSON object")
	errDuplicate    = errors.New("peer: a JSON object with a name twice")
	errText         = errors.New("peer: text that is not UTF-8, or half of a surrogate pair")
	errNumber       = errors.New("peer: a number that is not finite")
)

// Object is a JSON object that cannot change: what a provider says beside the
// subject. The zero value is the empty object. Objects with the same members are
// equal. Its contents are shown by [Object.JSON] and [Object.Map] alone: printing
// or logging one shows how many members it has.
type Object struct{ text string } // canonical; "" for {}

// NewObject makes an object of a map, whose values are nil, booleans, strings,
// finite numbers, and maps and slices of such. It is an error when a limit is
// exceeded, a value is of another type, or a text is not UTF-8.
func NewObject(members map[string]any) (Object, error) {
	if len(members) == 0 {
		return Object{}, nil
	}
	e := encoder{text: make([]byte, 0, 256)}
	if err := e.value(members, 0); err != nil {
		return Object{}, err
	}
	return Object{string(e.text)}, nil
}

// ParseObject reads an object from JSON text of at most [MaxObjectBytes]. It is
// an error when a limit is exceeded, a name occurs twice in one object, or the
// text is anything but one JSON object in UTF-8.
func ParseObject(text []byte) (Object, error) {
	switch {
	case len(text) > MaxObjectBytes:
		return Object{}, errObjectBytes
	case !utf8.Valid(text) || !json.Valid(text):
		return Object{}, errNotObject
	case !pairedSurrogates(text):
		return Object{}, errText
	}
	d := decoder{json: json.NewDecoder(bytes.NewReader(text))}
	d.json.UseNumber()
	v, err := d.value(0)
	if err != nil {
		return Object{}, err
	}
	if _, err := d.json.Token(); !errors.Is(err, io.EOF) {
		return Object{}, errNotObject
	}
	members, ok := v.(map[string]any)
	if !ok {
		return Object{}, errNotObject
	}
	return NewObject(members)
}

// JSON is the object in compact JSON, its names in the order of their bytes.
func (o Object) JSON() string {
	if o.text == "" {
		return "{}"
	}
	return o.text
}

// Map is a copy of the object. Numbers are of type [json.Number].
func (o Object) Map() map[string]any {
	d := json.NewDecoder(bytes.NewReader([]byte(o.JSON())))
	d.UseNumber()
	members := map[string]any{}
	_ = d.Decode(&members) // the text was checked when the object was made
	return members
}

// Format writes how many members the object has, whatever the verb: evidence is
// not for logs.
func (o Object) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "{%d members}", len(o.Map())) }

// LogValue is how many members the object has.
func (o Object) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(o)) }

// pairedSurrogates reports whether every escape of a surrogate in valid JSON has
// its other half. encoding/json would read a lone one as U+FFFD.
func pairedSurrogates(text []byte) bool {
	for i := bytes.IndexByte(text, '\\'); i >= 0 && i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; text[i] != 'u' {
			continue
		}
		switch c := unit(text[i+1:]); {
		case c >= 0xDC00 && c < 0xE000:
			return false
		case c >= 0xD800 && c < 0xDC00:
			rest := text[i+5:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return false
			}
			if low := unit(rest[2:]); low < 0xDC00 || low >= 0xE000 {
				return false
			}
			i += 6
		}
	}
	return true
}

// unit is the UTF-16 unit of four digits.
func unit(digits []byte) uint64 {
	c, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return 0xDC00 // as bad as can be
	}
	return c
}

// decoder reads values and counts them.
type decoder struct {
	json   *json.Decoder
	values int
}

// value reads a value inside of so many containers.
func (d *decoder) value(depth int) (any, error) {
	token, err := d.json.Token()
	if err != nil {
		return nil, errNotObject
	}
	if d.values++; d.values > MaxObjectValues {
		return nil, errObjectValues
	}
	delim, container := token.(json.Delim)
	switch {
	case !container:
		return token, nil
	case depth == MaxObjectDepth:
		return nil, errObjectDepth
	case delim == '[':
		return d.array(depth + 1)
	}
	return d.object(depth + 1)
}

func (d *decoder) array(depth int) (any, error) {
	list := []any{}
	for d.json.More() {
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.json.Token()
	return list, err
}

func (d *decoder) object(depth int) (any, error) {
	members := map[string]any{}
	for d.json.More() {
		token, err := d.json.Token()
		if err != nil {
			return nil, errNotObject
		}
		name, ok := token.(string)
		if !ok {
			return nil, errNotObject
		}
		if _, twice := members[name]; twice {
			return nil, errDuplicate
		}
		if members[name], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := d.json.Token()
	return members, err
}

// encoder writes canonical JSON within the limits.
type encoder struct {
	text   []byte
	values int
}

func (e *encoder) value(v any, depth int) error {
	if e.values++; e.values > MaxObjectValues {
		return errObjectValues
	}
	var err error
	switch v := v.(type) {
	case nil:
		e.text = append(e.text, "null"...)
	case bool:
		e.text = strconv.AppendBool(e.text, v)
	case string:
		err = e.string(v)
	case json.Number:
		err = e.number(v)
	case int:
		e.text = strconv.AppendInt(e.text, int64(v), 10)
	case int64:
		e.text = strconv.AppendInt(e.text, v, 10)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return errNumber
		}
		e.text = strconv.AppendFloat(e.text, v, 'g', -1, 64)
	case map[string]any:
		err = e.object(v, depth+1)
	case []any:
		err = array(e, v, depth+1)
	case []string:
		err = array(e, v, depth+1)
	default:
		return fmt.Errorf("peer: a value of type %T is no JSON", v)
	}
	if err == nil && len(e.text) > MaxObjectBytes {
		err = errObjectBytes
	}
	return err
}

func array[T any](e *encoder, list []T, depth int) error {
	if depth > MaxObjectDepth {
		return errObjectDepth
	}
	e.text = append(e.text, '[')
	for i, v := range list {
		if i > 0 {
			e.text = append(e.text, ',')
		}
		if err := e.value(v, depth); err != nil {
			return err
		}
	}
	e.text = append(e.text, ']')
	return nil
}

func (e *encoder) object(members map[string]any, depth int) error {
	if depth > MaxObjectDepth {
		return errObjectDepth
	}
	e.text = append(e.text, '{')
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			e.text = append(e.text, ',')
		}
		if err := e.string(name); err != nil {
			return err
		}
		e.text = append(e.text, ':')
		if err := e.value(members[name], depth); err != nil {
			return err
		}
	}
	e.text = append(e.text, '}')
	return nil
}

// number writes a number as it was written, if it is one.
func (e *encoder) number(n json.Number) error {
	// Numbers alone are JSON that consists of these; blanks around one are not.
	if strings.Trim(string(n), "+-.0123456789Ee") != "" || !json.Valid([]byte(n)) {
		return errNumber
	}
	if f, err := n.Float64(); err != nil || math.IsInf(f, 0) {
		return errNumber
	}
	e.text = append(e.text, n...)
	return nil
}

func (e *encoder) string(s string) error {
	if !utf8.ValidString(s) {
		return errText
	}
	e.text = append(e.text, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			e.text = append(e.text, '\\', c)
		case c == '\n':
			e.text = append(e.text, `\n`...)
		case c == '\r':
			e.text = append(e.text, `\r`...)
		case c == '\t':
			e.text = append(e.text, `\t`...)
		case c == '\b':
			e.text = append(e.text, `\b`...)
		case c == '\f':
			e.text = append(e.text, `\f`...)
		case c < ' ':
			e.text = fmt.Appendf(e.text, `\u%04x`, c)
		default:
			e.text = append(e.text, c)
		}
	}
	e.text = append(e.text, '"')
	return nil
}
