package soak

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

// loopback is the origin of workers and of their storage.
const loopback = "http://127.0.0.1"

// A site is one transport with the worker behind it.
type site struct {
	name    string
	kind    string // how it is dialled: stdio, unix, shm, tcp, tls, http
	address string // a path, HOST:PORT or a URL
	files   string // the directory of its storage; "" without

	log   *os.File
	pid   int
	admin *http.Client
	// Whom clients of tls trust, and the file that says it.
	trust     *x509.CertPool
	authority string

	// client is the one of a worker over standard input and output, which lives as
	// long as the run.
	client *vgirpc.Client
}

// environment is that of a process of this binary with another role.
func environment(role string) []string { return append(os.Environ(), roleVariable+"="+role) }

// impatience, in seconds, makes a worker give up on silent callers, storage on old
// objects and a server on sessions while the soak runs. It is longer than a busy
// machine stands still: those without faults must not notice it.
const impatience = "10"

var limits = []string{
	"--first-byte-timeout", impatience, "--message-progress-timeout", impatience, "--max-connections", "200", "--log-level", "error",
}

// openSites starts a worker for each transport, and ends them with t.Cleanup. What
// they write to standard error lies in logs.
func openSites(t *testing.T, logs string, kinds, env []string) []*site {
	t.Helper()
	dir, err := os.MkdirTemp("", "soak") //nolint:usetesting // short, for the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var sites []*site
	for _, kind := range kinds {
		s := &site{name: kind, kind: kind}
		socket := filepath.Join(dir, kind+".admin")
		args := append([]string{"--admin-unix", socket}, limits...)
		switch kind {
		case "stdio":
		case "unix", "shm":
			s.address = filepath.Join(dir, kind)
			args = append(args, "--unix", s.address)
		case "tcp":
			args = append(args, "--tcp", "127.0.0.1:0")
		case "tls":
			cert, key, pool := certificate(t, dir)
			s.trust, s.authority = pool, cert
			args = append(args, "--tcp", "127.0.0.1:0", "--tcp-tls-cert", cert, "--tcp-tls-key", key)
		case "http":
			s.files = filepath.Join(dir, "objects")
			args = append(args, "--http", "0", "--storage", "file://"+s.files, "--externalize-threshold", "65536",
				"--storage-ttl", impatience, "--sticky-ttl", impatience, "--call-state-cache", "128", "--max-request-bytes", "262144")
		}
		var err error
		if s.log, err = os.Create(filepath.Join(logs, kind+".log")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.log.Close() })
		if kind == "stdio" {
			s.startPipe(t, args, env)
		} else {
			s.start(t, args, env)
		}
		s.admin = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		}}
		t.Cleanup(s.admin.CloseIdleConnections)
		sites = append(sites, s)
	}
	return sites
}

// start starts a worker that listens, and reads where.
func (s *site) start(t *testing.T, args, env []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(environment(roleWorker), env...)
	cmd.Stderr = s.log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.pid = cmd.Process.Pid
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: the worker ended with %v", s.name, err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: the worker announced nothing: %v", s.name, err)
	}
	how, where, _ := strings.Cut(strings.TrimSpace(line), ":")
	switch how {
	case "TCP":
		s.address = where
	case "PORT":
		s.address = loopback + ":" + where
	}
}

// startPipe starts a worker over standard input and output.
func (s *site) startPipe(t *testing.T, args, env []string) {
	t.Helper()
	p, err := subprocess.Start(t.Context(), subprocess.Options{
		Command: append([]string{os.Args[0]}, args...), Env: append(environment(roleWorker), env...), Stderr: s.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.pid = p.PID()
	s.client = vgirpc.NewClient(p, vgirpc.ClientOptions{})
	t.Cleanup(func() { _ = s.client.Close() })
}

// get asks the worker's admin listener.
func (s *site) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.admin.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: admin listener: %w", s.name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: admin listener: %s: %w", s.name, path, err)
	}
	return body, nil
}

// certificate makes one for 127.0.0.1, and files of it in dir.
func certificate(t *testing.T, dir string) (cert, key string, trust *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trust = x509.NewCertPool()
	trust.AddCert(parsed)
	return cert, key, trust
}

// tlsConfig is how a client of the site speaks TLS.
func (s *site) tlsConfig() *tls.Config {
	return &tls.Config{RootCAs: s.trust, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
}
