package spiffe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/vgirpc/vgirpc-go/auth/mtls"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
)

// source is an SVID that can be replaced.
type source struct{ atomic.Pointer[x509svid.SVID] }

func (s *source) GetX509SVID() (*x509svid.SVID, error) {
	if svid := s.Load(); svid != nil {
		return svid, nil
	}
	return nil, errors.New("no SVID")
}

func sourceOf(svid *x509svid.SVID) *source {
	s := &source{}
	s.Store(svid)
	return s
}

const (
	serverID = "spiffe://example.org/server"
	partner  = "partner.org"
)

// site is a server of one trust domain that also knows another.
type site struct {
	own, other *authority
	bundles    *x509bundle.Set
	svid       *source
	server     *httptest.Server
	direct     *spiffe.DirectProvider
}

func newSite(t *testing.T, change func(o *spiffe.TLSOptions)) *site {
	t.Helper()
	s := &site{own: newAuthority("example.org"), other: newAuthority(partner)}
	s.bundles = x509bundle.NewSet(s.own.bundle(), s.other.bundle())
	s.svid = sourceOf(s.own.issue(serverID, nil))
	opts := spiffe.TLSOptions{SVID: s.svid, Bundles: s.bundles, TrustDomains: []string{"example.org", partner}}
	if change != nil {
		change(&opts)
	}
	s.direct = must(spiffe.Direct(spiffe.DirectOptions{TrustDomains: opts.TrustDomains, Bundles: s.bundles}))
	forwarded := must(mtls.New(mtls.Options{Source: mtls.Direct, TrustDomains: opts.TrustDomains}))
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		snapshot := must(peer.FromRequest(r, ""))
		got := s.direct.Resolve(r.Context(), snapshot)
		answer := string(got.Status)
		if got.Status == peer.Available {
			answer = got.Identities[0].Principal()
			// The TLS stack says the same, for those who ask it alone.
			if id, err := forwarded.Authenticate(r); err != nil || id.Principal != got.Identities[0].Subject {
				answer = "the TLS stack disagrees"
			}
		}
		_, _ = io.WriteString(w, answer)
	}))
	s.server.TLS = must(spiffe.ServerTLS(opts))
	s.server.Config.ErrorLog = quiet()
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

// client is one that the server sees for the first time.
func (s *site) client(t *testing.T, svid x509svid.Source, change func(o *spiffe.TLSOptions)) *http.Client {
	t.Helper()
	opts := spiffe.TLSOptions{SVID: svid, Bundles: s.bundles, TrustDomains: []string{"example.org"}, IDs: []string{serverID}}
	if change != nil {
		change(&opts)
	}
	tr := &http.Transport{TLSClientConfig: must(spiffe.ClientTLS(opts)), ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// get is what the server says, "" when it cannot be reached.
func (s *site) get(t *testing.T, c *http.Client) string {
	t.Helper()
	r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL, http.NoBody))
	resp, err := c.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	return string(must(io.ReadAll(resp.Body)))
}

const (
	workerPrincipal  = "peer/spiffe/spiffe%3A%2F%2Fexample.org/spiffe%3A%2F%2Fexample.org%2Fns%2Fdefault%2Fsa%2Fworker"
	partnerPrincipal = "peer/spiffe/spiffe%3A%2F%2Fpartner.org/spiffe%3A%2F%2Fpartner.org%2Fclient"
)

func TestBothEndsShowSVIDs(t *testing.T) {
	s := newSite(t, nil)
	for _, tt := range []struct {
		name   string
		svid   *x509svid.SVID
		change func(o *spiffe.TLSOptions)
		want   string
	}{
		{"a workload of the trust domain", s.own.issue(workloadID, nil), nil, workerPrincipal},
		{"a workload of the other trust domain", s.other.issue("spiffe://partner.org/client", nil), nil, partnerPrincipal},
		{"a certificate without extended key usage", s.own.issue(workloadID, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), nil, workerPrincipal},
		{"a workload of one domain, by the authority of the other", s.other.issue(workloadID, nil), nil, ""},
		{"a workload by nobody's authority", newAuthority("example.org").issue(workloadID, nil), nil, ""},
		{"a server that is not on the client's list", s.own.issue(workloadID, nil), func(o *spiffe.TLSOptions) { o.IDs = []string{serverID + "2"} }, ""},
		{"a server of another domain than the client's", s.own.issue(workloadID, nil), func(o *spiffe.TLSOptions) {
			o.TrustDomains, o.IDs = []string{partner}, nil
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := s.get(t, s.client(t, sourceOf(tt.svid), tt.change)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for name, change := range profile {
		t.Run(name, func(t *testing.T) {
			if got := s.get(t, s.client(t, sourceOf(s.own.issue(workloadID, change)), nil)); got != "" {
				t.Errorf("a client was let in as %q", got)
			}
			bad := newSite(t, nil)
			bad.svid.Store(bad.own.issue(serverID, change))
			if got := bad.get(t, bad.client(t, sourceOf(bad.own.issue(workloadID, nil)), func(o *spiffe.TLSOptions) { o.IDs = nil })); got != "" {
				t.Errorf("a server was believed, and says %q", got)
			}
		})
	}
	t.Run("a client without a certificate", func(t *testing.T) {
		if got := s.get(t, s.client(t, nil, nil)); got != "" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a client without a certificate, where there need not be one", func(t *testing.T) {
		s := newSite(t, func(o *spiffe.TLSOptions) { o.ClientCertOptional = true })
		if got := s.get(t, s.client(t, nil, nil)); got != string(peer.NoMatch) {
			t.Errorf("got %q", got)
		}
		if got := s.get(t, s.client(t, sourceOf(s.other.issue(workloadID, nil)), nil)); got != "" {
			t.Errorf("a bad one: got %q", got)
		}
	})
	t.Run("a client that is not on the server's list", func(t *testing.T) {
		s := newSite(t, func(o *spiffe.TLSOptions) { o.IDs = []string{workloadID} })
		for id, want := range map[string]string{workloadID: workerPrincipal, workloadID + "2": ""} {
			if got := s.get(t, s.client(t, sourceOf(s.own.issue(id, nil)), nil)); got != want {
				t.Errorf("%s: got %q", id, got)
			}
		}
	})
}

func TestCertificatesAndBundlesChangeWhileServing(t *testing.T) {
	s := newSite(t, nil)
	client := sourceOf(s.own.issue(workloadID, nil))
	old := s.client(t, client, nil)
	serial := func() string {
		conn := must((&tls.Dialer{Config: must(spiffe.ClientTLS(spiffe.TLSOptions{
			SVID: client, Bundles: s.bundles, TrustDomains: []string{"example.org"},
		}))}).DialContext(t.Context(), "tcp", s.server.Listener.Addr().String()))
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	s.svid.Store(s.own.issue(serverID, nil))
	if after := serial(); after == before || after != s.svid.Load().Certificates[0].SerialNumber.String() {
		t.Errorf("the server shows %s, before %s", after, before)
	}
	if got := s.get(t, old); got != workerPrincipal {
		t.Fatalf("got %q", got)
	}

	// A new authority beside the old one, and then instead of it.
	next := newAuthority("example.org")
	both := x509bundle.FromX509Authorities(next.domain, []*x509.Certificate{s.own.cert, next.cert})
	s.bundles.Add(both)
	s.svid.Store(next.issue(serverID, nil))
	fresh := s.client(t, sourceOf(next.issue(workloadID, nil)), nil)
	for name, c := range map[string]*http.Client{"the old connection": old, "a new one": fresh} {
		if got := s.get(t, c); got != workerPrincipal {
			t.Errorf("%s: got %q", name, got)
		}
	}
	s.bundles.Add(next.bundle())
	for name, tt := range map[string]struct {
		client *http.Client
		want   string
	}{
		"the old authority's connection, which is still open": {old, string(peer.Invalid)},
		"the new authority's":                   {fresh, workerPrincipal},
		"the old authority's certificate, anew": {s.client(t, client, nil), ""},
	} {
		if got := s.get(t, tt.client); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	s.bundles.Remove(spiffeid.RequireTrustDomainFromString("example.org"))
	if got := s.get(t, fresh); got != string(peer.Unavailable) {
		t.Errorf("without a bundle: got %q", got)
	}
}

func TestASessionIsNotResumedPastItsAuthority(t *testing.T) {
	s := newSite(t, nil)
	s.server.CloseClientConnections()
	config := must(spiffe.ClientTLS(spiffe.TLSOptions{
		SVID: sourceOf(s.own.issue(workloadID, nil)), Bundles: x509bundle.NewSet(s.own.bundle()), TrustDomains: []string{"example.org"},
	}))
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	connect := func() (resumed bool, err error) {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		defer c.CloseIdleConnections()
		resp, err := c.Do(must(http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL, http.NoBody)))
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return resp.TLS.DidResume, err
	}
	if _, err := connect(); err != nil {
		t.Fatal(err)
	}
	if resumed, err := connect(); err != nil || !resumed {
		t.Fatalf("resumed: %t, %v", resumed, err)
	}
	s.bundles.Add(newAuthority("example.org").bundle())
	if _, err := connect(); err == nil {
		t.Error("a session of an authority that is no longer trusted was resumed")
	}
}

func TestDirect(t *testing.T) {
	own := newAuthority("example.org")
	leaf := own.issue(workloadID, nil).Certificates[0]
	state := func(certs ...*x509.Certificate) *tls.ConnectionState {
		return &tls.ConnectionState{PeerCertificates: certs}
	}
	verified := state(leaf)
	verified.VerifiedChains = [][]*x509.Certificate{{leaf, own.cert}}
	expired := own.issue(workloadID, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	}).Certificates[0]
	late := state(expired)
	late.VerifiedChains = [][]*x509.Certificate{{expired, own.cert}}
	alone := must(spiffe.Direct(spiffe.DirectOptions{TrustDomains: []string{"example.org"}}))
	bundled := must(spiffe.Direct(spiffe.DirectOptions{TrustDomains: []string{"example.org"}, Bundles: own.bundle()}))
	for _, tt := range []struct {
		name     string
		provider *spiffe.DirectProvider
		state    *tls.ConnectionState
		want     peer.Status
	}{
		{"no TLS", alone, nil, peer.NotApplicable},
		{"no certificate", alone, state(), peer.NoMatch},
		{"what the TLS stack has verified", alone, verified, peer.Available},
		{"what nobody has verified", alone, state(leaf), peer.Invalid},
		{"what was verified and has expired since", alone, late, peer.Invalid},
		{"what the provider verifies", bundled, state(leaf), peer.Available},
		{"another authority's", bundled, state(newAuthority("example.org").issue(workloadID, nil).Certificates[0]), peer.Invalid},
		{"another domain's", bundled, state(own.issue("spiffe://other.org/a", nil).Certificates[0]), peer.Invalid},
		{"what has expired", bundled, state(expired), peer.Invalid},
	} {
		for range 2 { // the second time it is remembered
			s := snapshot(t, proxyAddr)
			s.Transport, s.TLS, s.Source, s.Asserted = "tcp", tt.state, "192.0.2.1:7", ""
			got := tt.provider.Resolve(t.Context(), s)
			if got.Status != tt.want {
				t.Errorf("%s: got %s, want %s", tt.name, got.Status, tt.want)
			}
			if tt.want != peer.Available {
				continue
			}
			want := []peer.Identity{{
				Provider: "spiffe", Source: "tls_x509_svid", Assurance: peer.CryptographicPeer, Issuer: "spiffe://example.org", Transport: "tcp",
				Kind: peer.Workload, Subject: workloadID, Stability: peer.Stable, Verified: true, SourceAddr: "192.0.2.1:7",
				Until: leaf.NotAfter,
			}}
			if diff := cmp.Diff(want, got.Identities, cmp.AllowUnexported(peer.Object{})); diff != "" {
				t.Error(diff)
			}
		}
	}
}

func TestEvidenceEndsWithTheFirstOfItsChain(t *testing.T) {
	own := newAuthority("example.org")
	svid := own.issue(workloadID, func(c *x509.Certificate) { c.NotAfter = own.cert.NotAfter.Add(time.Hour) })
	p := must(spiffe.Direct(spiffe.DirectOptions{TrustDomains: []string{"example.org"}, Bundles: own.bundle()}))
	s := snapshot(t, proxyAddr)
	s.TLS = &tls.ConnectionState{PeerCertificates: svid.Certificates}
	e := must(peer.NewEvidence(map[string]peer.Result{"spiffe": p.Resolve(t.Context(), s)}))
	if got := e.Until("spiffe"); !got.Equal(own.cert.NotAfter) {
		t.Errorf("got %v, want %v", got, own.cert.NotAfter)
	}
	if got := e.Until("other"); !got.IsZero() {
		t.Errorf("another provider: got %v", got)
	}
}

func TestTLSOptionsThatCannotBe(t *testing.T) {
	own := newAuthority("example.org")
	good := spiffe.TLSOptions{SVID: sourceOf(own.issue(serverID, nil)), Bundles: own.bundle(), TrustDomains: []string{"example.org"}}
	for name, change := range map[string]func(o *spiffe.TLSOptions){
		"no bundles":                 func(o *spiffe.TLSOptions) { o.Bundles = nil },
		"no trust domain":            func(o *spiffe.TLSOptions) { o.TrustDomains = nil },
		"a trust domain as a URL":    func(o *spiffe.TLSOptions) { o.TrustDomains = []string{"spiffe://example.org"} },
		"an ID of another domain":    func(o *spiffe.TLSOptions) { o.IDs = []string{"spiffe://other.org/a"} },
		"an ID without a path":       func(o *spiffe.TLSOptions) { o.IDs = []string{"spiffe://example.org"} },
		"an ID that is none":         func(o *spiffe.TLSOptions) { o.IDs = []string{"worker"} },
		"a trust domain in capitals": func(o *spiffe.TLSOptions) { o.TrustDomains = []string{"EXAMPLE.org"} },
	} {
		opts := good
		change(&opts)
		if _, err := spiffe.ServerTLS(opts); err == nil {
			t.Errorf("a server with %s: no error", name)
		}
		if _, err := spiffe.ClientTLS(opts); err == nil {
			t.Errorf("a client with %s: no error", name)
		}
	}
	opts := good
	opts.SVID = nil
	if _, err := spiffe.ServerTLS(opts); err == nil {
		t.Error("a server without an SVID: no error")
	}
	if _, err := spiffe.Direct(spiffe.DirectOptions{}); err == nil {
		t.Error("Direct without trust domains: no error")
	}
}

func BenchmarkDirect(b *testing.B) {
	own := newAuthority("example.org")
	p := must(spiffe.Direct(spiffe.DirectOptions{TrustDomains: []string{"example.org"}, Bundles: own.bundle()}))
	s := snapshot(b, proxyAddr)
	s.TLS = &tls.ConnectionState{PeerCertificates: own.issue(workloadID, nil).Certificates}
	b.ReportAllocs()
	for b.Loop() {
		if p.Resolve(context.Background(), s).Status != peer.Available {
			b.Fatal("not available")
		}
	}
}

func BenchmarkNginx(b *testing.B) {
	escaped := url.PathEscape(pemOf(newAuthority("example.org").issue(workloadID, nil).Certificates[0]))
	p := must(spiffe.Nginx(spiffe.CertificateOptions{ProxyOptions: options}))
	s := snapshot(b, proxyAddr, "X-SSL-Client-Cert", escaped, "X-SSL-Client-Verify", "SUCCESS")
	b.ReportAllocs()
	for b.Loop() {
		if p.Resolve(context.Background(), s).Status != peer.Available {
			b.Fatal("not available")
		}
	}
}
