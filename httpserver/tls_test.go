package httpserver_test

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
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver"
)

// issued is a certificate with its key, in PEM and ready for use.
type issued struct {
	cert, key []byte
	pair      tls.Certificate
}

// issue makes a certificate for a name and 127.0.0.1, signed by parent or, when
// that is nil, by itself.
func issue(t *testing.T, name string, parent *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: parent == nil,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	signer, signerKey := template, any(key)
	if parent != nil {
		signer, signerKey = parent.pair.Leaf, parent.pair.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	out := &issued{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
	if out.pair, err = tls.X509KeyPair(out.cert, out.key); err != nil {
		t.Fatal(err)
	}
	return out
}

// secret is a directory of files as Kubernetes mounts one: the files are links
// through a link to the directory that has them, and that link is swapped.
type secret struct {
	dir      string
	versions int
}

func newSecret(t *testing.T, files map[string][]byte) *secret {
	t.Helper()
	s := &secret{dir: t.TempDir()}
	s.swap(t, files)
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), s.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *secret) path(name string) string { return filepath.Join(s.dir, name) }

func (s *secret) swap(t *testing.T, files map[string][]byte) {
	t.Helper()
	s.versions++
	version := fmt.Sprintf("..%d", s.versions)
	if err := os.Mkdir(s.path(version), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, filepath.Join(s.path(version), name), text)
	}
	if err := os.Symlink(version, s.path("..data_tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path("..data_tmp"), s.path("..data")); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// logged is a logger's output.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// greeting is what one new TLS connection is told: the server's certificate, and
// the answer.
func greeting(t *testing.T, address string, config *tls.Config, roots ...*issued) (name string, err error) {
	t.Helper()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config = config.Clone()
	config.RootCAs = x509.NewCertPool()
	for _, root := range roots {
		config.RootCAs.AddCert(root.pair.Leaf)
	}
	c := client(t, func(tr *http.Transport) {
		tr.TLSClientConfig = config
		tr.Protocols.SetHTTP2(true)
	})
	res, err := c.Do(request(t, http.MethodGet, "https://"+address, nil))
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.TLS.PeerCertificates[0].Subject.CommonName + " " + string(body), err
}

// protoAndClient answers with the version of HTTP and the client's name.
func protoAndClient(w http.ResponseWriter, r *http.Request) {
	name := "anybody"
	if certs := r.TLS.PeerCertificates; len(certs) > 0 {
		name = certs[0].Subject.CommonName
	}
	_, _ = io.WriteString(w, r.Proto+" "+name)
}

// always looks at the files for every connection.
const always = time.Nanosecond

func TestCertificatesThatChange(t *testing.T) {
	first, second, third := issue(t, "first", nil), issue(t, "second", nil), issue(t, "third", nil)
	files := func(cert, key *issued) map[string][]byte {
		return map[string][]byte{"tls.crt": cert.cert, "tls.key": key.key}
	}
	dir := newSecret(t, files(first, first))
	var log logged
	_, address := serve(t, http.HandlerFunc(protoAndClient), httpserver.ServeOptions{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		TLS:    &httpserver.TLSOptions{CertFile: dir.path("tls.crt"), KeyFile: dir.path("tls.key"), ReloadInterval: always},
	})
	for _, step := range []struct {
		name   string
		change func()
		want   string
		log    string // how it is told of, once
	}{
		{"as it began", func() {}, "first HTTP/2.0 anybody", ""},
		{"by swapping the link", func() { dir.swap(t, files(second, second)) }, "second HTTP/2.0 anybody", "reloaded"},
		{"to a certificate of another key", func() { dir.swap(t, files(third, second)) }, "second HTTP/2.0 anybody", "cannot be used"},
		{"to its key as well, in place", func() { write(t, dir.path("tls.key"), third.key) }, "third HTTP/2.0 anybody", "reloaded"},
		{"to nonsense", func() { write(t, dir.path("tls.crt"), []byte("nonsense")) }, "third HTTP/2.0 anybody", "cannot be used"},
		{"to nothing at all", func() { _ = os.Remove(dir.path("tls.crt")) }, "third HTTP/2.0 anybody", "cannot be read"},
	} {
		before := log.String()
		step.change()
		for range 2 {
			if got, err := greeting(t, address, nil, first, second, third); got != step.want || err != nil {
				t.Errorf("%s: a new connection gets %q, %v; want %q", step.name, got, err, step.want)
			}
		}
		told := strings.TrimPrefix(log.String(), before)
		if step.log != "" && strings.Count(told, step.log) != 1 || step.log == "" && told != "" {
			t.Errorf("%s: the log says %q, want %q once", step.name, told, step.log)
		}
	}
}

func TestFilesAreNotLookedAtForEveryConnection(t *testing.T) {
	first, second := issue(t, "first", nil), issue(t, "second", nil)
	dir := newSecret(t, map[string][]byte{"tls.crt": first.cert, "tls.key": first.key})
	_, address := serve(t, http.HandlerFunc(protoAndClient), httpserver.ServeOptions{
		TLS: &httpserver.TLSOptions{CertFile: dir.path("tls.crt"), KeyFile: dir.path("tls.key"), ReloadInterval: time.Hour},
	})
	dir.swap(t, map[string][]byte{"tls.crt": second.cert, "tls.key": second.key})
	if got, err := greeting(t, address, nil, first, second); got != "first HTTP/2.0 anybody" || err != nil {
		t.Errorf("a connection within the interval gets %q, %v", got, err)
	}
}

func TestClientCertificates(t *testing.T) {
	server, oldCA, newCA := issue(t, "server", nil), issue(t, "old CA", nil), issue(t, "new CA", nil)
	withCert := func(c *issued) *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS12,
			// Shown whomever the server asks for.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.pair, nil },
		}
	}
	old, later := withCert(issue(t, "old client", oldCA)), withCert(issue(t, "new client", newCA))
	for _, tt := range []struct {
		name     string
		optional bool
		replaced bool
		config   *tls.Config
		want     string // "" for a refused connection
	}{
		{"one of the authority is let in", false, false, old, "server HTTP/2.0 old client"},
		{"one of another is not", false, false, later, ""},
		{"none is not", false, false, nil, ""},
		{"none is let in where that is allowed", true, false, nil, "server HTTP/2.0 anybody"},
		{"one of another is not even then", true, false, later, ""},
		{"one of the new authority is let in", false, true, later, "server HTTP/2.0 new client"},
		{"one of the replaced authority is not", false, true, old, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string][]byte{"tls.crt": server.cert, "tls.key": server.key, "ca.crt": oldCA.cert}
			dir := newSecret(t, files)
			_, address := serve(t, http.HandlerFunc(protoAndClient), httpserver.ServeOptions{TLS: &httpserver.TLSOptions{
				CertFile: dir.path("tls.crt"), KeyFile: dir.path("tls.key"), ClientCAFile: dir.path("ca.crt"),
				ClientCertOptional: tt.optional, ReloadInterval: always,
			}})
			if tt.replaced {
				files["ca.crt"] = newCA.cert
				dir.swap(t, files)
			}
			if got, err := greeting(t, address, tt.config, server); got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestOldVersionsOfTLSAreRefused(t *testing.T) {
	server := issue(t, "server", nil)
	dir := newSecret(t, map[string][]byte{"tls.crt": server.cert, "tls.key": server.key})
	_, address := serve(t, http.HandlerFunc(protoAndClient), httpserver.ServeOptions{
		TLS: &httpserver.TLSOptions{CertFile: dir.path("tls.crt"), KeyFile: dir.path("tls.key")},
	})
	for version, refused := range map[uint16]bool{tls.VersionTLS11: true, tls.VersionTLS12: false, tls.VersionTLS13: false} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			_, err := greeting(t, address, &tls.Config{MinVersion: version, MaxVersion: version}, server)
			if (err != nil) != refused {
				t.Errorf("error %v", err)
			}
		})
	}
}
