//go:build linux

package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authsocket "github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestSignWritesSignaturesThatServersAccept(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if got := vgi(t, "sign", "--new-key", key); got.status != exitOK {
		t.Fatal(got)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key: %v, %v", info, err)
	}
	text, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	process, err := authsocket.NewSignedProcess(authsocket.ProcessOptions{Keys: []ed25519.PublicKey{public.(ed25519.PublicKey)}})
	if err != nil {
		t.Fatal(err)
	}
	// A copy of this program, which is signed, and calls a server that wants that.
	program := filepath.Join(dir, "caller")
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	if got := vgi(t, "sign", "--key", key, "--name", "caller-1", link); got.status != exitOK || !strings.HasPrefix(got.out, program+"\tcaller-1\tsha256:") {
		t.Fatalf("%+v", got)
	}
	path := serveBehind(t, process)
	for _, tt := range []struct {
		program string
		want    int
	}{{link, exitOK}, {os.Args[0], codeStatus(vgirpc.PermissionDenied)}} {
		cmd := exec.CommandContext(t.Context(), tt.program, "describe", "unix:"+path)
		cmd.Env = append(os.Environ(), roleVariable+"="+roleCommand)
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != tt.want {
			t.Errorf("%s: status %d, want %d: %v\n%s", tt.program, got, tt.want, err, out)
		}
	}
}

func TestSignThatMakesNoSense(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if got := vgi(t, "sign", "--new-key", key); got.status != exitOK {
		t.Fatal(got)
	}
	program := file(t, "program", "text")
	for _, tt := range []struct {
		name string
		args []string
		want int
	}{
		{"no key", []string{"sign", program}, exitUsage},
		{"two keys", []string{"sign", "--key", key, "--new-key", key + "2", program}, exitUsage},
		{"no program", []string{"sign", "--key", key}, exitUsage},
		{"a name with a space", []string{"sign", "--key", key, "--name", "a b", program}, exitUsage},
		{"a key that is there already", []string{"sign", "--new-key", key}, exitFailed},
		{"a key that is not there", []string{"sign", "--key", key + "3", program}, exitFailed},
		{"a public key", []string{"sign", "--key", key + ".pub", program}, exitFailed},
		{"a program that is not there", []string{"sign", "--key", key, program + "2"}, exitFailed},
		{"a directory", []string{"sign", "--key", key, dir}, exitFailed},
	} {
		if got := vgi(t, tt.args...); got.status != tt.want || got.errors == "" {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}
