package mtls

import (
	"errors"
	"net/url"
	"strings"
)

// element is what one proxy says in an X-Forwarded-Client-Cert.
type element struct {
	hash, subject, cert, chain, issuer string
	by, uri, dns                       []string
}

var errXFCC = errors.New("an X-Forwarded-Client-Cert that is not of its form")

// parseXFCC reads Envoy's header: elements separated by commas, of pairs
// separated by semicolons, of a key in any case and a value. A value in quotes
// may hold separators, and quotes after a backslash. By, URI, Cert and Chain are
// escaped as in a URL. Only By, URI and DNS may be repeated; other keys than
// Envoy's are refused. There is at least one element, and none is empty.
func parseXFCC(s string) ([]element, error) {
	var (
		elements []element
		current  element
		seen     = map[string]bool{}
	)
	for {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			return nil, errXFCC
		}
		value, quoted, rest, ok := cutValue(rest)
		if !ok || !current.set(strings.ToLower(strings.Trim(key, " ")), value, quoted, seen) {
			return nil, errXFCC
		}
		if rest == "" {
			return append(elements, current), nil
		}
		if rest[0] == ',' {
			elements = append(elements, current)
			current = element{}
			clear(seen)
		}
		s = rest[1:]
	}
}

// cutValue takes a value off, with what is within its quotes as it stands. What
// is left is empty or begins with a separator.
func cutValue(s string) (value string, quoted bool, rest string, ok bool) {
	s = strings.TrimLeft(s, " ")
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ",;")
		if end < 0 {
			end = len(s)
		}
		value = strings.TrimRight(s[:end], " ")
		return value, false, s[end:], value != "" && !strings.ContainsAny(value, `"=\`)
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			rest = strings.TrimLeft(s[i+1:], " ")
			return s[1:i], true, rest, rest == "" || rest[0] == ',' || rest[0] == ';'
		}
	}
	return "", false, "", false
}

// set puts a pair into the element.
func (e *element) set(key, value string, quoted bool, seen map[string]bool) bool {
	repeatable := key == "by" || key == "uri" || key == "dns"
	if seen[key] && !repeatable {
		return false
	}
	seen[key] = true
	// A subject stays as it is: its backslashes are those of the distinguished
	// name, and taking them off here would let one attribute look like two.
	ok := true
	if quoted && key != "subject" && key != "issuer" {
		value, ok = unquote(value)
	}
	if ok && (key == "by" || key == "uri" || key == "cert" || key == "chain") {
		var err error
		value, err = url.PathUnescape(value)
		ok = err == nil
	}
	switch key {
	case "hash":
		e.hash = value
	case "subject":
		e.subject = value
	case "cert":
		e.cert = value
	case "chain":
		e.chain = value
	case "issuer":
		e.issuer = value
	case "by":
		e.by = append(e.by, value)
	case "uri":
		e.uri = append(e.uri, value)
	case "dns":
		e.dns = append(e.dns, value)
	default:
		return false
	}
	return ok
}

// unquote takes the backslashes off, which may stand before a quote or another
// backslash.
func unquote(s string) (string, bool) {
	if !strings.Contains(s, `\`) {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			if i == len(s) || (s[i] != '"' && s[i] != '\\') {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), true
}
