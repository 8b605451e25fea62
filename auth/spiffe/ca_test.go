package spiffe_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/vgirpc/vgirpc-go/auth/peer"
)

// authority issues the SVIDs of a trust domain.
type authority struct {
	domain spiffeid.TrustDomain
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func newAuthority(domain string) *authority {
	a := &authority{domain: spiffeid.RequireTrustDomainFromString(domain), key: newKey()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: domain}, URIs: []*url.URL{must(url.Parse("spiffe://" + domain))},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))))
	return a
}

func (a *authority) bundle() *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(a.domain, []*x509.Certificate{a.cert})
}

// issue makes an SVID of an ID, which need not be in the authority's domain.
func (a *authority) issue(id string, change func(c *x509.Certificate)) *x509svid.SVID {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "workload"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs: []*url.URL{must(url.Parse(id))}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	key := newKey()
	cert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key))))
	parsed, _ := spiffeid.FromString(id) // some tests want one that is none
	return &x509svid.SVID{ID: parsed, Certificates: []*x509.Certificate{cert}, PrivateKey: key}
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// noncriticalKeyUsage replaces the extension by one that is not critical.
func noncriticalKeyUsage(c *x509.Certificate) {
	usage := must(asn1.Marshal(asn1.BitString{Bytes: []byte{0x80}, BitLength: 1}))
	c.KeyUsage = 0
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: usage})
}

// profile are leaves that are no X.509-SVIDs of a workload.
var profile = map[string]func(c *x509.Certificate){
	"two URIs":                      func(c *x509.Certificate) { c.URIs = append(c.URIs, must(url.Parse(workloadID+"2"))) },
	"no URI":                        func(c *x509.Certificate) { c.URIs = nil },
	"a URI that is none of SPIFFE":  func(c *x509.Certificate) { c.URIs = []*url.URL{must(url.Parse("https://example.org/a"))} },
	"an ID without a path":          func(c *x509.Certificate) { c.URIs = []*url.URL{must(url.Parse("spiffe://example.org"))} },
	"an ID with an escape":          func(c *x509.Certificate) { c.URIs = []*url.URL{must(url.Parse("spiffe://example.org/a%2Fb"))} },
	"an ID of another trust domain": func(c *x509.Certificate) { c.URIs = []*url.URL{must(url.Parse("spiffe://other.org/a"))} },
	"a CA":                          func(c *x509.Certificate) { c.IsCA = true },
	"a key usage without signatures": func(c *x509.Certificate) {
		c.KeyUsage = x509.KeyUsageKeyEncipherment
	},
	"a key usage that signs certificates": func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign },
	"a key usage that signs lists":        func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign },
	"no key usage":                        func(c *x509.Certificate) { c.KeyUsage = 0 },
	"a key usage that is not critical":    noncriticalKeyUsage,
	"an extended key usage of clients alone": func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	},
	"an extended key usage of servers alone": func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	},
	"a time that is over": func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	},
	"a time that is yet to begin": func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) },
}

const (
	workloadID = "spiffe://example.org/ns/default/sa/worker"
	proxyAddr  = "192.0.2.1"
)

// snapshot is of a request from an address.
func snapshot(tb testing.TB, addr string, header ...string) *peer.Snapshot {
	tb.Helper()
	s := &peer.Snapshot{Transport: "http", Immediate: netip.MustParseAddr(addr), Header: http.Header{}, Asserted: "198.51.100.7:5"}
	for i := 0; i < len(header); i += 2 {
		s.Header.Add(header[i], header[i+1])
	}
	return s
}

// quiet is for servers whose handshakes fail on purpose.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
