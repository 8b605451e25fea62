package socket

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// minSecret is the least length of a secret, in bytes: whoever records a
	// handshake may try secrets for as long as he likes.
	minSecret      = 32
	maxSecretsFile = 64 << 10
	// secretsPoll is how long a file of secrets is used before it is read again.
	secretsPoll = 5 * time.Second
)

// Secrets are shared secrets with their ids. A server accepts each of them, a
// client uses the first one, so that one is replaced without an interruption: add
// the new one to the server's, put it first at the clients, take the old one away.
type Secrets struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	ring  []secret
	read  time.Time
	text  []byte
	fault string
}

type secret struct {
	id  string
	key []byte
}

// ParseSecrets reads lines of a key's id, a space and its secret in hexadecimal
// digits, at least 32 bytes of them:
//
//	2026-10 8f0c…
//
// Lines that are empty or begin with # are skipped. An id has at most 64
// characters, none of them a space, and is no secret: it is the caller's
// principal. Errors name lines and never repeat them.
func ParseSecrets(text string) (*Secrets, error) {
	ring, err := parseSecrets([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("socket: secrets: %w", err)
	}
	return &Secrets{ring: ring}, nil
}

// OpenSecrets reads a file of secrets, as [ParseSecrets] has them. The file may be
// replaced: a handshake looks at it again when that was some seconds ago, and
// goes on with what was there when the file is no good. log gets what is wrong.
func OpenSecrets(path string, log *slog.Logger) (*Secrets, error) {
	if log == nil {
		return nil, errors.New("socket: OpenSecrets: want a logger")
	}
	text, mode, err := readSmall(path, maxSecretsFile)
	if err != nil {
		return nil, fmt.Errorf("socket: secrets: %w", err)
	}
	ring, err := parseSecrets(text)
	if err != nil {
		return nil, fmt.Errorf("socket: secrets: %s: %w", path, err)
	}
	if mode.Perm()&0o004 != 0 && runtime.GOOS != "windows" {
		log.Warn("every user of this machine can read the secrets", slog.String("file", path), slog.String("mode", mode.String()))
	}
	return &Secrets{path: path, log: log, ring: ring, text: text, read: time.Now()}, nil
}

func parseSecrets(text []byte) ([]secret, error) {
	var ring []secret
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("line %d: want a key's id and its secret", n)
		}
		key, err := hex.DecodeString(fields[1])
		switch {
		case len(fields[0]) > maxKeyID || !isWord(fields[0]):
			return nil, fmt.Errorf("line %d: an id has 1 to %d printable ASCII characters", n, maxKeyID)
		case err != nil:
			return nil, fmt.Errorf("line %d: the secret is not in hexadecimal digits", n)
		case len(key) < minSecret:
			return nil, fmt.Errorf("line %d: a secret of %d bytes: want at least %d", n, len(key), minSecret)
		}
		for _, s := range ring {
			if s.id == fields[0] {
				return nil, fmt.Errorf("line %d: an id that was there before", n)
			}
		}
		ring = append(ring, secret{fields[0], key})
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(ring) == 0 {
		return nil, errors.New("no secret")
	}
	return ring, nil
}

// isWord reports whether text is printable ASCII without a space.
func isWord(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != ""
}

// readSmall reads a regular file of at most limit bytes, and never waits for one
// that is none.
func readSmall(path string, limit int64) ([]byte, os.FileMode, error) {
	f, err := openNow(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular():
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > limit:
		return nil, 0, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit)) // it may have grown: the rest is left out
	return text, info.Mode(), err
}

// current are the secrets as they are now.
func (s *Secrets) current() []secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" || time.Since(s.read) < secretsPoll {
		return s.ring
	}
	s.read = time.Now()
	text, _, err := readSmall(s.path, maxSecretsFile)
	if err == nil && bytes.Equal(text, s.text) {
		return s.ring
	}
	var ring []secret
	if err == nil {
		ring, err = parseSecrets(text)
	}
	if err != nil {
		if fault := err.Error(); fault != s.fault {
			s.fault = fault
			s.log.Warn("secrets not read again, the former ones stay valid", slog.String("file", s.path), slog.String("error", fault))
		}
		return s.ring
	}
	s.ring, s.text, s.fault = ring, text, ""
	s.log.Info("secrets read again", slog.String("file", s.path), slog.Int("secrets", len(ring)))
	return ring
}

// find returns the secret with an id, or the first one for "".
func (s *Secrets) find(id string) (secret, bool) {
	ring := s.current()
	for _, one := range ring {
		if id == "" || one.id == id {
			return one, true
		}
	}
	return secret{}, false
}
