package sockettls_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/auth/socket/sockettls"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestAConnectionEndsWithItsClientsCertificate(t *testing.T) {
	dir := t.TempDir()
	files := sockettls.Files{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	write(t, files, "somebody")
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		shows []tls.Certificate
		want  time.Time
	}{
		{"with one", []tls.Certificate{pair}, leaf.NotAfter},
		{"and without one it does not end", nil, time.Time{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config, err := files.Config(slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			config.GetConfigForClient = nil
			config.ClientAuth = tls.RequestClientCert
			admitter, err := sockettls.New(sockettls.Options{Config: config})
			if err != nil {
				t.Fatal(err)
			}
			near, far := net.Pipe()
			a := vgirpc.NewAdmission(far, &vgirpc.Peer{})
			admitted := make(chan error, 1)
			go func() { admitted <- admitter.Admit(t.Context(), a) }()
			client := tls.Client(near, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, Certificates: tt.shows})
			if err := client.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = near.Read(make([]byte, 1<<10)) }() // tickets
			if err := <-admitted; err != nil {
				t.Fatal(err)
			}
			if !a.Until().Equal(tt.want) {
				t.Errorf("it ends at %v: want %v", a.Until(), tt.want)
			}
			_ = near.Close()
			_ = far.Close()
		})
	}
}
