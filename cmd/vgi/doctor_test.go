package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// gateway is a reverse proxy in front of a worker, which edits answers.
func gateway(t *testing.T, to string, edit func(http.Header)) *httptest.Server {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(fullDuplex(&httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: log.New(io.Discard, "", 0),
		ModifyResponse: func(r *http.Response) error {
			edit(r.Header)
			return nil
		},
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	return s
}

// certificate makes a certificate for 127.0.0.1 that lasts for so long, and
// writes it, with its key, in PEM.
func certificate(t *testing.T, lasts time.Duration) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return pair, file(t, "cert.pem", string(certPEM)), file(t, "key.pem", string(keyPEM))
}

func TestDoctorFindsAHealthyEndpointHealthy(t *testing.T) {
	for name, target := range map[string]string{
		"stdio": stdio(), "unix": serve(t, "--unix", socket(t)), "tcp": serve(t, "--tcp", "0"), "http": serve(t, "--http", "0"),
	} {
		t.Run(name, func(t *testing.T) {
			got := vgi(t, "doctor", target, "--probe", "produce_n", "count=3")
			if got.status != exitOK || got.errors != "" {
				t.Errorf("got %+v", got)
			}
			shared := name == "stdio" || name == "unix"
			for _, want := range []string{
				"ok    connect  ", fmt.Sprintf("ok    transport       shared memory %v, framing 1", shared), "ok    server  ",
				"ConformanceService 2.0.0: 90 methods, hash ", "ok    stream          produce_n: batches after ",
			} {
				if !strings.Contains(got.out, want) {
					t.Errorf("%q is not in:\n%s", want, got.out)
				}
			}
		})
	}
}

func TestDoctorFindsWhatStandsBetween(t *testing.T) {
	worker := serve(t, "--http", "0")
	for _, tt := range []struct {
		name   string
		edit   func(http.Header)
		status int
		want   string
	}{
		{"nothing", func(http.Header) {}, exitOK, "ok    between         nothing that shows"},
		{"nothing, for what is compressed", func(http.Header) {}, exitOK, "ok    compression     an answer arrives as zstd"},
		{"one that names another type", func(h http.Header) { h.Set("Content-Type", "text/plain") }, exitProblems, `a call is answered with HTTP 200, "text/plain": not by the server itself`},
		{"a proxy", func(h http.Header) { h.Set("Via", "1.1 box"); h.Set("Server", "envoy") }, exitOK, "info  between         Server: envoy; a proxy (Via: 1.1 box)"},
		{"a cache", func(h http.Header) { h.Set("X-Cache", "HIT from box") }, exitWarnings, "warn  between         the answer comes out of a cache"},
		{"one that drops headers", func(h http.Header) { h.Del("Vgi-Accept-Max-Response-Bytes-Support") }, exitProblems, "fail  response limit "},
		{"a clock that is wrong", func(h http.Header) { h.Set("Date", "Sat, 21 Nov 2020 10:00:00 GMT") }, exitWarnings, "warn  clock           the server's clock is -"},
		{"text that would steer a terminal", func(h http.Header) { h.Set("Via", "1.1 \x9b2J") }, exitOK, "1.1 \uFFFD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := gateway(t, worker, tt.edit)
			s.Start()
			defer s.Close()
			got := vgi(t, "doctor", s.URL)
			if got.status != tt.status || !strings.Contains(got.out, tt.want) {
				t.Errorf("want %q, got status %d\n%s%s", tt.want, got.status, got.out, got.errors)
			}
		})
	}
	t.Run("dropped headers can be done without", func(t *testing.T) {
		s := gateway(t, worker, func(h http.Header) { h.Del("Vgi-Accept-Max-Response-Bytes-Support") })
		s.Start()
		defer s.Close()
		if got := vgi(t, "call", s.URL, "add_floats", "a=1", "b=2"); got.status != 73 {
			t.Errorf("with the limit: %+v", got)
		}
		if got := vgi(t, "call", s.URL, "add_floats", "a=1", "b=2", "--no-response-limit"); got.out != "3\n" {
			t.Errorf("without the limit: %+v", got)
		}
	})
}

func TestDoctorFindsWhatIsBroken(t *testing.T) {
	answer := func(status int, header ...string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	notASocket := file(t, "file", "")
	for _, tt := range []struct {
		name   string
		target string
		want   string
	}{
		{"a server of another kind", answer(404), "fail  health          there is no health route"},
		{"a server without a clock", answer(404, "Date", ""), "info  clock           the server gives no date"},
		{"a server that has moved", answer(308, "Location", "https://elsewhere/"), "fail  health          a redirect to https://elsewhere/"},
		{"a server that fails", answer(500), "fail  health          HTTP 500"},
		{"a server that lets nobody in", serve(t, "--http-auth", "0"), "fail  authentication  refused: unauthorized"},
		{"a server that asks for credentials", answer(401, "WWW-Authenticate", "Bearer", "Vgi-Auth-Reason", "missing_credential"), "refused: missing_credential; wants Bearer"},
		{"nobody on the port", "http://127.0.0.1:1", "fail  http            dial tcp 127.0.0.1:1"},
		{"nobody on the TCP port", "tcp:127.0.0.1:1", "fail  connect  "},
		{"a port that is missing", "tcp:127.0.0.1", "want HOST:PORT"},
		{"a socket that is not there", "unix:/nonexistent/it", "fail  resolve         stat /nonexistent/it"},
		{"a file that is no socket", "unix:" + notASocket, "is not a socket"},
		{"a program that is not there", "stdio:/nonexistent/it", "fail  resolve  "},
		{"a program that is no worker", "stdio:false", "fail  connect  "},
		{"a command with an open quote", "stdio:'a", "fail  resolve  "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := vgi(t, "doctor", tt.target)
			if got.status != exitProblems || !strings.Contains(got.out, tt.want) || got.errors != "" {
				t.Errorf("want %q, got %+v", tt.want, got)
			}
		})
	}
	unix := serve(t, "--unix", socket(t))
	for name, probe := range map[string][]string{
		"a method that is not there": {"nope"}, "a method that is no producer": {"add_floats"}, "arguments that are wrong": {"produce_n", "count=x"},
		"a stream that fails": {"produce_error_on_init"},
	} {
		t.Run("a probe of "+name, func(t *testing.T) {
			got := vgi(t, append([]string{"doctor", unix, "--probe"}, probe...)...)
			if got.status != exitProblems || !strings.Contains(got.out, "fail  stream          "+probe[0]+": ") {
				t.Errorf("got %+v", got)
			}
		})
	}
	if got := vgi(t, "doctor", unix, "--probe", "produce_empty"); got.status != 0 || !strings.Contains(got.out, "none: it ended at once") {
		t.Errorf("got %+v", got)
	}
}

func TestDoctorLooksAtCertificates(t *testing.T) {
	worker := serve(t, "--http", "0")
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name   string
		lasts  time.Duration
		flags  []string // CERT is the certificate's file
		status int
		want   string
	}{
		{"a good one", 100*day + time.Hour, []string{"--cacert", "CERT"}, exitOK, "ok    certificate     TLS 1.3, gateway, expires "},
		{"one that ends soon", 10*day + time.Hour, []string{"--cacert", "CERT"}, exitWarnings, "in 10 days"},
		{"one that ends at once", day + time.Hour, []string{"--cacert", "CERT"}, exitProblems, "fail  certificate  "},
		{"one of an unknown authority", 100 * day, nil, exitProblems, "signed by nobody that is trusted here: see --cacert"},
		{"one that is not checked", 100 * day, []string{"-k"}, exitWarnings, "not checked, because of --insecure"},
		{"one of another name", 100 * day, []string{"--cacert", "CERT", "--server-name", "example.com"}, exitProblems, "for another name: see --server-name"},
		{"one that has expired", -time.Minute, []string{"--cacert", "CERT"}, exitProblems, "has expired, or a clock is wrong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair, certFile, _ := certificate(t, tt.lasts)
			s := gateway(t, worker, func(http.Header) {})
			s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
			s.StartTLS()
			defer s.Close()
			args := []string{"doctor", s.URL}
			for _, flag := range tt.flags {
				args = append(args, strings.ReplaceAll(flag, "CERT", certFile))
			}
			got := vgi(t, args...)
			if got.status != tt.status || !strings.Contains(got.out, tt.want) {
				t.Errorf("want %q, got status %d\n%s%s", tt.want, got.status, got.out, got.errors)
			}
		})
	}
}

func TestCallsProveThemselvesWithCertificates(t *testing.T) {
	pair, certFile, keyFile := certificate(t, time.Hour)
	pem, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	s := gateway(t, serve(t, "--http", "0"), func(http.Header) {})
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	defer s.Close()
	call := []string{"call", s.URL, "add_floats", "a=1", "b=2", "--cacert", certFile}
	if got := vgi(t, call...); got.status != exitUnreachable {
		t.Errorf("without a certificate: %+v", got)
	}
	if got := vgi(t, append(call, "--cert", certFile, "--key", keyFile)...); got.out != "3\n" {
		t.Errorf("with a certificate: %+v", got)
	}
	for _, flags := range [][]string{{"--cacert", keyFile}, {"--cacert", "/nonexistent/it"}, {"--cert", certFile, "--key", certFile}} {
		if got := vgi(t, append([]string{"call", s.URL, "x"}, flags...)...); got.status != exitFailed {
			t.Errorf("%q: %+v", flags, got)
		}
	}
}
