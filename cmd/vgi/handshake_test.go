package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	authsocket "github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestAHandshakeIsDoneAsTheServerDemands(t *testing.T) {
	const secret = "1111111111111111111111111111111111111111111111111111111111111111"
	secrets := file(t, "secrets", "old "+strings.Repeat("2", 64)+"\nnew "+secret+"\n")
	known, err := authsocket.ParseSecrets("new " + secret)
	if err != nil {
		t.Fatal(err)
	}
	admitter := func(opts authsocket.HandshakeOptions) string {
		h, err := authsocket.NewHandshake(opts)
		if err != nil {
			t.Fatal(err)
		}
		return "unix:" + serveBehind(t, h)
	}
	version := admitter(authsocket.HandshakeOptions{Mode: authsocket.Version})
	hmac := admitter(authsocket.HandshakeOptions{Mode: authsocket.HMAC, Secrets: known})
	for _, tt := range []struct {
		name string
		args []string
		want int
	}{
		{"the version", []string{version, "--handshake", "version"}, exitOK},
		{"no handshake", []string{version}, codeStatus(vgirpc.Unauthenticated)},
		{"a secret", []string{hmac, "--handshake", "hmac", "--handshake-secret-file", secrets, "--handshake-key-id", "new"}, exitOK},
		{"another secret", []string{hmac, "--handshake", "hmac", "--handshake-secret-file", secrets}, codeStatus(vgirpc.Unauthenticated)},
		{"another mode", []string{hmac, "--handshake", "version"}, codeStatus(vgirpc.FailedPrecondition)},
		{"a mode that there is not", []string{hmac, "--handshake", "magic"}, exitUsage},
		{"no secrets", []string{hmac, "--handshake", "hmac"}, exitUsage},
		{"secrets for another mode", []string{version, "--handshake", "version", "--handshake-secret-file", secrets}, exitUsage},
		{"an id that is of no secret", []string{hmac, "--handshake", "hmac", "--handshake-secret-file", secrets, "--handshake-key-id", "x"}, exitUsage},
		{"a signature of another mode", []string{version, "--handshake", "version", "--server-signed-by", secrets}, exitUsage},
		{"keys that are none", []string{version, "--handshake", "signed", "--server-signed-by", secrets}, exitFailed},
		{"no socket", []string{"http://127.0.0.1:1", "--handshake", "version"}, exitUsage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := vgi(t, append([]string{"describe"}, tt.args...)...)
			if got.status != tt.want {
				t.Errorf("status %d, want %d: %s", got.status, tt.want, got.errors)
			}
			if strings.Contains(got.errors, secret[:8]) {
				t.Error("the error has a secret")
			}
		})
	}
}

// serveBehind serves a Unix socket behind an admitter, and returns its path.
func serveBehind(t *testing.T, admitter vgirpc.Admitter) string {
	t.Helper()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Logger: slog.New(slog.DiscardHandler), Conns: vgirpc.ConnOptions{Admit: []vgirpc.Admitter{admitter}},
	}, vgirpc.NewProtocol("test.Signed.v1", "1.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	path := socket(t)
	l, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return path
}
