package dial

import (
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Split splits a command line into words as a POSIX shell does it, without
// expanding anything: at spaces, tabs and newlines, with single quotes, double
// quotes and backslashes. A quote that is not closed is an INVALID_ARGUMENT
// error, and so is a line without a word.
func Split(line string) ([]string, error) {
	s := splitter{rest: line}
	var words []string
	for {
		word, ok, err := s.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "dial: an empty command")
	}
	return words, nil
}

// splitter takes words off a command line.
type splitter struct{ rest string }

const blanks = " \t\n"

// next is the next word; ok is false at the end.
func (s *splitter) next() (word string, ok bool, err error) {
	s.rest = strings.TrimLeft(s.rest, blanks)
	var b strings.Builder
	for ; s.rest != "" && !strings.ContainsRune(blanks, rune(s.rest[0])); ok = true {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch c {
		case '\'', '"':
			err = s.quoted(&b, c)
		case '\\':
			err = s.escaped(&b)
		default:
			b.WriteByte(c)
		}
		if err != nil {
			return "", false, err
		}
	}
	return b.String(), ok, nil
}

// quoted takes what stands between quotes, of which the first has been taken.
func (s *splitter) quoted(b *strings.Builder, quote byte) error {
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch {
		case c == quote:
			return nil
		case c == '\\' && quote == '"' && s.rest != "" && strings.ContainsRune("\"\\$`", rune(s.rest[0])):
			b.WriteByte(s.rest[0])
			s.rest = s.rest[1:]
		default:
			b.WriteByte(c)
		}
	}
	return vgirpc.Errorf(vgirpc.InvalidArgument, "dial: a command with a %c that is not closed", quote)
}

// escaped takes the character behind a backslash.
func (s *splitter) escaped(b *strings.Builder) error {
	if s.rest == "" {
		return vgirpc.Errorf(vgirpc.InvalidArgument, "dial: a command that ends with a backslash")
	}
	b.WriteByte(s.rest[0])
	s.rest = s.rest[1:]
	return nil
}
