package workeradmin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
)

// writeCertificate writes a certificate of 127.0.0.1 with a serial number, and its
// key.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "worker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEverybodyCanReachItWithTLSAndAToken(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writeCertificate(t, cert, key, 1)
	p := start(t, "--http", "--admin", "0.0.0.0:0", "--admin-token", "correct-horse-battery", "--admin-tls-cert", cert, "--admin-tls-key", key)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.admin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	p.admin = "https://127.0.0.1:" + port
	var serial int64
	p.client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // the test looks at the serial number itself
		VerifyConnection: func(s tls.ConnectionState) error {
			serial = s.PeerCertificates[0].SerialNumber.Int64()
			return nil
		},
	}}
	if status, body := p.ask(t, "GET", "/readyz", ""); status != 200 || serial != 1 {
		t.Fatalf("status %d, certificate %d: %s", status, serial, body)
	}
	if status, _ := p.ask(t, "GET", "/metrics", ""); status != 401 {
		t.Errorf("status %d without the token", status)
	}
	writeCertificate(t, cert, key, 2)
	p.Signal(t, syscall.SIGHUP)
	for deadline := time.Now().Add(workertest.Patience); serial != 2; {
		if status, body := p.ask(t, "GET", "/livez", ""); status != 200 || time.Now().After(deadline) {
			t.Fatalf("status %d, certificate %d: %s", status, serial, body)
		}
	}
	p.client.Transport = withToken{p.client.Transport, "correct-horse-battery"}
	if status, body := p.ask(t, "GET", "/metrics", ""); status != 200 || !strings.Contains(body, "vgi_rpc_build_info") {
		t.Errorf("status %d: %.200s", status, body)
	}
}
