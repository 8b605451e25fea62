package workeridentity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() *authority {
	a := &authority{key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))))
	return a
}

// issue returns a certificate and its key in PEM.
func (a *authority) issue(name string) (cert, key []byte) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))})
}

// ask calls whoami with options.
func ask(t *testing.T, url string, opts httpclient.Options) outcome {
	t.Helper()
	opts.MaxResponseBytes = -1
	c := must(httpclient.Dial(t.Context(), url, opts, vgirpc.ClientOptions{}))
	defer func() { _ = c.Close() }()
	who, err := whoami.Call(t.Context(), c, vgirpc.None{})
	switch refused, ok := errors.AsType[*httpclient.UnauthorizedError](err); {
	case ok:
		return outcome{Code: vgirpc.CodeOf(err), Reason: refused.Reason}
	case err != nil:
		return outcome{Code: vgirpc.CodeOf(err)}
	}
	return outcome{Who: who}
}

func TestClientCertificatesOfTheConnectionItself(t *testing.T) {
	a := newAuthority()
	cert, key := a.issue("reports")
	w := start(t, nil, "--tls-cert", file(t, string(cert)), "--tls-key", file(t, string(key)),
		"--tls-client-ca", file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))), "--tls-client-optional",
		"--mtls-principal", "common_name", "--mtls-allow", "billing", "--bearer-tokens", file(t, "s3cret bob\n"))
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, tt := range []struct {
		name, client, bearer string
		want                 outcome
	}{
		{"a certificate", "billing", "", outcome{Who: "mtls/billing"}},
		{"a certificate that is not allowed", "stranger", "", outcome{Code: vgirpc.Unauthenticated, Reason: "insufficient_scope"}},
		{"one that is not allowed, beside a token", "stranger", "s3cret", outcome{Code: vgirpc.Unauthenticated, Reason: "insufficient_scope"}},
		{"a token", "", "s3cret", outcome{Who: "bearer/bob"}},
		{"nothing", "", "", outcome{Code: vgirpc.Unauthenticated, Reason: "missing_credential"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := httpclient.Options{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
			if tt.client != "" {
				opts.TLS.Certificates = []tls.Certificate{must(tls.X509KeyPair(a.issue(tt.client)))}
			}
			if tt.bearer != "" {
				opts.Header = bearer(tt.bearer)
			}
			if diff := cmp.Diff(tt.want, ask(t, "https://"+w.Address(t), opts)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// proxied is a header of PROXY version 2 for a client over IPv4.
func proxied(client string) []byte {
	from := must(net.ResolveTCPAddr("tcp", client))
	header := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), from.IP.To4()...)
	header = append(header, 127, 0, 0, 1)
	header = binary.BigEndian.AppendUint16(header, uint16(from.Port))
	return binary.BigEndian.AppendUint16(header, 80)
}

// TestOneFlagSaysWhomToBelieve has a proxy that sends a PROXY header and a
// certificate: the header's own address is believed, and not the one that it
// asserts.
func TestOneFlagSaysWhomToBelieve(t *testing.T) {
	header := http.Header{xfcc: {"Hash=" + fingerprint}}
	for _, tt := range []struct {
		name, trusted, client string
		want                  outcome
	}{
		{"the proxy", "127.0.0.1", "192.0.2.9:1234", outcome{Who: "mtls/" + fingerprint}},
		{"the proxy, for a client with another's address", "127.0.0.1", "10.0.0.1:1", outcome{Who: "mtls/" + fingerprint}},
		{"anybody, for a client that has the proxy's address", "192.0.2.1", "192.0.2.1:1", outcome{Code: vgirpc.Unavailable}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, nil, "--proxy-protocol", "--trusted-proxy", tt.trusted, "--forwarded-cert", "xfcc", "--mtls-principal", "sha256")
			got := ask(t, w.url, httpclient.Options{
				Header: header,
				DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, addr)
					if err == nil {
						_, err = conn.Write(proxied(tt.client))
					}
					return conn, err
				},
			})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
