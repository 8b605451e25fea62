package socket

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// SignatureSuffix is appended to a program's path to find its signature.
const SignatureSuffix = ".vgisig"

const (
	signatureHead = "vgi-signature-v1"
	maxSignature  = 4 << 10
	maxName       = 128
)

// Signature is what somebody says of a program: that it is the one called Name.
// As a text it has four lines: "vgi-signature-v1", "name NAME", "key" with the
// SHA-256 of the public key in hexadecimal digits, "ed25519" with the signature in
// base64.
type Signature struct {
	Name      string // 1 to 128 printable ASCII characters without a space
	KeyID     string // see KeyID
	Signature []byte
}

// KeyID is how signatures name a public key: its SHA-256, in hexadecimal digits.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:])
}

// signed is what the signature is over.
func signed(name string, program [sha256.Size]byte) []byte {
	text := append([]byte("vgi-rpc signed executable v1\x00"), byte(len(name)))
	return append(append(text, name...), program[:]...)
}

// Sign signs a program, of which it gets the SHA-256, under a name. It fails when
// the name or the key is none.
func Sign(key ed25519.PrivateKey, name string, program [sha256.Size]byte) (*Signature, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("socket: no Ed25519 private key")
	}
	if len(name) > maxName || !isWord(name) {
		return nil, fmt.Errorf("socket: the name of a signature has 1 to %d printable ASCII characters and no space", maxName)
	}
	public, _ := key.Public().(ed25519.PublicKey)
	return &Signature{Name: name, KeyID: KeyID(public), Signature: ed25519.Sign(key, signed(name, program))}, nil
}

// MarshalText is the signature as it is stored.
func (s *Signature) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%s\nname %s\nkey %s\ned25519 %s\n", signatureHead, s.Name, s.KeyID,
		base64.StdEncoding.EncodeToString(s.Signature)), nil
}

// UnmarshalText reads what MarshalText has written, and nothing else.
func (s *Signature) UnmarshalText(text []byte) error {
	lines := strings.Split(string(text), "\n")
	if len(text) > maxSignature || len(lines) != 5 || lines[0] != signatureHead || lines[4] != "" {
		return errors.New("not a signature of a program")
	}
	var values [3]string
	for i, label := range []string{"name ", "key ", "ed25519 "} {
		var ok bool
		if values[i], ok = strings.CutPrefix(lines[i+1], label); !ok {
			return fmt.Errorf("line %d of the signature: want %q", i+2, label)
		}
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(values[2])
	if err != nil || len(raw) != ed25519.SignatureSize || len(values[0]) > maxName || !isWord(values[0]) {
		return errors.New("a name or a signature that is none")
	}
	*s = Signature{Name: values[0], KeyID: values[1], Signature: raw}
	return nil
}

// HashProgram is the SHA-256 of the file at path.
func HashProgram(ctx context.Context, path string) ([sha256.Size]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return hashFile(ctx, f)
}

// maxProgram bounds a program, in bytes.
const maxProgram = 4 << 30

func hashFile(ctx context.Context, f *os.File) (sum [sha256.Size]byte, err error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return sum, err
	case !info.Mode().IsRegular():
		return sum, errors.New("not a regular file")
	case info.Size() > maxProgram:
		return sum, fmt.Errorf("a program of %d bytes: want at most %d", info.Size(), int64(maxProgram))
	}
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		switch {
		case errors.Is(err, io.EOF):
			return [sha256.Size]byte(h.Sum(nil)), nil
		case err != nil:
			return sum, err
		case ctx.Err() != nil:
			return sum, ctx.Err()
		}
	}
}
