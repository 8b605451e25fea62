package proof

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Key is a secret that one proxy and one service share.
type Key struct {
	// ID names the key on the wire: 1 to 64 of A-Z, a-z, 0-9, "_" and "-".
	ID string
	// Label is the operator's name for the proxy that holds the key; ID when
	// empty. Two keys of one proxy share a label while they rotate.
	Label string
	// Secret is the key for this service alone, as [Derive] makes it: never the
	// proxy's base key.
	Secret [32]byte
}

// String names the key and never shows the secret.
func (k Key) String() string { return "proxy proof key " + k.ID }

// GoString is String, so that %#v shows no secret either.
func (k Key) GoString() string { return k.String() }

func (k Key) check() error {
	if !validKID(k.ID) {
		return fmt.Errorf("key id %q is not 1 to 64 of A-Z, a-z, 0-9, _ and -", k.ID)
	}
	return nil
}

// ParseKeys reads keys as they stand in configuration: `kid:hex` pairs with
// commas between, each secret 64 hex characters; the key id is the label. Blanks
// around a pair are ignored. Anything else is an error, an empty list or pair
// and a repeated key id as well, because a key that is silently missing or wrong
// is an outage without a diagnosis (section 5.3). Errors never hold a secret.
func ParseKeys(s string) ([]Key, error) {
	var keys []Key
	seen := map[string]bool{}
	for i, pair := range strings.Split(s, ",") {
		kid, text, colon := strings.Cut(strings.TrimSpace(pair), ":")
		if !colon {
			return nil, fmt.Errorf("proof: key %d has no colon and should be kid:hex", i)
		}
		k := Key{ID: kid}
		if err := k.check(); err != nil {
			return nil, fmt.Errorf("proof: key %d: %w", i, err)
		}
		if seen[kid] {
			return nil, fmt.Errorf("proof: key %d: the key id %q appears twice", i, kid)
		}
		seen[kid] = true
		if len(text) != hex.EncodedLen(len(k.Secret)) {
			return nil, fmt.Errorf("proof: the secret of %q has %d characters and should have 64", kid, len(text))
		}
		if _, err := hex.Decode(k.Secret[:], []byte(text)); err != nil {
			return nil, fmt.Errorf("proof: the secret of %q is not hexadecimal", kid)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// Derive makes the secret that a proxy shares with one service from the base key
// that only the proxy holds (section 5.1). Both ids are 1 to 255 of A-Z, a-z,
// 0-9 and "._:/-".
func Derive(base [32]byte, proxyID, originID string) ([32]byte, error) {
	if !validOrigin(proxyID) {
		return [32]byte{}, fmt.Errorf("proof: proxy id %q: %w", proxyID, errOriginForm)
	}
	if !validOrigin(originID) {
		return [32]byte{}, fmt.Errorf("proof: origin id %q: %w", originID, errOriginForm)
	}
	h := hmac.New(sha256.New, base[:])
	h.Write([]byte(deriveLabel + proxyID + "\x00" + originID))
	return [32]byte(h.Sum(nil)), nil
}

var errOriginForm = errors.New("want 1 to 255 of A-Z, a-z, 0-9, _ and .:/-")
