package sockettls_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vgirpc/vgirpc-go/auth/socket/sockettls"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// write makes a certificate for a name and writes it with its key.
func write(t *testing.T, files sockettls.Files, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		path, kind string
		der        []byte
	}{{files.Cert, "CERTIFICATE", der}, {files.Key, "PRIVATE KEY", secret}} {
		if err := os.WriteFile(f.path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shown is the name on the certificate that a server shows.
func shown(t *testing.T, admitter *sockettls.TLS) string {
	t.Helper()
	near, far := net.Pipe()
	admitted := make(chan error, 1)
	go func() {
		admitted <- admitter.Admit(t.Context(), vgirpc.NewAdmission(far, &vgirpc.Peer{}))
	}()
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := client.ConnectionState().PeerCertificates[0].Subject.CommonName
	go func() { _, _ = near.Read(make([]byte, 1<<10)) }() // tickets
	if err := <-admitted; err != nil {
		t.Error(err)
	}
	_ = near.Close()
	_ = far.Close()
	return name
}

func TestCertificatesAreReplacedWithoutAnInterruption(t *testing.T) {
	dir := t.TempDir()
	files := sockettls.Files{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		write(t, files, "first")
		config, err := files.Config(slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		admitter, err := sockettls.New(sockettls.Options{Config: config})
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		look := func() { seen = append(seen, shown(t, admitter)) }
		look()
		write(t, files, "second")
		look()
		time.Sleep(time.Minute)
		look()
		if err := os.WriteFile(files.Cert, []byte("nothing"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		look()
		if got := fmt.Sprint(seen); got != "[first first second second]" {
			t.Error(got)
		}
		if !strings.Contains(log.String(), "cannot be used") {
			t.Errorf("the log is %s", log.String())
		}
	})
}

func TestFilesThatAreNoCertificates(t *testing.T) {
	dir := t.TempDir()
	good := sockettls.Files{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	write(t, good, "first")
	for name, files := range map[string]sockettls.Files{
		"no key":                         {Cert: good.Cert},
		"no certificate":                 {Key: good.Key},
		"a file that is not there":       {Cert: good.Cert, Key: filepath.Join(dir, "none")},
		"authorities that are none":      {Cert: good.Cert, Key: good.Key, ClientCA: good.Key},
		"authorities that are not there": {Cert: good.Cert, Key: good.Key, ClientCA: filepath.Join(dir, "none")},
	} {
		if _, err := files.Config(slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
