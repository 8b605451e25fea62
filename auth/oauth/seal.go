package oauth

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// sealer seals what browsers keep for the service: XChaCha20-Poly1305 over the
// time of expiry and the value, bound to what it is for.
//
//	version 1 | nonce 24 | sealed(expiry 8, seconds, big endian | JSON) + tag 16
//
// in base64url without padding.
type sealer struct {
	ciphers []cipher.AEAD // the first one seals
	domain  string        // what else is bound: the client and its callback
	now     func() time.Time
}

const (
	sealVersion = 1
	expiryBytes = 8
	// maxSealed bounds a sealed value: browsers take a cookie of 4,096 bytes.
	maxSealed = 3800
)

var (
	rawURL  = base64.RawURLEncoding.Strict()
	errOpen = errors.New("not sealed here, tampered with, or expired")
)

// newSealer derives the keys of a sealer. A key that is used for something else
// as well stays two keys.
func newSealer(keys [][]byte, domain string, now func() time.Time) (*sealer, error) {
	s := &sealer{domain: domain, now: now}
	for i, key := range keys {
		derived, err := hkdf.Key(sha256.New, key, nil, "vgi-rpc oauth cookies v1", chacha20poly1305.KeySize)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		aead, err := chacha20poly1305.NewX(derived)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		s.ciphers = append(s.ciphers, aead)
	}
	return s, nil
}

// seal seals v for a purpose and a time.
func (s *sealer) seal(purpose string, v any, lifetime time.Duration) (string, error) {
	plain := binary.BigEndian.AppendUint64(nil, uint64(s.now().Add(lifetime).Unix()))
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, 1+chacha20poly1305.NonceSizeX)
	nonce[0] = sealVersion
	_, _ = rand.Read(nonce[1:]) // never fails
	out := s.ciphers[0].Seal(nonce, nonce[1:], append(plain, text...), s.aad(purpose))
	return rawURL.EncodeToString(out), nil
}

// open opens into v what was sealed for a purpose, unless its time is over. Why
// it does not open is nobody's business.
func (s *sealer) open(purpose, sealed string, v any) error {
	if len(sealed) > maxSealed {
		return errOpen
	}
	raw, err := rawURL.DecodeString(sealed)
	if err != nil || len(raw) < 1+chacha20poly1305.NonceSizeX || raw[0] != sealVersion {
		return errOpen
	}
	nonce, box := raw[1:1+chacha20poly1305.NonceSizeX], raw[1+chacha20poly1305.NonceSizeX:]
	for _, c := range s.ciphers {
		plain, err := c.Open(nil, nonce, box, s.aad(purpose))
		if err != nil {
			continue
		}
		if len(plain) < expiryBytes || s.now().Unix() >= int64(binary.BigEndian.Uint64(plain)) {
			return errOpen
		}
		if json.Unmarshal(plain[expiryBytes:], v) != nil {
			return errOpen
		}
		return nil
	}
	return errOpen
}

func (s *sealer) aad(purpose string) []byte { return []byte(purpose + "\x00" + s.domain) }

// random is a fresh value that nobody guesses: 256 bits in base64url.
func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return rawURL.EncodeToString(b)
}
