package socket

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// maxPublicKeysFile bounds a file of public keys, in bytes.
const maxPublicKeysFile = 1 << 20

// ReadPublicKeys reads a file of Ed25519 public keys, one block of PEM each, for
// [ProcessOptions]. It is an error when there is none, or one of another kind.
func ReadPublicKeys(path string) ([]ed25519.PublicKey, error) {
	text, _, err := readSmall(path, maxPublicKeysFile)
	if err != nil {
		return nil, fmt.Errorf("socket: public keys: %w", err)
	}
	var keys []ed25519.PublicKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("socket: public keys: %s: %w", path, err)
		}
		public, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("socket: public keys: %s: a %T: want Ed25519 public keys", path, key)
		}
		keys = append(keys, public)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("socket: public keys: %s holds no public key in PEM", path)
	}
	return keys, nil
}
