package observability

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Redacted stands for the value of a claim that is not logged.
const Redacted = "[redacted]"

// RedactClaims replaces the values of claims whose name says that they hold a
// credential or describe a person. The names stay: which claims a credential
// carried is worth knowing from a log that is kept for years; a mail address
// is not. Values are not looked at.
func RedactClaims(claims map[string]any) map[string]any {
	out := make(map[string]any, len(claims))
	for name, value := range claims {
		if sensitiveClaim(name) {
			value = Redacted
		}
		out[name] = value
	}
	return out
}

// sensitiveClaim reports whether a claim's value is kept out of the log.
func sensitiveClaim(name string) bool {
	name = strings.ToLower(name)
	for _, word := range [...]string{
		// Credentials.
		"password", "token", "secret", "key", "authorization",
		// What OpenID Connect says of a person.
		"email", "phone", "address", "birthdate", "gender", "given_name", "family_name", "middle_name",
		"nickname", "preferred_username", "picture", "profile", "website",
	} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return name == "name"
}

// redact returns what may be logged of the claims: nothing when that cannot be
// found out.
func (l *AccessLog) redact(claims map[string]any) (out map[string]any) {
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	return l.opts.RedactClaims(claims)
}

// encodeClaims encodes claims as a JSON object. One that JSON has no form for
// is replaced by the name of its type.
func encodeClaims(claims map[string]any) []byte {
	out, err := encodeJSON(claims)
	if err == nil {
		return out
	}
	fit := make(map[string]any, len(claims))
	for name, value := range claims {
		if _, err := encodeJSON(value); err != nil {
			value = fmt.Sprintf("(%T)", value)
		}
		fit[name] = value
	}
	if out, err = encodeJSON(fit); err != nil {
		return []byte("{}")
	}
	return out
}

func encodeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	// As in appendEscaped: some readers take U+0085 for the end of a line.
	return bytes.ReplaceAll(bytes.TrimSuffix(buf.Bytes(), []byte("\n")), []byte("\u0085"), []byte(`\u0085`)), nil
}
