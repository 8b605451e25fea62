package seal

import (
	"crypto/rand"
	"errors"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// The kinds of tokens. A kind is the first byte of its tokens: the version of the
// format in the upper half, so that a change of the format is a change of kinds.
const (
	KindCursor  byte = 0x11 // advancing state of a stream, new with every turn
	KindCall    byte = 0x12 // what a stream's turns have in common, made once
	KindSession byte = 0x13 // name of a sticky session
)

// ErrOpen is why any token does not open: it was made with another key, for
// another identity, as another kind, by another server's software, or it was
// changed. Which of these is not told apart, so that nobody can probe.
var ErrOpen = errors.New("token verification failed")

const (
	headerSize = 1 + chacha20poly1305.NonceSizeX // kind, nonce

	// Overhead is how many bytes longer than its payload a token is at most.
	Overhead = headerSize + 1 + chacha20poly1305.Overhead
)

// Seal appends to dst the token of kind that holds plaintext for those who can
// name aad (see [AppendIdentity]), and returns the extended slice. dst must not
// overlap plaintext or aad. The token is at most [Overhead] bytes longer than
// plaintext.
func (r *KeyRing) Seal(dst []byte, kind byte, aad, plaintext []byte) []byte {
	start := len(dst)
	// What is authenticated needs one contiguous slice for a moment: the spare
	// room behind the token serves.
	dst = slices.Grow(dst, len(plaintext)+Overhead+1+len(aad))
	dst = append(dst, kind)
	dst = dst[:start+headerSize]
	nonce := dst[start+1:]
	_, _ = rand.Read(nonce) // never fails
	dst = pack(dst, plaintext)

	body := dst[start+headerSize:]
	end := len(dst) + chacha20poly1305.Overhead
	return r.ciphers[0].Seal(dst[:start+headerSize], nonce, body, bind(dst[end:end], kind, aad))
}

// Open appends to dst what the token holds, when it is of kind and made for aad,
// and returns the extended slice. Any failure is [ErrOpen]. dst must not overlap
// sealed or aad.
func (r *KeyRing) Open(dst []byte, kind byte, aad, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] != kind {
		return nil, ErrOpen
	}
	start := len(dst)
	nonce, body := sealed[1:headerSize], sealed[headerSize:]
	size := len(body) - chacha20poly1305.Overhead
	dst = slices.Grow(dst, size+1+len(aad))
	bound := bind(dst[start+size:start+size], kind, aad)
	for _, aead := range r.ciphers {
		if out, err := aead.Open(dst, nonce, body, bound); err == nil {
			return unpack(out, start)
		}
	}
	return nil, ErrOpen
}

// bind appends what a token's tag covers besides its payload: the kind, so that
// a token of one kind is never taken for another, and aad.
func bind(dst []byte, kind byte, aad []byte) []byte {
	return append(append(dst, kind), aad...)
}
