package grant

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/chacha20poly1305"
)

// Prefix begins every sealed grant, and nothing else does. Another format would
// have another prefix.
const Prefix = "vgig1."

// MaxTokenBytes bounds a token, in bytes, which are ASCII characters.
const MaxTokenBytes = 4096

const (
	envelopeVersion = 1
	nonceSize       = chacha20poly1305.NonceSizeX
	sealedHead      = kidSize + 1 + nonceSize
	grantIDSize     = 16
)

// Request is what a grant is asked for.
type Request struct {
	Principal  string // for whom; must not be empty
	Purpose    string
	Scopes     []string // what it may do, in this order; any strings
	TTLSeconds int64    // positive; the longest lifetime caps it
}

// Claims are what a grant says. Times are whole seconds.
type Claims struct {
	ID        string // tells grants apart in records; not a secret
	Principal string
	Purpose   string
	Scopes    []string // never nil
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// What [Keys.Verify] reports, with [errors.Is]. Every cause of a failure is one
// of the two, and a caller who is refused may learn which: an expired grant is a
// genuine one.
var (
	ErrInvalid = errors.New("grant: not a grant of this deployment")
	ErrExpired = errors.New("grant: outside its time")
)

// The causes, for logs on this side alone. They are made once, because a flood
// of bad tokens should cost little.
var (
	errPrefix    = fmt.Errorf("%w: it does not begin with %s", ErrInvalid, Prefix)
	errLong      = fmt.Errorf("%w: it is longer than %d bytes", ErrInvalid, MaxTokenBytes)
	errBase64    = fmt.Errorf("%w: it is not canonical base64url without padding", ErrInvalid)
	errShort     = fmt.Errorf("%w: it is too short", ErrInvalid)
	errKey       = fmt.Errorf("%w: another key sealed it", ErrInvalid)
	errVersion   = fmt.Errorf("%w: its envelope has another version", ErrInvalid)
	errSeal      = fmt.Errorf("%w: its seal is broken", ErrInvalid)
	errPayload   = fmt.Errorf("%w: its payload is malformed", ErrInvalid)
	errPrincipal = fmt.Errorf("%w: it names no principal", ErrInvalid)
	errLifetime  = fmt.Errorf("%w: its lifetime is none, or longer than allowed", ErrInvalid)
	errEarly     = fmt.Errorf("%w: not valid yet", ErrExpired)
	errLate      = fmt.Errorf("%w: expired", ErrExpired)
)

// Mint seals a new grant with the first key. It is an error when the request
// names no principal or no positive lifetime, holds text that is not UTF-8, or
// makes a token longer than [MaxTokenBytes], which nobody would accept; errors
// quote nothing of the request.
func (k *Keys) Mint(r Request) (token string, c Claims, err error) {
	var id [grantIDSize]byte
	var nonce [nonceSize]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read does not fail
	_, _ = rand.Read(nonce[:])
	return k.mint(r, time.Now(), hex.EncodeToString(id[:]), nonce)
}

// mint is Mint with all that it takes from elsewhere.
func (k *Keys) mint(r Request, now time.Time, id string, nonce [nonceSize]byte) (string, Claims, error) {
	switch {
	case r.Principal == "":
		return "", Claims{}, errors.New("grant: a grant is for somebody: the principal is empty")
	case r.TTLSeconds <= 0:
		return "", Claims{}, errors.New("grant: ttl_seconds must be positive")
	}
	issued := now.Unix()
	c := Claims{
		ID: id, Principal: r.Principal, Purpose: r.Purpose, Scopes: append([]string{}, r.Scopes...),
		IssuedAt: time.Unix(issued, 0), ExpiresAt: time.Unix(issued+min(r.TTLSeconds, k.maxTTL), 0),
	}
	payload, err := appendPayload(nil, &c)
	if err != nil {
		return "", Claims{}, err
	}
	key := &k.keys[0]
	sealed := make([]byte, 0, sealedHead+len(payload)+key.aead.Overhead())
	if len(Prefix)+base64.RawURLEncoding.EncodedLen(cap(sealed)) > MaxTokenBytes {
		return "", Claims{}, errTooMuch
	}
	sealed = append(append(append(sealed, key.id[:]...), envelopeVersion), nonce[:]...)
	sealed = key.aead.Seal(sealed, nonce[:], payload, key.aad)
	return Prefix + base64.RawURLEncoding.EncodeToString(sealed), c, nil
}

var (
	errTooMuch = fmt.Errorf("grant: principal, purpose and scopes do not fit into a token of %d bytes", MaxTokenBytes)
	errText    = errors.New("grant: principal, purpose and scopes must be UTF-8")
)

// Verify opens a token as it was presented. It fails with [ErrInvalid] on
// whatever is no grant of these keys and this audience, and with [ErrExpired] on
// a genuine grant that is not valid now, give or take [Skew].
func (k *Keys) Verify(token string) (Claims, error) { return k.verify(token, time.Now()) }

// verify looks at nothing inside the seal before the seal has proven good
// (IDENTITY_V2_SPEC section 9.1, "Verification").
func (k *Keys) verify(token string, now time.Time) (Claims, error) {
	text, ok := strings.CutPrefix(token, Prefix)
	if !ok {
		return Claims{}, errPrefix
	}
	if len(token) > MaxTokenBytes {
		return Claims{}, errLong
	}
	sealed, err := decode(text)
	if err != nil {
		return Claims{}, err
	}
	if len(sealed) < sealedHead+chacha20poly1305.Overhead {
		return Claims{}, errShort
	}
	key := k.find(sealed[:kidSize])
	if key == nil {
		return Claims{}, errKey
	}
	if sealed[kidSize] != envelopeVersion {
		return Claims{}, errVersion
	}
	box := sealed[sealedHead:]
	payload, err := key.aead.Open(box[:0], sealed[kidSize+1:sealedHead], box, key.aad)
	if err != nil {
		return Claims{}, errSeal
	}
	r := payloadReader{rest: payload}
	c, issued, expires := r.claims()
	switch {
	case r.bad || len(r.rest) > 0:
		return Claims{}, errPayload
	case c.Principal == "":
		return Claims{}, errPrincipal
	}
	if err := k.checkTimes(issued, expires, now.Unix()); err != nil {
		return Claims{}, err
	}
	return c, nil
}

// checkTimes judges the lifetime of a genuine grant, in seconds since 1970. The
// sums keep to the side of now, which cannot overflow.
func (k *Keys) checkTimes(issued, expires, now int64) error {
	const skew = int64(Skew / time.Second)
	switch {
	case expires <= issued || uint64(expires)-uint64(issued) > uint64(k.maxTTL):
		return errLifetime
	case issued > now+skew:
		return errEarly
	case now-skew >= expires:
		return errLate
	}
	return nil
}

// strictEncoding takes no bits beyond the last byte, so that a token has one
// spelling.
var strictEncoding = base64.RawURLEncoding.Strict()

func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, errBase64
	}
	sealed, err := strictEncoding.DecodeString(text)
	if err != nil {
		return nil, errBase64
	}
	return sealed, nil
}

// appendPayload appends what is sealed: integers little-endian, each text after
// its length.
func appendPayload(dst []byte, c *Claims) ([]byte, error) {
	if len(c.Scopes) > maxText {
		return nil, errTooMuch
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.IssuedAt.Unix()))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.ExpiresAt.Unix()))
	var err error
	text := func(s string) {
		switch {
		case len(s) > maxText:
			err = errTooMuch
		case !utf8.ValidString(s):
			err = errText
		}
		dst = append(binary.LittleEndian.AppendUint16(dst, uint16(len(s))), s...)
	}
	text(c.ID)
	text(c.Principal)
	text(c.Purpose)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(c.Scopes)))
	for _, scope := range c.Scopes {
		text(scope)
	}
	return dst, err
}

// payloadReader reads a payload; once something was bad, it reads zeros.
type payloadReader struct {
	rest []byte
	bad  bool
}

func (r *payloadReader) claims() (c Claims, issued, expires int64) {
	issued, expires = int64(r.number(8)), int64(r.number(8))
	c = Claims{IssuedAt: time.Unix(issued, 0), ExpiresAt: time.Unix(expires, 0)}
	c.ID, c.Principal, c.Purpose = r.text(), r.text(), r.text()
	c.Scopes = []string{}
	for range r.number(2) {
		if r.bad {
			break
		}
		c.Scopes = append(c.Scopes, r.text())
	}
	return c, issued, expires
}

func (r *payloadReader) take(n int) []byte {
	if r.bad || n > len(r.rest) {
		r.bad = true
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// number reads an unsigned integer of n bytes.
func (r *payloadReader) number(n int) uint64 {
	var v uint64
	for i, b := range r.take(n) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

func (r *payloadReader) text() string {
	b := r.take(int(r.number(2)))
	if !utf8.Valid(b) {
		r.bad = true
	}
	return string(b)
}
