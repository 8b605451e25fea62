package typetoken

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrNotCanonical is wrapped by the errors of [AppendJCS]: the value holds a
// number, a null, another Go type, or text that is not valid UTF-8.
var ErrNotCanonical = errors.New("typetoken: not a value of the canonical JSON")

// AppendJCS appends v in the canonical form of RFC 8785 to dst and returns the
// longer slice. A value is a map[string]any, a []any, a string or a bool; the
// keys of objects are sorted by their UTF-16 code units, text is escaped only
// where the RFC says so, and no space is added.
//
// Numbers are left out on purpose: WIRE_PROTOCOL section 14 folds every number
// into a token, so that no two ports can disagree on how one is written. A
// number, like every other value, is an error that wraps [ErrNotCanonical] and
// says where it stood; dst is then returned as it came.
func AppendJCS(dst []byte, v any) ([]byte, error) {
	out, err := appendValue(dst, v)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func appendValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case bool:
		if v {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case string:
		return appendString(dst, v)
	case []any:
		return appendArray(dst, v)
	case map[string]any:
		return appendObject(dst, v)
	}
	return nil, fmt.Errorf("%w: a %T", ErrNotCanonical, v)
}

func appendArray(dst []byte, values []any) ([]byte, error) {
	dst = append(dst, '[')
	for i, v := range values {
		var err error
		if dst, err = appendValue(appendIf(dst, i > 0, ","), v); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, object map[string]any) ([]byte, error) {
	dst = append(dst, '{')
	for i, key := range slices.SortedFunc(maps.Keys(object), compareUTF16) {
		var err error
		if dst, err = appendString(appendIf(dst, i > 0, ","), key); err != nil {
			return nil, err
		}
		if dst, err = appendValue(append(dst, ':'), object[key]); err != nil {
			return nil, fmt.Errorf("member %q: %w", key, err)
		}
	}
	return append(dst, '}'), nil
}

// compareUTF16 is the order of RFC 8785 section 3.2.3. It is not the order of
// the bytes: a character beyond the basic plane begins with a surrogate, and
// comes before U+E000.
func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// appendString writes text by RFC 8785 section 3.2.2.2: the two-character
// escapes where JSON has one, \u00xx for the other controls, and everything
// else as it is.
func appendString(dst []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("%w: text that is not valid UTF-8", ErrNotCanonical)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ':
			dst = append(dst, c)
		default:
			dst = appendControl(dst, c)
		}
	}
	return append(dst, '"'), nil
}

func appendControl(dst []byte, c byte) []byte {
	switch c {
	case '\b':
		return append(dst, `\b`...)
	case '\t':
		return append(dst, `\t`...)
	case '\n':
		return append(dst, `\n`...)
	case '\f':
		return append(dst, `\f`...)
	case '\r':
		return append(dst, `\r`...)
	}
	return fmt.Appendf(dst, `\u%04x`, c)
}
