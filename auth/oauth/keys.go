package oauth

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ParseKeys returns the keys in text, for [Options].Keys: in hex or base64
// (either alphabet, padded or not), separated by commas or space, with comments
// from # to the end of a line. A key that can be read as hex is hex. It is an
// error when there is none, and no error quotes one.
func ParseKeys(text string) ([][]byte, error) {
	var keys [][]byte
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for word := range strings.FieldsFuncSeq(line, func(c rune) bool { return c == ',' || unicode.IsSpace(c) }) {
			key, err := hex.DecodeString(word)
			if err != nil {
				plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(word, "="))
				if key, err = base64.RawStdEncoding.DecodeString(plain); err != nil {
					return nil, fmt.Errorf("oauth: key %d is neither hex nor base64", len(keys)+1)
				}
			}
			if len(key) < minKeyBytes {
				return nil, fmt.Errorf("oauth: key %d has %d bytes, fewer than %d", len(keys)+1, len(key), minKeyBytes)
			}
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("oauth: no key")
	}
	return keys, nil
}
