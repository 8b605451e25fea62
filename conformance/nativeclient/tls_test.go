package nativeclient_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

// trust is a configuration that trusts roots and otherwise has the defaults.
func trust(roots *x509.CertPool) *tls.Config {
	if roots == nil {
		return nil
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// certificate makes a certificate as the reference worker does: self-signed, for
// localhost and 127.0.0.1, for a day.
func certificate(t *testing.T) (*httpserver.TLSOptions, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client conformance"},
		NotBefore: time.Now().Add(-5 * time.Minute), NotAfter: time.Now().AddDate(0, 0, 1),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	noError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	noError(t, err)
	dir := t.TempDir()
	o := &httpserver.TLSOptions{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	noError(t, os.WriteFile(o.CertFile, chain, 0o600))
	noError(t, os.WriteFile(o.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	roots := x509.NewCertPool()
	equal(t, roots.AppendCertsFromPEM(chain), true)
	return o, roots
}

func TestTLS(t *testing.T) {
	bothServers(t, mode{prefix: "/vgi", tls: true}, func(t *testing.T, e endpoint) {
		call := func(t *testing.T, url string, opts httpclient.Options) error {
			t.Helper()
			opts.MaxResponseBytes = -1 // so that the call is the first request
			tr, err := httpclient.New(url, opts, vgirpc.ClientOptions{})
			noError(t, err)
			defer func() { noError(t, tr.Close()) }()
			_, err = echoBytes.Call(t.Context(), tr.Client(), BytesParams{Value: []byte("x")})
			return err
		}
		t.Run("the connection fails under the system's trust", func(t *testing.T) {
			err := call(t, e.url, httpclient.Options{})
			if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok || vgirpc.CodeOf(err) != vgirpc.Unavailable {
				t.Errorf("got %v", err)
			}
		})
		t.Run("it succeeds with the authority installed, by address and by name", func(t *testing.T) {
			noError(t, call(t, e.url, httpclient.Options{TLS: trust(e.roots)}))
			noError(t, call(t, strings.Replace(e.url, "127.0.0.1", "localhost", 1), httpclient.Options{TLS: trust(e.roots)}))
		})
		t.Run("the host's name is verified, also with the authority installed", func(t *testing.T) {
			err := call(t, strings.Replace(e.url, "127.0.0.1", "another.test", 1), httpclient.Options{
				TLS: trust(e.roots),
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, e.host)
				},
			})
			if _, ok := errors.AsType[x509.HostnameError](err); !ok {
				t.Errorf("got %v", err)
			}
		})
		t.Run("a TLS older than 1.2 is refused", func(t *testing.T) {
			old := trust(e.roots)
			old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			if err := call(t, e.url, httpclient.Options{TLS: old}); vgirpc.CodeOf(err) != vgirpc.Unavailable {
				t.Errorf("got %v", err)
			}
		})
		t.Run("trusted calls complete normally", func(t *testing.T) {
			tr, err := httpclient.New(e.url, httpclient.Options{TLS: trust(e.roots)}, vgirpc.ClientOptions{})
			noError(t, err)
			defer func() { noError(t, tr.Close()) }()
			testReflection(t, tr.Client())
			testTypedExchange(t, tr.Client())
			testProducers(t, tr.Client())
		})
	})
}
