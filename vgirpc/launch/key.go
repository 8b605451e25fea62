//go:build unix

package launch

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf16"
	"unicode/utf8"
)

// Parts of the layout that launchers share.
const (
	envPrefix = "VGI_RPC_" // of the variables that belong to the key
	keyDigits = 16
)

// keyOf is the key of a worker: the beginning of the SHA-256 of a JSON document
// that every launcher writes in the same way.
func keyOf(command []string, dir string, env []string) string {
	var b []byte
	b = append(b, `{"cmd":`...)
	b = appendStrings(b, command)
	b = append(b, `,"cwd":`...)
	b = appendString(b, dir)
	b = append(b, `,"env":{`...)
	settings := map[string]string{}
	for _, entry := range env {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, envPrefix) {
			settings[name] = value // the last one is what the process sees
		}
	}
	// In the order of code points, which that of the bytes is not where these
	// are no UTF-8.
	names := slices.SortedFunc(maps.Keys(settings), func(a, b string) int { return slices.Compare(decode(a), decode(b)) })
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, name)
		b = append(b, ':')
		b = appendString(b, settings[name])
	}
	b = append(b, "}}"...)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:keyDigits]
}

// isKey reports whether name may be a key.
func isKey(name string) bool {
	return len(name) == keyDigits && strings.Trim(name, "0123456789abcdef") == ""
}

// decode is s in code points. A byte that is no UTF-8 becomes a lone surrogate,
// as in Python.
func decode(s string) []rune {
	const surrogateEscape = 0xDC00
	out := make([]rune, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			r = surrogateEscape + rune(s[i])
		}
		out = append(out, r)
		i += n
	}
	return out
}

// appendStrings appends a compact JSON array.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendString appends a JSON string in ASCII, with escapes as Python has them.
func appendString(b []byte, s string) []byte {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}
	b = append(b, '"')
	for _, r := range decode(s) {
		switch escape := short[r]; {
		case escape != "":
			b = append(b, escape...)
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			b = appendUnicode(appendUnicode(b, high), low)
		default:
			b = appendUnicode(b, r)
		}
	}
	return append(b, '"')
}

func appendUnicode(b []byte, r rune) []byte {
	digits := strconv.FormatInt(int64(r), 16)
	b = append(b, `\u0000`[:6-len(digits)]...)
	return append(b, digits...)
}

// workingDir is dir, or this process's when it is "", as the kernel names it:
// without symbolic links, which is what every launcher in it sees.
func workingDir(dir string) (string, error) {
	if dir == "" || !filepath.IsAbs(dir) {
		wd, err := syscall.Getwd() // os.Getwd prefers $PWD, which may have links
		if err != nil {
			return "", os.NewSyscallError("getwd", err)
		}
		dir = filepath.Join(wd, dir)
	}
	return filepath.EvalSymlinks(dir)
}
