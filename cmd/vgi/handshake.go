package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	authsocket "github.com/vgirpc/vgirpc-go/auth/socket"
)

// handshake is what the flags say of the handshake before the first message.
type handshake struct {
	mode, secretFile, keyID, signedBy string
}

func (h *handshake) register(fs *pflag.FlagSet) {
	fs.StringVar(&h.mode, "handshake", "", "begin with the handshake of `MODE` version, hmac or signed that the server demands")
	fs.StringVar(&h.secretFile, "handshake-secret-file", "", "`FILE` with the shared secrets of mode hmac, each a line of an id and hexadecimal digits")
	fs.StringVar(&h.keyID, "handshake-key-id", "", "`ID` of the secret to use (default the first)")
	fs.StringVar(&h.signedBy, "server-signed-by", "", "`FILE` with public keys, in PEM, that the server's program must be signed with; see 'vgi sign'")
}

// isSocket reports whether a target is a socket that can have a handshake.
func isSocket(target string) bool {
	return strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "tcp:") || strings.HasPrefix(target, "tcp+tls:")
}

// check refuses flags that mean nothing for the target or without each other.
func (h *handshake) check(target string) error {
	mode := authsocket.Mode(h.mode)
	for _, f := range []struct {
		name, value string
		fits        bool
		want        string
	}{
		{"--handshake", h.mode, isSocket(target), "unix, tcp and tcp+tls alone"},
		{"--handshake-secret-file", h.secretFile, mode == authsocket.HMAC, "--handshake hmac"},
		{"--handshake-key-id", h.keyID, h.secretFile != "", "--handshake-secret-file"},
		{"--server-signed-by", h.signedBy, mode == authsocket.Signed, "--handshake signed"},
	} {
		if f.value != "" && !f.fits {
			return usagef("%s is for %s", f.name, f.want)
		}
	}
	if mode == authsocket.HMAC && h.secretFile == "" {
		return usagef("--handshake hmac: want --handshake-secret-file")
	}
	return nil
}

// client is the client's side of the handshake, nil for none.
func (h *handshake) client() (*authsocket.Client, error) {
	if h.mode == "" {
		return nil, nil //nolint:nilnil // as documented
	}
	opts := authsocket.ClientOptions{Mode: authsocket.Mode(h.mode), KeyID: h.keyID}
	var err error
	if h.secretFile != "" {
		if opts.Secrets, err = authsocket.OpenSecrets(h.secretFile, slog.New(slog.DiscardHandler)); err != nil {
			return nil, fmt.Errorf("--handshake-secret-file: %w", err)
		}
	}
	if h.signedBy != "" {
		keys, err := authsocket.ReadPublicKeys(h.signedBy)
		if err != nil {
			return nil, fmt.Errorf("--server-signed-by: %w", err)
		}
		if opts.Server, err = authsocket.NewSignedProcess(authsocket.ProcessOptions{Keys: keys}); err != nil {
			return nil, err
		}
	}
	c, err := authsocket.NewClient(opts)
	if err != nil {
		return nil, usagef("--handshake: %w", err)
	}
	return c, nil
}
