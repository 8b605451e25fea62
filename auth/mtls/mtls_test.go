package mtls_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// authority issues the certificates of clients.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &authority{cert, key}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

const spiffeID = "spiffe://example.org/ns/default/sa/worker"

// issue makes a certificate of a client, and its key.
func (a *authority) issue(tb testing.TB, change func(c *x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	id, err := url.Parse(spiffeID)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xabc),
		Subject:      pkix.Name{CommonName: "client", Organization: []string{"Org, Inc."}},
		NotBefore:    time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs: []*url.URL{id}, DNSNames: []string{"client.example"}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	key := newKey(tb)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

const proxy = "192.0.2.1"

func request(from string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/Svc/method", http.NoBody)
	r.RemoteAddr = from
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func newAuthenticator(tb testing.TB, opts mtls.Options) *mtls.Authenticator {
	tb.Helper()
	if opts.Source != mtls.Direct && opts.Proxies == nil {
		opts.Proxies = []string{proxy}
	}
	a, err := mtls.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// outcome is "ok" or the reason.
func outcome(tb testing.TB, err error) string {
	tb.Helper()
	if err == nil {
		return "ok"
	}
	reason, refused := auth.ReasonOf(err)
	if !refused {
		tb.Errorf("no refusal: %v", err)
	}
	return string(reason)
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts mtls.Options
		want string
	}{
		{"a direct connection needs nothing", mtls.Options{Source: mtls.Direct}, ""},
		{"no source", mtls.Options{}, "unknown source"},
		{"a direct connection with proxies", mtls.Options{Source: mtls.Direct, Proxies: []string{proxy}}, "has no proxy"},
		{"no proxies", mtls.Options{Source: mtls.XFCC}, "no proxies"},
		{"everybody a proxy", mtls.Options{Source: mtls.XFCC, Proxies: []string{"0.0.0.0/0"}}, "everybody"},
		{"a proxy by name", mtls.Options{Source: mtls.XFCC, Proxies: []string{"proxy.example"}}, "neither an address"},
		{"a prefix with bits beyond", mtls.Options{Source: mtls.XFCC, Proxies: []string{"10.0.0.1/8"}}, "bits beyond"},
		{"a mapped prefix", mtls.Options{Source: mtls.XFCC, Proxies: []string{"::ffff:10.0.0.0/104"}}, "IPv4 prefix"},
		{"a header that is none", mtls.Options{Source: mtls.XFCC, Proxies: []string{proxy}, Header: "a b"}, "no header"},
		{"one header for both", mtls.Options{Source: mtls.EscapedPEM, Proxies: []string{proxy}, VerifyHeader: "x-ssl-client-cert"}, "header of its own"},
		{"SPIFFE without trust domains", mtls.Options{Source: mtls.Direct, Name: mtls.SPIFFEID}, "trust domains"},
		{"trust domains for nothing", mtls.Options{Source: mtls.Direct, Name: mtls.DNS, TrustDomains: []string{"a"}}, "trust domains"},
		{"a trust domain that is none", mtls.Options{Source: mtls.Direct, TrustDomains: []string{"Example.org"}}, "no SPIFFE trust domain"},
		{"a name that the source does not know", mtls.Options{Source: mtls.Subject, Proxies: []string{proxy}, Name: mtls.DNS}, "does not know"},
		{"an unknown policy", mtls.Options{Source: mtls.XFCC, Proxies: []string{proxy}, Element: "all"}, "unknown policy"},
		{"a fingerprint that is none", mtls.Options{Source: mtls.Direct, Fingerprints: map[string]string{"ab": ""}}, "no SHA-256"},
		{"a fingerprint twice", mtls.Options{Source: mtls.Direct, Fingerprints: map[string]string{
			strings.Repeat("ab", 32): "a", strings.Repeat("AB", 32): "b",
		}}, "twice"},
		{"fingerprints of a subject", mtls.Options{Source: mtls.Subject, Proxies: []string{proxy}, Fingerprints: map[string]string{}}, "knows no fingerprints"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := mtls.New(tt.opts)
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDirect(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, nil)
	a := newAuthenticator(t, mtls.Options{Source: mtls.Direct})
	var got vgirpc.Identity
	var failure error
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, failure = a.Authenticate(r)
	}))
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	server.TLS = &tls.Config{ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	defer server.Close()
	call := func(certs ...tls.Certificate) {
		t.Helper()
		transport := server.Client().Transport.(*http.Transport).Clone()
		defer transport.CloseIdleConnections()
		transport.TLSClientConfig.Certificates = certs
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	want := vgirpc.Identity{Principal: "client", Domain: "mtls", Authenticated: true, Claims: map[string]any{
		"subject_dn": `CN=client,O=Org\, Inc.`, "serial": "abc", "sha256": fingerprint(cert),
		"uri": []string{spiffeID}, "dns": []string{"client.example"},
		"not_valid_after": cert.NotAfter.Format(time.RFC3339),
	}}
	for range 2 { // the second is remembered
		call(tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key})
		if failure != nil {
			t.Fatal(failure)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		got.Claims["serial"] = "forged"
	}
	call()
	if got := outcome(t, failure); got != "missing_credential" {
		t.Errorf("no certificate: %s", got)
	}
	r := request("127.0.0.1:1")
	if _, err := a.Authenticate(r); outcome(t, err) != "missing_credential" {
		t.Errorf("no TLS: %v", err)
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	if _, err := a.Authenticate(r); outcome(t, err) != "invalid_credential" {
		t.Errorf("a certificate that nobody verified: %v", err)
	}
}

func direct(c *x509.Certificate) *http.Request {
	r := request("198.51.100.1:1")
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}}}
	return r
}

func TestNames(t *testing.T) {
	ca := newAuthority(t)
	spiffe := mtls.Options{Source: mtls.Direct, TrustDomains: []string{"other.org", "example.org"}}
	cn := mtls.Options{Source: mtls.Direct}
	uri := func(values ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.URIs = nil
			for _, v := range values {
				u, err := url.Parse(v)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		opts   mtls.Options
		change func(c *x509.Certificate)
		want   string // the principal, or the reason
	}{
		{"common name", cn, nil, "client"},
		{"subject", mtls.Options{Source: mtls.Direct, Name: mtls.SubjectDN}, nil, `CN=client,O=Org\, Inc.`},
		{"URI", mtls.Options{Source: mtls.Direct, Name: mtls.URI}, nil, spiffeID},
		{"DNS", mtls.Options{Source: mtls.Direct, Name: mtls.DNS}, nil, "client.example"},
		{"SPIFFE ID", spiffe, nil, spiffeID},
		{"no common name", cn, func(c *x509.Certificate) { c.Subject = pkix.Name{} }, "invalid_credential"},
		{"two common names", cn, func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: "a"}, {Type: []int{2, 5, 4, 3}, Value: "b"}}
		}, "invalid_credential"},
		{"a common name with a line break", cn, func(c *x509.Certificate) { c.Subject.CommonName = "a\nb" }, "invalid_credential"},
		{"two DNS names", mtls.Options{Source: mtls.Direct, Name: mtls.DNS}, func(c *x509.Certificate) { c.DNSNames = []string{"a", "b"} }, "invalid_credential"},
		{"expired", cn, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, "expired_credential"},
		{"not valid yet", cn, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "expired_credential"},
		{"permitted", mtls.Options{Source: mtls.Direct, Allow: []string{"a", "client"}}, nil, "client"},
		{"not permitted", mtls.Options{Source: mtls.Direct, Allow: []string{"clien"}}, nil, "insufficient_scope"},
		{"nobody permitted", mtls.Options{Source: mtls.Direct, Allow: []string{}}, nil, "insufficient_scope"},
		{"another trust domain", spiffe, uri("spiffe://third.org/a"), "invalid_credential"},
		{"two SPIFFE IDs", spiffe, uri(spiffeID, "spiffe://example.org/b"), "invalid_credential"},
		{"no SPIFFE ID", spiffe, uri(), "invalid_credential"},
		{"an SVID that may sign certificates", spiffe, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "invalid_credential"},
		{"an SVID that may not sign", spiffe, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, "invalid_credential"},
		{"an SVID of an authority", spiffe, func(c *x509.Certificate) { c.IsCA = true }, "invalid_credential"},
		{"an SVID for clients alone", spiffe, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, "invalid_credential"},
		{"an SVID without extended usage", spiffe, func(c *x509.Certificate) { c.ExtKeyUsage = nil }, spiffeID},
		{"an SVID without a subject", spiffe, func(c *x509.Certificate) { c.Subject = pkix.Name{} }, spiffeID},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert, _ := ca.issue(t, tt.change)
			id, err := newAuthenticator(t, tt.opts).Authenticate(direct(cert))
			got := id.Principal
			if err != nil {
				got = outcome(t, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff, err)
			}
		})
	}
}

func TestCertificateThatExpiresMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, _ := newAuthority(t).issue(t, nil)
		a := newAuthenticator(t, mtls.Options{Source: mtls.Direct})
		for _, want := range []string{"ok", "expired_credential"} {
			if _, err := a.Authenticate(direct(cert)); outcome(t, err) != want {
				t.Error(err)
			}
			time.Sleep(time.Hour + time.Second)
		}
	})
}

func TestWhatACallDoesToItsClaimsIsItsOwnAffair(t *testing.T) {
	ca := newAuthority(t)
	cert, _ := ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"one.example", "two.example"} })
	a := newAuthenticator(t, mtls.Options{Source: mtls.Direct, Name: mtls.CommonName})
	var first vgirpc.Identity
	for _, when := range []string{"at first sight", "the second time"} {
		id, err := a.Authenticate(direct(cert))
		if err != nil {
			t.Fatal(err)
		}
		names, ok := id.Claims["dns"].([]string)
		if diff := cmp.Diff([]string{"one.example", "two.example"}, names); !ok || diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		names[0] = "scribbled"
		if first.Claims == nil {
			first = id
		}
	}
	if names, _ := first.Claims["dns"].([]string); names[0] != "scribbled" {
		t.Errorf("the first call's claims are now %q", names)
	}
}

func TestFingerprints(t *testing.T) {
	ca := newAuthority(t)
	one, _ := ca.issue(t, nil)
	two, _ := ca.issue(t, nil)
	three, _ := ca.issue(t, nil)
	colons := strings.ToUpper(fingerprint(two))
	for i := 62; i > 0; i -= 2 {
		colons = colons[:i] + ":" + colons[i:]
	}
	list := map[string]string{fingerprint(one): "service-a", colons: ""}
	header := newAuthenticator(t, mtls.Options{Source: mtls.Fingerprint, Fingerprints: list})
	tlsOnly := newAuthenticator(t, mtls.Options{Source: mtls.Direct, Fingerprints: list})
	for _, tt := range []struct {
		name         string
		cert         *x509.Certificate
		text         string
		want, direct string
	}{
		{"a principal of the list", one, fingerprint(one), "service-a", "service-a"},
		{"the certificate's own name", two, colons, fingerprint(two), "client"},
		{"a certificate that is not on the list", three, fingerprint(three), "invalid_credential", "invalid_credential"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := header.Authenticate(request(proxy+":1", "X-SSL-Client-SHA256", tt.text, "X-SSL-Client-Verify", "SUCCESS"))
			if got := id.Principal; err != nil && outcome(t, err) != tt.want || err == nil && got != tt.want {
				t.Errorf("got %q, %v", got, err)
			}
			id, err = tlsOnly.Authenticate(direct(tt.cert))
			if got := id.Principal; err != nil && outcome(t, err) != tt.direct || err == nil && got != tt.direct {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	for _, bad := range []string{"x", fingerprint(one)[1:], fingerprint(one) + "0", strings.ReplaceAll(colons, ":", "-"), "g" + fingerprint(one)[1:]} {
		_, err := header.Authenticate(request(proxy+":1", "X-SSL-Client-SHA256", bad, "X-SSL-Client-Verify", "SUCCESS"))
		if outcome(t, err) != "invalid_credential" {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestForwardedCertificates(t *testing.T) {
	ca := newAuthority(t)
	cert, _ := ca.issue(t, nil)
	other, _ := ca.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = "other" })
	old, _ := ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })
	const header, verify = "X-SSL-Client-Cert", "X-SSL-Client-Verify"
	aws := strings.NewReplacer("%2B", "+", "%2F", "/", "%3D", "=").Replace(url.PathEscape(pemOf(cert)))
	sequence := ":" + base64.StdEncoding.EncodeToString(cert.Raw) + ":"
	xfcc := "Hash=" + fingerprint(cert) + `;Cert="` + url.PathEscape(pemOf(cert)) + `"`
	nginx, rfc := mtls.Options{Source: mtls.EscapedPEM}, mtls.Options{Source: mtls.ClientCert}
	envoy := mtls.Options{Source: mtls.XFCC}
	with := func(o mtls.Options, change func(o *mtls.Options)) mtls.Options { change(&o); return o }
	for _, tt := range []struct {
		name    string
		opts    mtls.Options
		headers []string
		want    string // the principal, or the reason
	}{
		{"nginx", nginx, []string{header, url.PathEscape(pemOf(cert)), verify, "SUCCESS"}, "client"},
		{"nginx, all escaped", nginx, []string{header, strings.ReplaceAll(url.QueryEscape(pemOf(cert)), "+", "%20"), verify, "SUCCESS"}, "client"},
		{"AWS", with(nginx, func(o *mtls.Options) { o.Header, o.ProxyVerifies = "X-Amzn-Mtls-Clientcert-Leaf", true }), []string{"X-Amzn-Mtls-Clientcert-Leaf", aws}, "client"},
		{"other headers", with(nginx, func(o *mtls.Options) { o.Header, o.VerifyHeader = "a", "b" }), []string{"A", aws, "B", "SUCCESS"}, "client"},
		{"no verdict", nginx, []string{header, aws}, "proxy_required"},
		{"no certificate at the client", nginx, []string{header, aws, verify, "NONE"}, "missing_credential"},
		{"a bad certificate at the client", nginx, []string{header, aws, verify, "FAILED:unable to verify"}, "invalid_credential"},
		{"an expired one, as nginx has it", nginx, []string{header, aws, verify, "FAILED:certificate has expired"}, "expired_credential"},
		{"a verdict in other letters", nginx, []string{header, aws, verify, "success"}, "invalid_credential"},
		{"two verdicts", nginx, []string{header, aws, verify, "SUCCESS", verify, "SUCCESS"}, "invalid_credential"},
		{"no header", nginx, []string{verify, "SUCCESS"}, "proxy_required"},
		{"an empty header", nginx, []string{header, "", verify, "SUCCESS"}, "proxy_required"},
		{"the header twice", nginx, []string{header, aws, "x-ssl-client-cert", aws, verify, "SUCCESS"}, "invalid_credential"},
		{"two certificates", nginx, []string{header, aws + url.PathEscape(pemOf(other)), verify, "SUCCESS"}, "invalid_credential"},
		{"something before it", nginx, []string{header, "x" + aws, verify, "SUCCESS"}, "invalid_credential"},
		{"something behind it", nginx, []string{header, aws + "x", verify, "SUCCESS"}, "invalid_credential"},
		{"a bad escape", nginx, []string{header, aws + "%2", verify, "SUCCESS"}, "invalid_credential"},
		{"a key", nginx, []string{header, strings.ReplaceAll(aws, "CERTIFICATE", "PRIVATE%20KEY"), verify, "SUCCESS"}, "invalid_credential"},
		{"no DER", nginx, []string{header, url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))), verify, "SUCCESS"}, "invalid_credential"},
		{"expired", nginx, []string{header, url.PathEscape(pemOf(old)), verify, "SUCCESS"}, "expired_credential"},
		{"a long header", nginx, []string{header, aws + strings.Repeat("%0A", 1<<13), verify, "SUCCESS"}, "invalid_credential"},

		{"RFC 9440", rfc, []string{"Client-Cert", sequence}, "client"},
		{"with parameters", rfc, []string{"Client-Cert", sequence + ";a"}, "invalid_credential"},
		{"with two members", rfc, []string{"Client-Cert", sequence + ", " + sequence}, "invalid_credential"},
		{"without colons", rfc, []string{"Client-Cert", strings.Trim(sequence, ":")}, "invalid_credential"},
		{"one colon", rfc, []string{"Client-Cert", ":"}, "invalid_credential"},
		{"without padding", rfc, []string{"Client-Cert", ":AA:"}, "invalid_credential"},
		{"twice", rfc, []string{"Client-Cert", sequence, "Client-Cert", sequence}, "invalid_credential"},
		{"not at all", rfc, nil, "proxy_required"},

		{"Envoy with the certificate", envoy, []string{"x-forwarded-client-cert", xfcc}, "client"},
		{"whose hash is another's", envoy, []string{"x-forwarded-client-cert", strings.Replace(xfcc, fingerprint(cert), fingerprint(other), 1)}, "invalid_credential"},
		{"Envoy with the subject", envoy, []string{"x-forwarded-client-cert", "Hash=" + fingerprint(cert) + `;Subject="O=a\,CN=b,CN=client"`}, "client"},
		{"a comma in a common name", envoy, []string{"x-forwarded-client-cert", "Hash=" + fingerprint(cert) + `;Subject="CN=admin\,x"`}, "admin,x"},
		{"a quote in a common name", envoy, []string{"x-forwarded-client-cert", "Hash=" + fingerprint(cert) + `;Subject="CN=a\"b"`}, `a"b`},
		{"a subject that is none", envoy, []string{"x-forwarded-client-cert", "Hash=" + fingerprint(cert) + `;Subject="/CN=admin"`}, "invalid_credential"},
		{"two common names in a subject", envoy, []string{"x-forwarded-client-cert", "Hash=" + fingerprint(cert) + `;Subject="CN=admin+CN=x"`}, "invalid_credential"},
		{"several elements", envoy, []string{"x-forwarded-client-cert", xfcc + "," + xfcc}, "invalid_credential"},
		{"the header twice for Envoy", envoy, []string{"x-forwarded-client-cert", xfcc, "x-forwarded-client-cert", xfcc}, "invalid_credential"},
		{"the last of several", with(envoy, func(o *mtls.Options) { o.Element = mtls.Last }), []string{
			"x-forwarded-client-cert", "Hash=" + fingerprint(cert) + ";Subject=\"CN=far\", Hash=" + fingerprint(cert) + ";Subject=\"CN=near\"",
		}, "near"},
		{"the first of several", with(envoy, func(o *mtls.Options) { o.Element = mtls.First }), []string{
			"x-forwarded-client-cert", "Hash=" + fingerprint(cert) + ";Subject=\"CN=far\", Hash=" + fingerprint(cert) + ";Subject=\"CN=near\"",
		}, "far"},
		{"a DNS name from Envoy", with(envoy, func(o *mtls.Options) { o.Name = mtls.DNS }), []string{"x-forwarded-client-cert", "Hash=" + fingerprint(cert) + ";DNS=a.example"}, "a.example"},
		{"two of them", with(envoy, func(o *mtls.Options) { o.Name = mtls.DNS }), []string{"x-forwarded-client-cert", "Hash=" + fingerprint(cert) + ";DNS=a.example;DNS=b.example"}, "invalid_credential"},

		{"a subject", mtls.Options{Source: mtls.Subject}, []string{"X-SSL-Client-S-DN", `O=Org\, Inc.,CN=c\C3\A9`, verify, "SUCCESS"}, "cé"},
		{"a subject that nobody verified", mtls.Options{Source: mtls.Subject}, []string{"X-SSL-Client-S-DN", `CN=c`, verify, "NONE"}, "missing_credential"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAuthenticator(t, tt.opts)
			for range 2 {
				id, err := a.Authenticate(request(proxy+":1", tt.headers...))
				got := id.Principal
				if err != nil {
					got = outcome(t, err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff, err)
				}
			}
			if _, err := a.Authenticate(request("198.51.100.1:1", tt.headers...)); outcome(t, err) != "proxy_required" {
				t.Errorf("the same from somebody else: %v", err)
			}
		})
	}
}

func TestProxies(t *testing.T) {
	a := newAuthenticator(t, mtls.Options{Source: mtls.Subject, ProxyVerifies: true, Proxies: []string{"192.0.2.1", "10.1.0.0/16", "2001:db8::/64"}})
	sockets := newAuthenticator(t, mtls.Options{Source: mtls.Subject, ProxyVerifies: true, Proxies: []string{"unix"}})
	for from, trusted := range map[string]bool{
		"192.0.2.1:1": true, "[::ffff:192.0.2.1]:1": true, "10.1.255.255:1": true, "[2001:db8::7]:1": true,
		"192.0.2.2:1": false, "10.2.0.0:1": false, "[2001:db8:0:1::]:1": false, "192.0.2.1": false, "@": false, "": false,
		"proxy.example:1": false,
	} {
		_, err := a.Authenticate(request(from, "X-SSL-Client-S-DN", "CN=a"))
		if want := map[bool]string{true: "ok", false: "proxy_required"}[trusted]; outcome(t, err) != want {
			t.Errorf("%q: %v", from, err)
		}
		if _, err := sockets.Authenticate(request(from, "X-SSL-Client-S-DN", "CN=a")); outcome(t, err) != "proxy_required" {
			t.Errorf("%q is no Unix socket: %v", from, err)
		}
	}
	path := t.TempDir() + "/s"
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan [2]error, 1)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, one := sockets.Authenticate(r)
		_, two := a.Authenticate(r)
		results <- [2]error{one, two}
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := request("", "X-SSL-Client-S-DN", "CN=a")
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	got := <-results
	if outcome(t, got[0]) != "ok" || outcome(t, got[1]) != "proxy_required" {
		t.Errorf("over a Unix socket: %v", got)
	}
}

func TestProxyHeaders(t *testing.T) {
	for _, tt := range []struct {
		opts mtls.Options
		want []string
	}{
		{mtls.Options{Source: mtls.Direct}, nil},
		{mtls.Options{Source: mtls.XFCC}, []string{"X-Forwarded-Client-Cert"}},
		{mtls.Options{Source: mtls.EscapedPEM}, []string{"X-Ssl-Client-Cert", "X-Ssl-Client-Verify"}},
		{mtls.Options{Source: mtls.EscapedPEM, ProxyVerifies: true, Header: "x-a"}, []string{"X-A"}},
		{
			mtls.Options{Source: mtls.GoogleSPIFFE, TrustDomains: []string{"a"}},
			[]string{"X-Client-Cert-Spiffe-Id", "X-Client-Cert-Present", "X-Client-Cert-Chain-Verified", "X-Client-Cert-Error"},
		},
	} {
		if diff := cmp.Diff(tt.want, auth.ProxyHeaders(newAuthenticator(t, tt.opts))); diff != "" {
			t.Error(diff)
		}
	}
}

// What a client writes into its certificate is not for logs or other callers.
func TestNothingOfACertificateIsTold(t *testing.T) {
	const mark = "XYZZY"
	cert, _ := newAuthority(t).issue(t, func(c *x509.Certificate) {
		c.Subject.CommonName, c.DNSNames = mark, []string{mark + ".a", mark + ".b"}
	})
	for _, opts := range []mtls.Options{
		{Source: mtls.Direct, Allow: []string{"a"}},
		{Source: mtls.Direct, Name: mtls.DNS},
		{Source: mtls.Direct, Fingerprints: map[string]string{}},
		{Source: mtls.Direct, TrustDomains: []string{"third.org"}},
	} {
		_, err := newAuthenticator(t, opts).Authenticate(direct(cert))
		var failure *auth.Failure
		if !errors.As(err, &failure) || strings.Contains(failure.Error()+failure.Detail, mark) {
			t.Errorf("got %v", err)
		}
	}
}

// vectors are the language-neutral cases that concern certificates.
type vectors struct {
	SPIFFE []vector `json:"spiffe_id_cases"`
	XFCC   []vector `json:"envoy_xfcc_cases"`
	Google []vector `json:"gcp_cases"`
}

type vector struct {
	Name     string            `json:"name"`
	Value    string            `json:"value"`
	Headers  map[string]string `json:"headers"`
	Expected string            `json:"expected"`
}

func TestVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/transport_identity_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.SPIFFE) < 8 || len(v.XFCC) < 5 || len(v.Google) < 3 {
		t.Fatalf("%d, %d and %d cases", len(v.SPIFFE), len(v.XFCC), len(v.Google))
	}
	domains := []string{"example.org"}
	reasons := map[string]string{
		"valid": "ok", "available": "ok", "invalid": "invalid_credential", "no_match": "missing_credential",
	}
	check := func(t *testing.T, opts mtls.Options, want string, header ...string) {
		t.Helper()
		id, err := newAuthenticator(t, opts).Authenticate(request(proxy+":1", header...))
		if got := outcome(t, err); got != reasons[want] {
			t.Errorf("got %s, %v", got, err)
		}
		if err == nil && (id.Domain != "spiffe" || !strings.HasPrefix(id.Principal, "spiffe://example.org/")) {
			t.Errorf("got %+v", id)
		}
	}
	google := mtls.Options{Source: mtls.GoogleSPIFFE, TrustDomains: domains}
	envoy := mtls.Options{Source: mtls.XFCC, TrustDomains: domains}
	for _, c := range v.SPIFFE {
		t.Run("a SPIFFE ID: "+c.Name, func(t *testing.T) {
			check(t, google, c.Expected, "X-Client-Cert-Present", "true", "X-Client-Cert-Chain-Verified", "true", "X-Client-Cert-Spiffe-Id", c.Value)
			check(t, envoy, c.Expected, "X-Forwarded-Client-Cert", "Hash="+strings.Repeat("0a", 32)+";URI="+url.QueryEscape(c.Value))
		})
	}
	for _, c := range v.XFCC {
		t.Run("Envoy: "+c.Name, func(t *testing.T) { check(t, envoy, c.Expected, "X-Forwarded-Client-Cert", c.Value) })
	}
	for _, c := range v.Google {
		t.Run("Google: "+c.Name, func(t *testing.T) {
			var headers []string
			for name, value := range c.Headers {
				headers = append(headers, name, value)
			}
			check(t, google, c.Expected, headers...)
		})
	}
}

func BenchmarkForwardedCertificate(b *testing.B) {
	cert, _ := newAuthority(b).issue(b, nil)
	a := newAuthenticator(b, mtls.Options{Source: mtls.EscapedPEM})
	r := request(proxy+":1", "X-SSL-Client-Cert", url.PathEscape(pemOf(cert)), "X-SSL-Client-Verify", "SUCCESS")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}
