package jwt

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// maxDepth is how deep the objects and lists of a token may be nested.
const maxDepth = 16

var errObject = errors.New("no JSON object that has each of its names once")

// decodeObject reads a JSON object, and refuses one that has a name twice at any
// depth: implementations differ in which of the two counts. Whole numbers are
// int64, others float64.
func decodeObject(text []byte) (map[string]any, error) {
	if !json.Valid(text) || !utf8.Valid(text) {
		return nil, errObject
	}
	d := decoder{text: text}
	value, err := d.value(maxDepth)
	if err != nil {
		return nil, errObject // the error may repeat what the token says
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errObject
	}
	return object, nil
}

// decoder reads JSON that is known to be valid, and so looks at no more of it than
// it needs. Package json shows a name that comes twice to those alone who read
// token by token, which takes several times as long.
type decoder struct {
	text []byte
	at   int
}

// next is the next byte that is no space.
func (d *decoder) next() byte {
	for d.text[d.at] <= ' ' {
		d.at++
	}
	return d.text[d.at]
}

// more reports whether something comes before the end of a list or an object, and
// goes past what is between.
func (d *decoder) more(end byte) bool {
	switch d.next() {
	case end:
		d.at++
		return false
	case ',':
		d.at++
	}
	return true
}

// value reads a value that is nested no deeper than depth.
func (d *decoder) value(depth int) (any, error) {
	c := d.next()
	switch {
	case (c == '{' || c == '[') && depth == 0:
		return nil, errObject
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.list(depth)
	case c == '"':
		return d.string()
	case c == 't':
		d.at += len("true")
		return true, nil
	case c == 'f':
		d.at += len("false")
		return false, nil
	case c == 'n':
		d.at += len("null")
		return nil, nil //nolint:nilnil // that is the value
	}
	return d.number()
}

func (d *decoder) list(depth int) (any, error) {
	d.at++
	list := []any{}
	for d.more(']') {
		v, err := d.value(depth - 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (d *decoder) object(depth int) (any, error) {
	d.at++
	object := make(map[string]any, 8) // as many as cost one allocation
	for d.more('}') {
		d.next()
		name, err := d.string()
		if err != nil {
			return nil, err
		}
		if _, twice := object[name]; twice {
			return nil, errObject
		}
		d.next()
		d.at++ // the colon
		if object[name], err = d.value(depth - 1); err != nil {
			return nil, err
		}
	}
	return object, nil
}

// string reads a string. One with escapes is for package json to read.
func (d *decoder) string() (string, error) {
	begin, escaped := d.at, false
	for d.at++; d.text[d.at] != '"'; d.at++ {
		if d.text[d.at] == '\\' {
			escaped = true
			d.at++
		}
	}
	d.at++
	if !escaped {
		return string(d.text[begin+1 : d.at-1]), nil
	}
	var out string
	err := json.Unmarshal(d.text[begin:d.at], &out)
	return out, err
}

func (d *decoder) number() (any, error) {
	begin := d.at
	for d.at < len(d.text) && strings.IndexByte("+-.0123456789Ee", d.text[d.at]) >= 0 {
		d.at++
	}
	text := json.Number(d.text[begin:d.at])
	if n, err := text.Int64(); err == nil {
		return n, nil
	}
	return text.Float64()
}

// claims are a token's claims as the parser of tokens wants them.
type claims struct{ values map[string]any }

// UnmarshalJSON is [decodeObject].
func (c *claims) UnmarshalJSON(text []byte) (err error) {
	c.values, err = decodeObject(text)
	return err
}

// maxDate is the end of the year 9999, in seconds. Later than that is no date.
const maxDate = 253402300799

// date reads a NumericDate (RFC 7519 section 2); nil when there is none.
func (c *claims) date(name string) (*jwt.NumericDate, error) {
	value, ok := c.values[name]
	if !ok {
		return nil, nil //nolint:nilnil // what jwt.Claims wants
	}
	var seconds float64
	switch v := value.(type) {
	case int64:
		seconds = float64(v)
	case float64:
		seconds = v
	default:
		return nil, jwt.ErrInvalidType
	}
	if seconds < 0 || seconds > maxDate {
		return nil, jwt.ErrInvalidType
	}
	return jwt.NewNumericDate(time.Unix(int64(seconds), 0)), nil
}

// GetExpirationTime is "exp".
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.date("exp") }

// GetNotBefore is "nbf".
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return c.date("nbf") }

// GetIssuedAt is "iat".
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error) { return c.date("iat") }

// GetIssuer is "iss".
func (c *claims) GetIssuer() (string, error) { return c.text("iss") }

// GetSubject is "sub".
func (c *claims) GetSubject() (string, error) { return c.text("sub") }

// GetAudience is "aud": a string or a list of them (RFC 7519 section 4.1.3).
func (c *claims) GetAudience() (jwt.ClaimStrings, error) {
	value, ok := c.values["aud"]
	if !ok {
		return nil, nil
	}
	list, ok := texts(value)
	if !ok {
		return nil, jwt.ErrInvalidType
	}
	return list, nil
}

// text is a claim that has to be a string; "" when there is none.
func (c *claims) text(name string) (string, error) {
	value, ok := c.values[name]
	if !ok {
		return "", nil
	}
	text, ok := value.(string)
	if !ok {
		return "", jwt.ErrInvalidType
	}
	return text, nil
}

// texts is a string, or a list of nothing else, as a list.
func texts(value any) ([]string, bool) {
	switch v := value.(type) {
	case string:
		return []string{v}, true
	case []any:
		list := make([]string, len(v))
		for i, item := range v {
			text, ok := item.(string)
			if !ok {
				return nil, false
			}
			list[i] = text
		}
		return list, true
	}
	return nil, false
}

// principal is the claim that names the caller.
func (c *claims) principal(name string) (string, bool) {
	text, ok := c.values[name].(string)
	return text, ok && text != "" && !strings.ContainsFunc(text, unicode.IsControl)
}

// hasScopes reports whether all scopes were granted.
func (c *claims) hasScopes(scopes []string) bool {
	if len(scopes) == 0 {
		return true
	}
	var granted []string
	for _, name := range []string{"scope", "scp"} {
		list, _ := texts(c.values[name])
		for _, text := range list {
			granted = append(granted, strings.Fields(text)...)
		}
	}
	for _, s := range scopes {
		if !slices.Contains(granted, s) {
			return false
		}
	}
	return true
}

// has reports whether a claim is there and, unless no values are named, is or
// holds one of them.
func (c *claims) has(name string, values []string) bool {
	value, ok := c.values[name]
	if !ok || len(values) == 0 {
		return ok
	}
	list, _ := texts(value)
	return slices.ContainsFunc(list, func(text string) bool { return slices.Contains(values, text) })
}

// only is the claims with the given names.
func (c *claims) only(names []string) map[string]any {
	if slices.Contains(names, "*") {
		return c.values
	}
	out := make(map[string]any, len(names))
	for _, name := range names {
		if value, ok := c.values[name]; ok {
			out[name] = value
		}
	}
	return out
}
