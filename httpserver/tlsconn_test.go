package httpserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver"
)

func TestOptionsOfTLSThatMakeNoSense(t *testing.T) {
	for name, tt := range map[string]struct {
		opts httpserver.ServeOptions
		want string
	}{
		"files and a configuration": {
			httpserver.ServeOptions{TLS: &httpserver.TLSOptions{}, TLSConfig: &tls.Config{Certificates: []tls.Certificate{{}}}},
			"exclude each other",
		},
		"a configuration without a certificate": {httpserver.ServeOptions{TLSConfig: &tls.Config{}}, "TLSConfig"},
	} {
		if _, err := httpserver.NewServer(http.NotFoundHandler(), tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSByAConfiguration(t *testing.T) {
	server := issue(t, "server", nil)
	config := &tls.Config{Certificates: []tls.Certificate{server.pair}, MinVersion: tls.VersionTLS13}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	s, err := httpserver.NewServer(h, httpserver.ServeOptions{TLSConfig: config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = nil // it was copied
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), l) }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(server.cert)
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
	}}
	response, err := client.Get("https://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if string(body) != "HTTP/2.0" {
		t.Errorf("got %q", body)
	}
	client.CloseIdleConnections()
	if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}

// lasting is a certificate that lasts for a while.
func lasting(t *testing.T, d time.Duration) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(d),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestAConnectionDoesNotOutliveItsClientsCertificate(t *testing.T) {
	type answer struct {
		Status int
		Closes bool
	}
	on, closing, over := answer{200, false}, answer{200, true}, answer{401, true}
	for _, tt := range []struct {
		name  string
		state func(t *testing.T) *tls.ConnectionState
		want  []answer // at once, after 59, 60 and 120 minutes
	}{
		{"no TLS", func(*testing.T) *tls.ConnectionState { return nil }, []answer{on, on, on, on}},
		{"no certificate", func(*testing.T) *tls.ConnectionState { return &tls.ConnectionState{} }, []answer{on, on, on, on}},
		{"a certificate that lasts for an hour", func(t *testing.T) *tls.ConnectionState {
			leaf := lasting(t, time.Hour)
			return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
		}, []answer{on, closing, over, over}},
		{"an authority that lasts for an hour", func(t *testing.T) *tls.ConnectionState {
			leaf, ca := lasting(t, 3*time.Hour), lasting(t, time.Hour)
			return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf, ca}, VerifiedChains: [][]*x509.Certificate{{leaf, ca}}}
		}, []answer{on, closing, over, over}},
		{"another chain that lasts for longer", func(t *testing.T) *tls.ConnectionState {
			leaf, ca, other := lasting(t, 3*time.Hour), lasting(t, time.Hour), lasting(t, 2*time.Hour)
			return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, ca}, {leaf, other}}}
		}, []answer{on, on, on, over}},
		{"a certificate that the TLS stack did not verify", func(t *testing.T) *tls.ConnectionState {
			return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{lasting(t, time.Hour)}}
		}, []answer{on, closing, over, over}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := httpserver.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(http.StatusOK)
				}), httpserver.ServeOptions{ProgressTimeout: -1})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				// Certificates end at a full second.
				time.Sleep(time.Until(began.Truncate(time.Second).Add(time.Second)))
				state := tt.state(t)
				began = time.Now()
				var got []answer
				for _, at := range []time.Duration{0, 59 * time.Minute, time.Hour, 2 * time.Hour} {
					time.Sleep(time.Until(began.Add(at)))
					r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
					r.TLS = state
					w := httptest.NewRecorder()
					s.ServeHTTP(w, r)
					got = append(got, answer{w.Code, w.Header().Get("Connection") == "close"})
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}
