package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	authsocket "github.com/vgirpc/vgirpc-go/auth/socket"
)

// signCommand is vgi sign.
func (a *app) signCommand() *cobra.Command {
	var key, newKey, name string
	cmd := &cobra.Command{
		Use:   "sign --key FILE PROGRAM…",
		Short: "Sign programs that servers on Unix sockets shall let in",
		Long: `sign writes an Ed25519 signature beside each program, in a file with the suffix
` + authsocket.SignatureSuffix + `. A server with --unix-signed-by lets in what the keys that it knows have
signed, and knows the caller by the signature's name. Sign again after every
build. The file that the program is started from counts: for a script, that is
its interpreter.

--new-key makes a key, without a program if there is none: the private one in
FILE, which nobody else may read, the public one in FILE.pub for the servers.
Keys are in PEM, as those of 'openssl genpkey -algorithm ed25519'.`,
		Example: `  vgi sign --new-key release.key
  vgi sign --key release.key --name billing ./billing`,
		RunE: func(cmd *cobra.Command, programs []string) error {
			a.began = true
			switch {
			case (key == "") == (newKey == ""):
				return usagef("sign: want either --key or --new-key")
			case key != "" && len(programs) == 0:
				return usagef("sign: want a program")
			}
			private, err := signingKey(key, newKey)
			if err != nil {
				return err
			}
			for _, program := range programs {
				if err := a.sign(cmd, private, name, program); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "`FILE` with the private key, in PEM")
	cmd.Flags().StringVar(&newKey, "new-key", "", "`FILE` to write a new private key to, which must not exist")
	cmd.Flags().StringVar(&name, "name", "", "`NAME` that servers know the program by (default its file's)")
	return cmd
}

// signingKey reads a private key, or makes one.
func signingKey(path, newPath string) (ed25519.PrivateKey, error) {
	if newPath != "" {
		return makeKey(newPath)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("sign: %s holds no key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("sign: %s: want a private key in PKCS #8", path)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("sign: %s: want an Ed25519 private key", path)
	}
	return private, nil
}

func makeKey(path string) (ed25519.PrivateKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	secret, err1 := x509.MarshalPKCS8PrivateKey(private)
	known, err2 := x509.MarshalPKIXPublicKey(public)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		path string
		mode fs.FileMode
		kind string
		der  []byte
	}{{path, 0o600, "PRIVATE KEY", secret}, {path + ".pub", 0o644, "PUBLIC KEY", known}} {
		if err := writeNew(f.path, f.mode, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})); err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	return private, nil
}

// writeNew writes a file that was not there before.
func writeNew(path string, mode fs.FileMode, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// sign writes the signature of one program.
func (a *app) sign(cmd *cobra.Command, key ed25519.PrivateKey, name, program string) error {
	path, err := filepath.EvalSymlinks(program) // as the kernel names what runs
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if name == "" {
		name = filepath.Base(path)
	}
	sum, err := authsocket.HashProgram(cmd.Context(), path)
	if err != nil {
		return fmt.Errorf("sign: %s: %w", program, err)
	}
	signature, err := authsocket.Sign(key, name, sum)
	if err != nil {
		return usagef("sign: %w", err)
	}
	text, err := signature.MarshalText()
	if err != nil {
		return err
	}
	if err := replaceFile(path+authsocket.SignatureSuffix, text); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	_, err = fmt.Fprintf(a.out, "%s\t%s\tsha256:%s\n", path, name, hex.EncodeToString(sum[:]))
	return err
}

// replaceFile puts text into a file at once: nobody reads half of it.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
