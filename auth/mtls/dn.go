package mtls

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// parseDN reads a distinguished name (RFC 4514) and returns its common names.
// "" is a name without attributes.
func parseDN(s string) (commonNames []string, ok bool) {
	for s != "" {
		kind, rest, ok := strings.Cut(s, "=")
		kind = strings.TrimLeft(kind, " ")
		if !ok || !validType(kind) {
			return nil, false
		}
		value, rest, ok := cutAttribute(rest)
		if !ok {
			return nil, false
		}
		if strings.EqualFold(kind, "CN") || kind == "2.5.4.3" {
			commonNames = append(commonNames, value)
		}
		if rest == "" {
			break
		}
		if s = rest[1:]; s == "" { // a separator with nothing behind it
			return nil, false
		}
	}
	return commonNames, true
}

// validType: a name, or an object identifier.
func validType(s string) bool {
	const characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."
	return s != "" && strings.Trim(s, characters) == ""
}

// cutAttribute takes a value off, without its escapes. What is left is empty or
// begins with a separator. Values in hexadecimal digits (#...) are refused: what
// they say depends on their type.
func cutAttribute(s string) (value, rest string, ok bool) {
	if strings.HasPrefix(s, "#") || strings.HasPrefix(s, " ") {
		return "", "", false
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ',', '+':
			return b.String(), s[i:], utf8.ValidString(b.String())
		case '"', ';', '<', '>', 0:
			return "", "", false
		case '\\':
			escaped, width, ok := unescape(s[i+1:])
			if !ok {
				return "", "", false
			}
			b.WriteByte(escaped)
			i += width
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), "", utf8.ValidString(b.String())
}

// unescape reads what is behind a backslash: a special character, or a byte in
// two hexadecimal digits.
func unescape(s string) (escaped byte, width int, ok bool) {
	if s != "" && strings.IndexByte(` "#+,;<=>\`, s[0]) >= 0 {
		return s[0], 1, true
	}
	if len(s) < 2 {
		return 0, 0, false
	}
	raw, err := hex.DecodeString(s[:2])
	if err != nil {
		return 0, 0, false
	}
	return raw[0], 2, true
}
