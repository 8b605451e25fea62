package gateways_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/freeport"
	"github.com/vgirpc/vgirpc-go/internal/pyref"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (p *pair) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

func (p *pair) keyPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (p *pair) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key}
}

// certify makes a certificate, signed by an authority or, when that is nil, by
// itself.
func certify(t *testing.T, by *pair, template *x509.Certificate) *pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := &pair{template, key}
	if by != nil {
		parent = by
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{cert, key}
}

func authority(t *testing.T, name string) *pair {
	t.Helper()
	return certify(t, nil, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign})
}

// svid is an X.509-SVID that has a common name, too.
func svid(t *testing.T, by *pair, name string) *pair {
	t.Helper()
	return certify(t, by, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{{Scheme: "spiffe", Host: trustDomain, Path: "/" + name}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// pki is everybody's certificates, and where their files are.
type pki struct {
	dir                      string
	clients                  *pair // the authority of clients
	alice, mallory, stranger *pair // mallory's certificate is as good as alice's, the stranger's is another authority's
	roots                    *x509.CertPool
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{dir: t.TempDir(), clients: authority(t, "clients"), roots: x509.NewCertPool()}
	p.alice, p.mallory = svid(t, p.clients, "alice"), svid(t, p.clients, "mallory")
	p.stranger = svid(t, authority(t, "clients"), "alice")
	servers := authority(t, "servers")
	p.roots.AddCert(servers.cert)
	server := certify(t, servers, &x509.Certificate{
		Subject: pkix.Name{CommonName: "gateway"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	for name, text := range map[string][]byte{
		"server.pem": server.certPEM(), "server.key": server.keyPEM(t),
		"server-and-key.pem": append(server.certPEM(), server.keyPEM(t)...),
		"clients.pem":        p.clients.certPEM(), "servers.pem": servers.certPEM(),
		"alice.pem": p.alice.certPEM(), "alice.key": p.alice.keyPEM(t),
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// as is the TLS of a client with a certificate, nil for none.
func (p *pki) as(who *pair) *tls.Config {
	config := &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}
	if who != nil {
		config.Certificates = []tls.Certificate{who.tls()}
	}
	return config
}

// recipe is a configuration of a gateway.
type recipe struct {
	gateway, config string
	// uncomment are settings that the configuration has as comments.
	uncomment []string
}

// startRecipe runs a gateway with a configuration of the directory, in a directory
// with the certificates if there are any, until the test ends.
func startRecipe(t *testing.T, r recipe, certificates *pki, ports map[string]int) {
	t.Helper()
	for _, g := range gateways {
		if g.name != r.gateway {
			continue
		}
		g.config = r.config
		path, dir := g.find(t), t.TempDir()
		if certificates != nil {
			dir = certificates.dir
		}
		ports["9901"] = freeport.Port(t)
		config := filepath.Join(dir, r.config)
		text := g.configure(t, ports)
		for _, setting := range r.uncomment {
			if !bytes.Contains(text, []byte("# "+setting)) {
				t.Fatalf("%s has no comment %q", r.config, setting)
			}
			text = bytes.Replace(text, []byte("# "+setting), []byte(setting), 1)
		}
		if err := os.WriteFile(config, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := g.command(path, dir, config)
		cmd.Dir = dir
		run(t, cmd)
		for placeholder, port := range ports {
			if strings.HasPrefix(placeholder, "8") {
				poll(t, g.name+" listens", func(ctx context.Context) bool { return listens(ctx, port) })
			}
		}
		return
	}
	t.Fatalf("there is no gateway %s", r.gateway)
}

func listens(ctx context.Context, port int) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// ask calls whoami over HTTP. An error's text is "refused", or "401" with the
// reason.
func ask(t *testing.T, base string, opts httpclient.Options) string {
	t.Helper()
	transport, err := httpclient.New(base, opts, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = transport.Close() }()
	answer, err := whoami.Call(t.Context(), transport.Client(), vgirpc.None{})
	if refused, ok := errors.AsType[*httpclient.UnauthorizedError](err); ok {
		return "401 " + refused.Reason
	}
	if err != nil {
		t.Logf("the call fails: %v", err)
		return "refused"
	}
	return answer
}

// forged are headers by which somebody says to be mallory, in every form that a
// worker might read.
func forged(p *pki) http.Header {
	escaped := url.QueryEscape(string(p.mallory.certPEM()))
	escaped = strings.ReplaceAll(escaped, "+", "%20")
	bytes64 := ":" + base64.StdEncoding.EncodeToString(p.mallory.cert.Raw) + ":"
	xfcc := "Hash=" + strings.Repeat("0a", 32) + ";URI=spiffe://example.org/mallory"
	return http.Header{
		"X-Ssl-Client-Cert": {escaped, escaped}, "x-ssl-client-cert": {escaped}, "X_SSL_Client_Cert": {escaped},
		"X-Ssl-Client-Verify": {"SUCCESS", "SUCCESS"}, "x-ssl-client-VERIFY": {"SUCCESS"},
		"Client-Cert": {bytes64}, "client-cert": {bytes64}, "Client_Cert": {bytes64}, "Client-Cert-Chain": {bytes64},
		"X-Forwarded-Client-Cert": {xfcc, xfcc}, "x-forwarded-CLIENT-cert": {xfcc}, "X_Forwarded_Client_Cert": {xfcc},
	}
}

// python asks with the reference implementation.
func python(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, pyref.Python(t), append([]string{"whoami.py"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// roundTripper is a function as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// withHeader sends headers as they are written.
func withHeader(header http.Header) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			for name, values := range header {
				r.Header[name] = append(r.Header[name], values...)
			}
			return next.RoundTrip(r)
		})
	}
}

// from makes connections from an address of this machine.
func from(address string) func(context.Context, string, string) (net.Conn, error) {
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
}

func TestTheGatewaysClientCertificateNamesTheCaller(t *testing.T) {
	t.Parallel()
	const (
		id       = "spiffe://example.org/alice"
		evidence = "peer/spiffe/spiffe%3A%2F%2Fexample.org/spiffe%3A%2F%2Fexample.org%2Falice"
	)
	for _, tt := range []struct {
		name          string
		recipe        recipe
		behind, alice string
	}{
		{"nginx, the certificate in PEM", recipe{"nginx", "nginx-mtls.conf", nil}, "nginx", "alice"},
		{"nginx, the SPIFFE ID of the certificate", recipe{"nginx", "nginx-mtls.conf", nil}, "nginx with spiffe", evidence},
		{"HAProxy, the certificate by RFC 9440", recipe{"haproxy", "haproxy-mtls.cfg", nil}, "haproxy", "alice"},
		{"Envoy, the URI in XFCC", recipe{"envoy", "envoy-mtls.yaml", nil}, "envoy", id},
		{"Envoy, the SPIFFE ID in XFCC", recipe{"envoy", "envoy-mtls.yaml", nil}, "envoy with spiffe", evidence},
		{
			"Envoy, the certificate in XFCC",
			recipe{"envoy", "envoy-mtls.yaml", []string{"subject: true", "cert: true"}},
			"envoy with certificates", "alice",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			certificates := newPKI(t)
			port := freeport.Port(t)
			at := startWhoami(t, tt.behind, "--http", "0")
			startRecipe(t, tt.recipe, certificates, map[string]int{"8443": port, "9101": at})
			base, direct := "https://127.0.0.1:"+strconv.Itoa(port), "http://127.0.0.1:"+strconv.Itoa(at)
			poll(t, "the gateway answers for the worker", func(ctx context.Context) bool {
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: certificates.as(certificates.alice)}}
				defer client.CloseIdleConnections()
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/health", http.NoBody)
				if err != nil {
					return false
				}
				response, err := client.Do(request)
				if err != nil {
					return false
				}
				_ = response.Body.Close()
				return response.StatusCode == http.StatusOK
			})
			for _, c := range []struct {
				name, base string
				opts       httpclient.Options
				want       string // the beginning
			}{
				{"a client with a certificate", base, httpclient.Options{TLS: certificates.as(certificates.alice)}, tt.alice + " from 127.0.0.1:"},
				{
					"a client that says in headers that it is another", base,
					httpclient.Options{TLS: certificates.as(certificates.alice), Wrap: withHeader(forged(certificates))},
					tt.alice + " from 127.0.0.1:",
				},
				{"a client without a certificate", base, httpclient.Options{TLS: certificates.as(nil)}, "refused"},
				{
					"a client without a certificate, which says in headers that it has one", base,
					httpclient.Options{TLS: certificates.as(nil), Wrap: withHeader(forged(certificates))},
					"refused",
				},
				{"a client with a certificate of another authority", base, httpclient.Options{TLS: certificates.as(certificates.stranger)}, "refused"},
				{
					"somebody who goes around the gateway", direct,
					httpclient.Options{DialContext: from("127.0.0.2"), Wrap: withHeader(forged(certificates))},
					"401 proxy_required",
				},
				{"the gateway without its header", direct, httpclient.Options{}, "401"},
			} {
				t.Run(c.name, func(t *testing.T) {
					if got := ask(t, c.base, c.opts); !strings.HasPrefix(got, c.want) {
						t.Errorf("got %q, want %q", got, c.want)
					}
				})
			}
			t.Run("the reference's client", func(t *testing.T) {
				file := func(name string) string { return filepath.Join(certificates.dir, name) }
				if got := python(t, base, file("servers.pem"), file("alice.pem"), file("alice.key")); !strings.HasPrefix(got, tt.alice+" from ") {
					t.Errorf("got %q, want %q", got, tt.alice)
				}
			})
		})
	}
}

// source remembers from where it connects.
type source struct {
	address string
	last    string
}

func (s *source) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := from(s.address)(ctx, network, address)
	if err == nil {
		s.last = conn.LocalAddr().String()
	}
	return conn, err
}

// rawAsk calls whoami over raw TCP, after some bytes.
func rawAsk(t *testing.T, s *source, port int, first string) string {
	t.Helper()
	conn, err := s.dial(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(startLimit))
	client := vgirpc.NewClient(conn, vgirpc.ClientOptions{})
	defer func() { _ = client.Close() }()
	if _, err := conn.Write([]byte(first)); err != nil {
		t.Fatal(err)
	}
	answer, err := whoami.Call(t.Context(), client, vgirpc.None{})
	if e, ok := errors.AsType[*vgirpc.Error](err); ok && e.Kind != "" {
		return e.Kind
	}
	if err != nil {
		t.Logf("the call fails: %v", err)
		return "refused"
	}
	return answer
}

// header says that the client is 203.0.113.9:4242.
const header = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x7f\x00\x00\x01\x10\x92\x01\xbb"

func TestTheGatewaysPROXYHeaderTellsTheClientsAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		gateway, config string
		flags           []string
	}{
		{"haproxy", "haproxy-proxy.cfg", []string{"--proxy-local"}}, // its checks are its own connections
		{"envoy", "envoy-proxy.yaml", nil},
	} {
		t.Run(tt.gateway, func(t *testing.T) {
			t.Parallel()
			flags := append([]string{"--proxy-protocol", "--trusted-proxy", "127.0.0.1"}, tt.flags...)
			overHTTP, overTCP := freeport.Port(t), freeport.Port(t)
			httpPort := startWhoami(t, "nobody", append(flags, "--http", "0")...)
			tcpPort := startWhoami(t, "nobody", append(flags, "--tcp", "0")...)
			startRecipe(t, recipe{tt.gateway, tt.config, nil}, nil, map[string]int{
				"8080": overHTTP, "8081": overTCP, "9101": httpPort, "9102": tcpPort,
			})
			base := "http://127.0.0.1:" + strconv.Itoa(overHTTP)
			poll(t, "the gateway answers for the worker", func(ctx context.Context) bool { return health(ctx, base) != "" })

			t.Run("HTTP", func(t *testing.T) {
				s := &source{address: "127.0.0.3"}
				got := ask(t, base, httpclient.Options{DialContext: s.dial})
				if want := " from " + s.last; got != want || !strings.HasPrefix(s.last, "127.0.0.3:") {
					t.Errorf("got %q, want %q", got, want)
				}
			})
			t.Run("raw TCP", func(t *testing.T) {
				s := &source{address: "127.0.0.3"}
				if got := rawAsk(t, s, overTCP, ""); got != " from "+s.last {
					t.Errorf("got %q, want %q", got, " from "+s.last)
				}
			})
			t.Run("a client that sends a header of its own through the gateway is not believed", func(t *testing.T) {
				if got := rawAsk(t, &source{address: "127.0.0.3"}, overTCP, header); strings.Contains(got, " from ") {
					t.Errorf("the call is answered with %q", got)
				}
				begins := func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := from("127.0.0.3")(ctx, network, address)
					if err == nil {
						_, err = conn.Write([]byte(header))
					}
					return conn, err
				}
				if got := ask(t, base, httpclient.Options{DialContext: begins}); got != "refused" {
					t.Errorf("the call is answered with %q", got)
				}
			})
			t.Run("somebody who goes around the gateway is refused", func(t *testing.T) {
				if got := rawAsk(t, &source{address: "127.0.0.2"}, tcpPort, header); got != "untrusted_proxy" {
					t.Errorf("got %q", got)
				}
				direct := "http://127.0.0.1:" + strconv.Itoa(httpPort)
				if got := ask(t, direct, httpclient.Options{DialContext: from("127.0.0.2")}); got != "refused" {
					t.Errorf("got %q", got)
				}
			})
			t.Run("the reference's client", func(t *testing.T) {
				for _, url := range []string{base, "tcp:127.0.0.1:" + strconv.Itoa(overTCP)} {
					got := python(t, url)
					if port, ok := strings.CutPrefix(got, "from 127.0.0.1:"); !ok || port == "" {
						t.Errorf("%s: got %q", url, got)
					}
				}
			})
		})
	}
}
