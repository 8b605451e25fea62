package proof

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Signer mints proofs for one service: what a proxy does, or a client that is
// trusted like one. Its methods may be called from many goroutines at once.
type Signer struct{ mac *macer }

// NewSigner returns a signer that shares key with the service originID.
func NewSigner(key Key, originID string) (*Signer, error) {
	if err := key.check(); err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	if !validOrigin(originID) {
		return nil, fmt.Errorf("proof: origin id %q: %w", originID, errOriginForm)
	}
	return &Signer{mac: newMacer(key, originID)}, nil
}

// Mint returns a fresh proof, the value of [Header]. Each serves one request.
func (s *Signer) Mint() string {
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	return s.MintAt(time.Now(), nonce)
}

// MintAt is Mint with a time, to the second, and a nonce of the caller's choice.
// A service refuses a nonce that it has seen.
func (s *Signer) MintAt(at time.Time, nonce [16]byte) string {
	ts := strconv.FormatInt(max(at.Unix(), 0), 10)
	text := base64.RawURLEncoding.EncodeToString(nonce[:])
	b := make([]byte, 0, maxToken)
	for _, field := range []string{version, s.mac.key.ID, ts, text} {
		b = append(append(b, field...), '.')
	}
	return string(s.mac.appendMAC(b, ts, text))
}

// Sign puts a fresh proof on a request, in place of any that it has.
func (s *Signer) Sign(r *http.Request) { r.Header[canonicalHeader] = []string{s.Mint()} }
