package jwt

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
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
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	value, err := decodeValue(dec, maxDepth)
	if err != nil {
		return nil, errObject // the error may repeat what the token says
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errObject
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errObject
	}
	return object, nil
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if depth == 0 {
			return nil, errObject
		}
		if t == '[' {
			return decodeList(dec, depth)
		}
		return decodeNames(dec, depth)
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return n, nil
		}
		return t.Float64()
	}
	return token, nil
}

func decodeList(dec *json.Decoder, depth int) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := decodeValue(dec, depth-1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := dec.Token()
	return list, err
}

func decodeNames(dec *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, errObject
		}
		if _, twice := object[name]; twice {
			return nil, errObject
		}
		if object[name], err = decodeValue(dec, depth-1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return object, err
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
