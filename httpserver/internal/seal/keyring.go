package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/crypto/chacha20poly1305"
)

// MinKeySize is the length of the shortest key that a ring takes, in bytes.
const MinKeySize = 16

// KeyRing is the keys of a server's tokens: the first seals, and all of them
// open, so that a new key can be put in front while tokens of the old one are
// still about. Servers that stand in for each other share their ring. It is
// immutable and safe for concurrent use.
type KeyRing struct {
	ciphers []cipher.AEAD
}

// NewKeyRing returns the ring of keys, each of at least [MinKeySize] bytes and
// better of 32. A key of another length than 32 bytes is hashed with SHA-256. It
// fails without a key, on a short one, and in a process that allows only FIPS 140
// algorithms. The keys are copied.
func NewKeyRing(keys ...[]byte) (*KeyRing, error) {
	if len(keys) == 0 {
		return nil, errors.New("seal: a key ring needs at least one key")
	}
	ring := &KeyRing{ciphers: make([]cipher.AEAD, 0, len(keys))}
	for i, key := range keys {
		if len(key) < MinKeySize {
			return nil, fmt.Errorf("seal: key %d has %d bytes, fewer than %d", i+1, len(key), MinKeySize)
		}
		if len(key) != chacha20poly1305.KeySize {
			sum := sha256.Sum256(key)
			key = sum[:]
		}
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("seal: key %d: %w", i+1, err)
		}
		ring.ciphers = append(ring.ciphers, aead)
	}
	return ring, nil
}

// RandomKeyRing returns a ring with one random key, for a server that nobody
// else stands in for: its tokens end with the process. Like [rand.Read] it has no
// error to return, and panics in a process that allows only FIPS 140 algorithms.
func RandomKeyRing() *KeyRing {
	key := make([]byte, chacha20poly1305.KeySize)
	_, _ = rand.Read(key) // never fails
	ring, err := NewKeyRing(key)
	if err != nil {
		panic(err) //nolint:forbidigo // the process forbids the one cipher of the format: there is no way on
	}
	return ring
}

// ParseKeyRing returns the ring of the keys in text, as a flag, an environment
// variable or a file holds them: in hex or base64 (either alphabet, padded or
// not), separated by commas or space, with comments from # to the end of a line.
// A key that can be read as hex is hex. Errors number the keys from 1 and never
// quote one.
func ParseKeyRing(text string) (*KeyRing, error) {
	var keys [][]byte
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for word := range strings.FieldsFuncSeq(line, isSeparator) {
			key, ok := parseKey(word)
			if !ok {
				return nil, fmt.Errorf("seal: key %d is neither hex nor base64", len(keys)+1)
			}
			keys = append(keys, key)
		}
	}
	return NewKeyRing(keys...)
}

func isSeparator(r rune) bool { return r == ',' || unicode.IsSpace(r) }

func parseKey(word string) ([]byte, bool) {
	if key, err := hex.DecodeString(word); err == nil {
		return key, true
	}
	word = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(word, "="))
	key, err := base64.RawStdEncoding.DecodeString(word)
	return key, err == nil
}

// String tells how many keys r has, and keeps them out of logs.
func (r *KeyRing) String() string { return fmt.Sprintf("seal.KeyRing of %d keys", len(r.ciphers)) }

// GoString is [KeyRing.String].
func (r *KeyRing) GoString() string { return r.String() }
