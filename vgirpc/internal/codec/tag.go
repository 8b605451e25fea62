package codec

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"github.com/apache/arrow-go/v18/arrow"
)

// tag is a parsed `vgi:"…"` tag.
type tag struct {
	name     string
	skip     bool
	typ      arrow.DataType
	nullable nullability
	borrow   bool
	def      string
	hasDef   bool
}

// nullability is what a tag says about nulls.
type nullability uint8

const (
	byType nullability = iota
	nullable
	notNull
)

// parseTag reads the tag of a struct field.
func parseTag(st reflect.StructTag) (tag, error) {
	text, ok := st.Lookup("vgi")
	if !ok {
		return tag{}, nil
	}
	if text == "-" {
		return tag{skip: true}, nil
	}
	name, options, more := cutOption(text)
	t := tag{name: name}
	if !more {
		return t, nil
	}
	return t, t.parseOptions(options)
}

// parseOptions reads "option,option,…" into t.
func (t *tag) parseOptions(text string) error {
	for more := true; more; {
		if value, ok := strings.CutPrefix(text, "default="); ok {
			rest, err := t.parseDefault(value)
			if err != nil || rest == "" {
				return err
			}
			text = rest[1:]
			continue
		}
		var option string
		option, text, more = cutOption(text)
		switch key, value, _ := strings.Cut(option, "="); {
		case option == "nullable":
			t.nullable = nullable
		case option == "notnull":
			t.nullable = notNull
		case option == "borrow":
			t.borrow = true
		case key == "type":
			var err error
			if t.typ, err = parseType(value); err != nil {
				return err
			}
		default:
			return fmt.Errorf("tag option %q: want type=, nullable, notnull, borrow or default=", option)
		}
	}
	return nil
}

// parseDefault takes the value of default=: a quoted string, after which other
// options may follow, or all of the rest.
func (t *tag) parseDefault(text string) (rest string, err error) {
	t.hasDef = true
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		t.def = text
		return "", nil //nolint:nilerr // text that is not quoted stands for itself
	}
	if rest = text[len(quoted):]; rest != "" && rest[0] != ',' {
		return "", fmt.Errorf("tag option default=%s: want a comma after the quoted string", text)
	}
	t.def, err = strconv.Unquote(quoted)
	return rest, err
}

// cutOption cuts text at the first comma outside of brackets.
func cutOption(text string) (option, rest string, more bool) {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '<', '(':
			depth++
		case '>', ')':
			depth--
		case ',':
			if depth == 0 {
				return text[:i], text[i+1:], true
			}
		}
	}
	return text, "", false
}

// snakeCase is the column name of a Go field: UserID becomes user_id and
// HTTPServer http_server.
func snakeCase(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || (i+1 < len(runes) && unicode.IsLower(runes[i+1]))) && runes[i-1] != '_' {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
