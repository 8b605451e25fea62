package workerauth_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerauth"
)

const key = "1111111111111111111111111111111111111111111111111111111111111111"

var (
	protocol = vgirpc.NewProtocol("test.Guarded.v1", "1.0.0")
	whoami   = vgirpc.NewUnary[vgirpc.None, string](protocol, "whoami")
)

func TestMain(m *testing.M) { workertest.Main(m, workerMain) }

func workerMain(string) {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, protocol)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	vgirpc.HandleUnary(server, whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		id := vgirpc.CallFrom(ctx).Peer().Identity
		return id.Domain + "/" + id.Principal, nil
	})
	worker.Main(server, workerauth.Option())
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// start starts a worker and returns its URL. Its log must not have the secret.
func start(t *testing.T, args ...string) string {
	t.Helper()
	p := workertest.Serve(t, workertest.Command(nil, args...))
	t.Cleanup(func() {
		p.Stop(t)
		if strings.Contains(p.Said(), key[:8]) {
			t.Errorf("the log has a secret: %s", p.Said())
		}
	})
	kind, _, _ := strings.Cut(p.Announcement(t), ":")
	return strings.ToLower(kind) + ":" + p.Address(t)
}

// outcome of a call: who it is from, or why not.
type outcome struct {
	Who  string
	Code vgirpc.Code
	Kind string
}

func ask(t *testing.T, url string, opts dial.Options) outcome {
	t.Helper()
	who, err := dial.CallOnce(t.Context(), url, opts, whoami, vgirpc.None{})
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		return outcome{Code: e.Code, Kind: e.Kind}
	}
	if err != nil {
		t.Fatal(err)
	}
	return outcome{Who: who}
}

// fixture has files of all kinds.
type fixture struct {
	socket, secrets, signers, cert, key string
	client                              *tls.Config
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := must[string](t)(os.MkdirTemp("", "vgi")) //nolint:usetesting // the path of a socket is bounded
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	private := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: "somebody"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))
	pool := x509.NewCertPool()
	pool.AddCert(must[*x509.Certificate](t)(x509.ParseCertificate(der)))
	return &fixture{
		socket:  filepath.Join(dir, "s"),
		secrets: write("secrets", "laptop "+key+"\n"),
		signers: write("signers", block("PUBLIC KEY", must[[]byte](t)(x509.MarshalPKIXPublicKey(public)))),
		cert:    write("cert", block("CERTIFICATE", der)),
		key:     write("key", block("PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(private)))),
		client: &tls.Config{
			RootCAs: pool, MinVersion: tls.VersionTLS13,
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		},
	}
}

func handshake(t *testing.T, mode socket.Mode) *socket.Client {
	t.Helper()
	opts := socket.ClientOptions{Mode: mode}
	if mode == socket.HMAC {
		opts.Secrets = must[*socket.Secrets](t)(socket.ParseSecrets("laptop " + key))
	}
	return must[*socket.Client](t)(socket.NewClient(opts))
}

func TestFlagsDecideWhoMayComeIn(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("some of the flags are for Linux alone")
	}
	f := newFixture(t)
	me := strconv.Itoa(os.Getuid())
	bare := f.client.Clone()
	bare.Certificates = nil
	for _, tt := range []struct {
		name string
		args []string
		opts dial.Options
		want outcome
	}{
		{"none", []string{"--unix", f.socket}, dial.Options{}, outcome{Who: "/"}},
		{"a user", []string{"--unix", f.socket, "--unix-allow-uid", me}, dial.Options{}, outcome{Who: "unix/uid:" + me}},
		{
			"another user",
			[]string{"--unix", f.socket, "--unix-allow-uid", "4242", "--unix-allow-gid", "4242"},
			dial.Options{},
			outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindPeerNotAllowed},
		},
		{
			"a secret",
			[]string{"--unix", f.socket, "--handshake", "hmac", "--handshake-secret-file", f.secrets},
			dial.Options{Handshake: handshake(t, socket.HMAC)},
			outcome{Who: "hmac/laptop"},
		},
		{
			"a secret, and a client without",
			[]string{"--tcp", "0", "--handshake", "hmac", "--handshake-secret-file", f.secrets},
			dial.Options{},
			outcome{Code: vgirpc.Unauthenticated, Kind: socket.KindHandshakeRequired},
		},
		{"a version", []string{"--tcp", "0", "--handshake", "version"}, dial.Options{Handshake: handshake(t, socket.Version)}, outcome{Who: "/"}},
		{
			"a signed program",
			[]string{"--unix", f.socket, "--unix-signed-by", f.signers},
			dial.Options{},
			outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindProcessNotSigned},
		},
		{
			"a signed program in the handshake",
			[]string{"--unix", f.socket, "--unix-signed-by", f.signers, "--handshake", "signed"},
			dial.Options{Handshake: handshake(t, socket.Signed)},
			outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindProcessNotSigned},
		},
		{"TLS", []string{"--tcp", "0", "--tcp-tls-cert", f.cert, "--tcp-tls-key", f.key}, dial.Options{TLS: bare}, outcome{Who: "/"}},
		{
			"TLS on both sides",
			[]string{"--tcp", "0", "--tcp-tls-cert", f.cert, "--tcp-tls-key", f.key, "--tcp-tls-client-ca", f.cert},
			dial.Options{TLS: f.client},
			outcome{Who: "mtls/somebody"},
		},
		{"TLS, and a name that the certificate does not have", []string{
			"--tcp", "0", "--tcp-tls-cert", f.cert, "--tcp-tls-key", f.key, "--tcp-tls-client-ca", f.cert, "--tcp-tls-client-name", "dns",
		}, dial.Options{TLS: f.client}, outcome{Code: vgirpc.Unauthenticated, Kind: "invalid_credential"}},
		{"TLS, and a client without a certificate", []string{
			"--tcp", "0", "--tcp-tls-cert", f.cert, "--tcp-tls-key", f.key, "--tcp-tls-client-ca", f.cert,
		}, dial.Options{TLS: bare}, outcome{Code: vgirpc.Unavailable}},
		{"all of it", []string{
			"--tcp", "0", "--tcp-tls-cert", f.cert, "--tcp-tls-key", f.key, "--tcp-tls-client-ca", f.cert,
			"--handshake", "hmac", "--handshake-secret-file", f.secrets, "--one-client", "--connections-per-peer", "1",
		}, dial.Options{TLS: f.client, Handshake: handshake(t, socket.HMAC)}, outcome{Who: "hmac/laptop"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "access.log")
			url := start(t, append(tt.args, "--access-log", log)...)
			if tt.opts.TLS != nil {
				url = strings.Replace(url, "tcp:", "tcp+tls:", 1)
			}
			if diff := cmp.Diff(tt.want, ask(t, url, tt.opts)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if tt.want.Who != "" {
				checkLog(t, log, tt.want.Who)
			}
		})
	}
}

// checkLog waits for the access log's record of the call.
func checkLog(t *testing.T, path, who string) {
	t.Helper()
	var record struct {
		Principal     string `json:"principal"`
		Domain        string `json:"auth_domain"`
		Authenticated bool   `json:"authenticated"`
	}
	for end := time.Now().Add(workertest.Patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if line, _, whole := bytes.Cut(text, []byte("\n")); err == nil && whole {
			if err := json.Unmarshal(line, &record); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no access log: %v", err)
		}
	}
	if got := record.Domain + "/" + record.Principal; got != who || record.Authenticated != (who != "/") {
		t.Errorf("the access log has %+v", record)
	}
}

func TestOneClientKeepsOthersOut(t *testing.T) {
	url := start(t, "--tcp", "0", "--one-client")
	first := must[*vgirpc.Client](t)(dial.Dial(t.Context(), url, dial.Options{}))
	must[string](t)(whoami.Call(t.Context(), first, vgirpc.None{}))
	want := outcome{Code: vgirpc.ResourceExhausted, Kind: socket.KindConnectionLimit}
	if diff := cmp.Diff(want, ask(t, url, dial.Options{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	must[string](t)(whoami.Call(t.Context(), first, vgirpc.None{})) // nothing has happened to the first
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(workertest.Patience); ask(t, url, dial.Options{}) != (outcome{Who: "/"}); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the place stays taken")
		}
	}
}

func TestFlagsThatWouldHaveNoEffectAreErrors(t *testing.T) {
	f := newFixture(t)
	certs := []string{"--tcp", "0", "--tcp-tls-cert", f.cert, "--tcp-tls-key", f.key}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--handshake", "version"}, "--handshake is nothing without --unix or --tcp"},
		{[]string{"--one-client"}, "--one-client is nothing"},
		{[]string{"--unix", f.socket, "--tcp-tls-cert", f.cert}, "--tcp-tls-cert is nothing without --tcp"},
		{[]string{"--tcp", "0", "--unix-allow-uid", "1"}, "--unix-allow-uid is nothing without --unix"},
		{[]string{"--tcp", "0", "--unix-signed-by", f.signers}, "--unix-signed-by is nothing without --unix"},
		{[]string{"--tcp", "0", "--tcp-tls-client-ca", f.cert}, "--tcp-tls-client-ca is nothing without --tcp-tls-cert"},
		{append(certs, "--tcp-tls-client-name", "dns"), "--tcp-tls-client-name is nothing without --tcp-tls-client-ca"},
		{append(certs, "--tcp-tls-client-ca", f.cert, "--tcp-tls-client-name", "shoe size"), "shoe size"},
		{[]string{"--tcp", "0", "--tcp-tls-cert", f.cert}, "certificate and its key"},
		{[]string{"--tcp", "0", "--handshake-secret-file", f.secrets}, "--handshake-secret-file is nothing without --handshake hmac"},
		{[]string{"--tcp", "0", "--handshake", "hmac"}, "--handshake-secret-file"},
		{[]string{"--tcp", "0", "--handshake", "hmac", "--handshake-secret-file", f.key}, "secrets"},
		{[]string{"--tcp", "0", "--handshake", "rot13"}, "rot13"},
		{[]string{"--tcp", "0", "--handshake", ""}, "mode"},
		{[]string{"--unix", f.socket, "--handshake", "signed"}, "--unix-signed-by"},
		{[]string{"--unix", f.socket, "--unix-signed-by", f.secrets}, "no public key"},
		{[]string{"--unix", f.socket, "--unix-signed-by", f.cert}, "--unix-signed-by"},
		{[]string{"--unix", f.socket, "--unix-allow-uid", "-3"}, "-3"},
		{[]string{"--tcp", "0", "--one-client", "--max-connections", "1"}, "--max-connections 2"},
		{[]string{"--tcp", "0", "--connections-per-peer", "0"}, "at least 1"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			workertest.Refused(t, 2, workertest.Command(nil, tt.args...), tt.want)
		})
	}
}
