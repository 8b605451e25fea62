package spiffe_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
)

var (
	options = spiffe.ProxyOptions{TrustDomains: []string{"example.org"}, Proxies: []string{proxyAddr, "2001:db8::1"}}
	hash    = strings.Repeat("0a", 32)
	xfcc    = "By=spiffe://mesh.example/proxy;Hash=" + hash + `;URI="` + workloadID + `"`
)

// adapter is one with a good request for it.
type adapter struct {
	provider peer.Provider
	header   []string // the evidence first
	want     peer.Identity
}

func adapters() map[string]adapter {
	escaped := url.PathEscape(pemOf(newAuthority("example.org").issue(workloadID, nil).Certificates[0]))
	want := func(source string, attributes map[string]any) peer.Identity {
		return peer.Identity{
			Provider: "spiffe", Source: source, Assurance: peer.ConfiguredProxy, Issuer: "spiffe://example.org", Transport: "http",
			Kind: peer.Workload, Subject: workloadID, Stability: peer.Stable, Verified: true,
			Attributes: must(peer.NewObject(attributes)), SourceAddr: "198.51.100.7:5", ProxyAddr: proxyAddr,
		}
	}
	certificate := spiffe.CertificateOptions{ProxyOptions: options}
	return map[string]adapter{
		"nginx": {
			must(spiffe.Nginx(certificate)),
			[]string{"X-SSL-Client-Cert", escaped, "X-SSL-Client-Verify", "SUCCESS"},
			want("nginx_mtls", nil),
		},
		"an Application Gateway": {
			must(spiffe.ApplicationGateway(certificate)),
			[]string{"X-Client-Certificate", escaped, "X-Client-Certificate-Verification", "SUCCESS"},
			want("azure_application_gateway_mtls_strict", nil),
		},
		"an Application Load Balancer": {
			must(spiffe.ALB(certificate)), []string{"X-Amzn-Mtls-Clientcert-Leaf", escaped}, want("aws_alb_mtls_verify", nil),
		},
		"Envoy": {
			must(spiffe.Envoy(spiffe.EnvoyOptions{ProxyOptions: options})),
			[]string{"X-Forwarded-Client-Cert", xfcc},
			want("envoy_xfcc_sanitize_set", map[string]any{"certificate_sha256": hash}),
		},
		"a Google load balancer": {
			must(spiffe.GoogleLoadBalancer(spiffe.GoogleOptions{ProxyOptions: options})),
			[]string{"X-Client-Cert-Spiffe-Id", workloadID, "X-Client-Cert-Present", "true", "X-Client-Cert-Chain-Verified", "true"},
			want("gcp_load_balancer_mtls", map[string]any{"client_certificate_present": true, "client_certificate_chain_verified": true}),
		},
		"headers of other names": {
			must(spiffe.GoogleLoadBalancer(spiffe.GoogleOptions{
				ProxyOptions: options, SPIFFEIDHeader: "a-id", PresentHeader: "a-present", VerifiedHeader: "a-verified", ErrorHeader: "a-error",
			})),
			[]string{"A-Id", workloadID, "A-Present", "true", "A-Verified", "true", "X-Client-Cert-Error", "of somebody else"},
			want("gcp_load_balancer_mtls", map[string]any{"client_certificate_present": true, "client_certificate_chain_verified": true}),
		},
	}
}

func TestWhatProxiesSay(t *testing.T) {
	for name, a := range adapters() {
		t.Run(name, func(t *testing.T) {
			got := a.provider.Resolve(t.Context(), snapshot(t, proxyAddr, a.header...))
			want := peer.Result{Status: peer.Available, Identities: []peer.Identity{a.want}}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(peer.Object{})); diff != "" {
				t.Error(diff)
			}
			if _, err := peer.NewEvidence(map[string]peer.Result{a.provider.Name(): got}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAttacks: whatever an attacker does to a good request, it is told nothing
// but that it was refused.
func TestAttacks(t *testing.T) {
	attacks := []struct {
		name   string
		change func(s *peer.Snapshot, evidence string)
		want   peer.Status
	}{
		{"from an address that is no proxy", func(s *peer.Snapshot, _ string) { s.Immediate = s.Immediate.Next() }, peer.UntrustedProxy},
		{"from no address", func(s *peer.Snapshot, _ string) { s.Immediate = peer.Snapshot{}.Immediate }, peer.UntrustedProxy},
		{"over a Unix socket", func(s *peer.Snapshot, _ string) { s.Unix = true }, peer.UntrustedProxy},
		{"from the address that a PROXY header asserts", func(s *peer.Snapshot, _ string) {
			s.Immediate, s.Asserted = s.Immediate.Next(), proxyAddr+":1"
		}, peer.UntrustedProxy},
		{"the same header again", func(s *peer.Snapshot, h string) { s.Header.Add(h, s.Header.Get(h)) }, peer.Invalid},
		{"an empty header beside it", func(s *peer.Snapshot, h string) { s.Header.Add(h, "") }, peer.Invalid},
		{"an empty header in front", func(s *peer.Snapshot, h string) { s.Header[h] = slices.Insert(s.Header[h], 0, "") }, peer.Invalid},
		{"two values in one", func(s *peer.Snapshot, h string) { s.Header.Set(h, s.Header.Get(h)+","+s.Header.Get(h)) }, peer.Invalid},
		{"half of it", func(s *peer.Snapshot, h string) { s.Header.Set(h, s.Header.Get(h)[:len(s.Header.Get(h))/2]) }, peer.Invalid},
		{"text behind it", func(s *peer.Snapshot, h string) { s.Header.Set(h, s.Header.Get(h)+"%0Ax") }, peer.Invalid},
		{"a control character", func(s *peer.Snapshot, h string) { s.Header.Set(h, s.Header.Get(h)+"\t") }, peer.Invalid},
		{"text that is not ASCII", func(s *peer.Snapshot, h string) { s.Header.Set(h, s.Header.Get(h)+"é") }, peer.Invalid},
		{"more than the limit", func(s *peer.Snapshot, h string) { s.Header.Set(h, s.Header.Get(h)+strings.Repeat(" ", 16<<10)) }, peer.Invalid},
		{"no evidence", func(s *peer.Snapshot, _ string) {
			s.Header = http.Header{}
			s.Header.Set("X-Client-Cert-Present", "false") // only one proxy says so
			s.Header.Set("A-Present", "false")
			s.Header.Set("X-Ssl-Client-Verify", "NONE")
		}, peer.NoMatch},
		{"its name with underscores", func(s *peer.Snapshot, h string) {
			s.Header[strings.ReplaceAll(h, "-", "_")] = s.Header[h]
			s.Header.Del(h)
			s.Header.Set("X-Client-Cert-Present", "false")
			s.Header.Set("X-Client-Cert-Chain-Verified", "false")
			s.Header.Set("A-Present", "false")
			s.Header.Set("A-Verified", "false")
		}, peer.NoMatch},
	}
	for name, a := range adapters() {
		for _, attack := range attacks {
			t.Run(name+": "+attack.name, func(t *testing.T) {
				s := snapshot(t, proxyAddr, a.header...)
				attack.change(s, http.CanonicalHeaderKey(a.header[0]))
				if got := a.provider.Resolve(t.Context(), s); got.Status != attack.want || got.Identities != nil {
					t.Errorf("got %s with %d identities, want %s", got.Status, len(got.Identities), attack.want)
				}
			})
		}
	}
}

func TestVerificationThatIsNotThere(t *testing.T) {
	all := adapters()
	for _, tt := range []struct {
		adapter string
		header  string
		values  []string // nil for none
		want    peer.Status
	}{
		{"nginx", "X-SSL-Client-Verify", nil, peer.Invalid},
		{"nginx", "X-SSL-Client-Verify", []string{"success"}, peer.Invalid},
		{"nginx", "X-SSL-Client-Verify", []string{"NONE"}, peer.Invalid},
		{"nginx", "X-SSL-Client-Verify", []string{"FAILED:certificate has expired"}, peer.Invalid},
		{"nginx", "X-SSL-Client-Verify", []string{"SUCCESS", "SUCCESS"}, peer.Invalid},
		{"nginx", "X-SSL-Client-Verify", []string{"SUCCESS "}, peer.Invalid},
		{"an Application Gateway", "X-Client-Certificate-Verification", nil, peer.Invalid},
		{"an Application Gateway", "X-Client-Certificate-Verification", []string{"FAILED"}, peer.Invalid},
		{"a Google load balancer", "X-Client-Cert-Present", nil, peer.Invalid},
		{"a Google load balancer", "X-Client-Cert-Present", []string{"True"}, peer.Invalid},
		{"a Google load balancer", "X-Client-Cert-Present", []string{"false"}, peer.Invalid}, // and an ID
		{"a Google load balancer", "X-Client-Cert-Present", []string{"true", "true"}, peer.Invalid},
		{"a Google load balancer", "X-Client-Cert-Chain-Verified", nil, peer.Invalid},
		{"a Google load balancer", "X-Client-Cert-Chain-Verified", []string{"false"}, peer.Invalid},
		{"a Google load balancer", "X-Client-Cert-Chain-Verified", []string{"true", "false"}, peer.Invalid},
		{"a Google load balancer", "X-Client-Cert-Error", []string{"client_cert_chain_exceeded_limit"}, peer.Invalid},
		{"a Google load balancer", "X-Client-Cert-Error", []string{"", ""}, peer.Invalid},
		{"a Google load balancer", "X-Client-Cert-Error", []string{""}, peer.Available},
		{"a Google load balancer", "X-Client-Cert-Spiffe-Id", nil, peer.Invalid}, // and a certificate
	} {
		t.Run(tt.adapter+" "+tt.header+" "+strings.Join(tt.values, "|"), func(t *testing.T) {
			s := snapshot(t, proxyAddr, all[tt.adapter].header...)
			s.Header.Del(tt.header)
			for _, v := range tt.values {
				s.Header.Add(tt.header, v)
			}
			if got := all[tt.adapter].provider.Resolve(t.Context(), s); got.Status != tt.want {
				t.Errorf("got %s, want %s", got.Status, tt.want)
			}
		})
	}
}

func TestCertificatesThatAreNoSVIDs(t *testing.T) {
	a := newAuthority("example.org")
	nginx := must(spiffe.Nginx(spiffe.CertificateOptions{ProxyOptions: options}))
	for name, change := range profile {
		t.Run(name, func(t *testing.T) {
			cert := a.issue(workloadID, change).Certificates[0]
			s := snapshot(t, proxyAddr, "X-SSL-Client-Cert", url.PathEscape(pemOf(cert)), "X-SSL-Client-Verify", "SUCCESS")
			if got := nginx.Resolve(t.Context(), s); got.Status != peer.Invalid {
				t.Errorf("got %s", got.Status)
			}
		})
	}
	good := pemOf(a.issue(workloadID, nil).Certificates[0])
	for name, text := range map[string]string{
		"two certificates":         url.PathEscape(good + good),
		"a certificate, not PEM":   "MIIB",
		"a key":                    url.PathEscape("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"an escape that is none":   url.PathEscape(good) + "%G1",
		"a certificate not in PEM": url.PathEscape(good[5:]),
	} {
		t.Run(name, func(t *testing.T) {
			s := snapshot(t, proxyAddr, "X-SSL-Client-Cert", text, "X-SSL-Client-Verify", "SUCCESS")
			if got := nginx.Resolve(t.Context(), s); got.Status != peer.Invalid {
				t.Errorf("got %s", got.Status)
			}
		})
	}
}

func TestXFCCThatIsNotOfOneEnvoy(t *testing.T) {
	envoy := adapters()["Envoy"].provider
	for _, text := range []string{
		"URI=" + workloadID, "Hash=abc;URI=" + workloadID, "Hash=" + hash,
		"Hash=" + hash + ";URI=" + workloadID + ";URI=" + workloadID + "2",
		"Hash=" + hash + ";Hash=" + hash + ";URI=" + workloadID,
		"Hash=" + hash + ";hash=" + hash + ";URI=" + workloadID,
		"Hash=" + hash + ";URI=spiffe://other.org/client",
		"Hash=" + hash + ";URI=" + workloadID + "%ZZ",
		"Hash=" + hash + ";URI=" + workloadID + "%252Fadmin",
		"Hash=" + hash + ";URI=" + workloadID + "%00",
		"Hash=" + hash + `;URI="` + workloadID,
		"Unknown=value;Hash=" + hash + ";URI=" + workloadID,
		xfcc + ",By=spiffe://mesh.example/second;Hash=" + hash + ";URI=spiffe://example.org/other",
		"URI=" + workloadID + "," + xfcc, " ", ",", xfcc + ";", xfcc + ",",
	} {
		if got := envoy.Resolve(t.Context(), snapshot(t, proxyAddr, "X-Forwarded-Client-Cert", text)); got.Status != peer.Invalid {
			t.Errorf("%s: got %s", text, got.Status)
		}
	}
}

func TestOtherTransportsHaveNoHeaders(t *testing.T) {
	s := snapshot(t, proxyAddr)
	s.Transport, s.Header = "tcp", nil
	for name, a := range adapters() {
		if got := a.provider.Resolve(t.Context(), s); got.Status != peer.NotApplicable {
			t.Errorf("%s: got %s", name, got.Status)
		}
	}
}

func TestProxyOptionsThatCannotBe(t *testing.T) {
	bad := map[string]spiffe.ProxyOptions{
		"no proxy":                        {TrustDomains: options.TrustDomains},
		"a network":                       {TrustDomains: options.TrustDomains, Proxies: []string{"10.0.0.0/8"}},
		"no trust domain":                 {Proxies: options.Proxies},
		"a trust domain that is an ID":    {TrustDomains: []string{"spiffe://example.org"}, Proxies: options.Proxies},
		"a trust domain in upper case":    {TrustDomains: []string{"Example.org"}, Proxies: options.Proxies},
		"a trust domain that is anything": {TrustDomains: []string{"*"}, Proxies: options.Proxies},
	}
	for name, o := range bad {
		certificate := spiffe.CertificateOptions{ProxyOptions: o}
		for _, err := range []error{
			second(spiffe.Nginx(certificate)), second(spiffe.ALB(certificate)), second(spiffe.ApplicationGateway(certificate)),
			second(spiffe.Envoy(spiffe.EnvoyOptions{ProxyOptions: o})), second(spiffe.GoogleLoadBalancer(spiffe.GoogleOptions{ProxyOptions: o})),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}
	for name, err := range map[string]error{
		"one header for both":   second(spiffe.Nginx(spiffe.CertificateOptions{ProxyOptions: options, VerifyHeader: "x-ssl-client-cert"})),
		"a header that is none": second(spiffe.Nginx(spiffe.CertificateOptions{ProxyOptions: options, CertificateHeader: "a b"})),
		"verification at AWS":   second(spiffe.ALB(spiffe.CertificateOptions{ProxyOptions: options, VerifyHeader: "X-Verified"})),
		"one header for two at Google": second(spiffe.GoogleLoadBalancer(spiffe.GoogleOptions{
			ProxyOptions: options, PresentHeader: "X-Client-Cert-Error",
		})),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// FuzzHeaders: a header that is not the good one, letter by letter or as another
// way to write it, never names somebody else.
func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{
		xfcc, "Hash=" + hash + ";URI=spiffe%3A%2F%2Fexample.org%2Fa", workloadID, "spiffe://example.org/a/../b", "SPIFFE://example.org/a", "%", `"`, ",",
	} {
		f.Add(seed, "true")
	}
	all := adapters()
	envoy, google, nginx := all["Envoy"].provider, all["a Google load balancer"].provider, all["nginx"].provider
	f.Fuzz(func(t *testing.T, evidence, word string) {
		for _, tt := range []struct {
			provider peer.Provider
			header   []string
		}{
			{envoy, []string{"X-Forwarded-Client-Cert", evidence}},
			{google, []string{"X-Client-Cert-Spiffe-Id", evidence, "X-Client-Cert-Present", word, "X-Client-Cert-Chain-Verified", word}},
			{nginx, []string{"X-SSL-Client-Cert", evidence, "X-SSL-Client-Verify", word}},
		} {
			got := tt.provider.Resolve(t.Context(), snapshot(t, proxyAddr, tt.header...))
			e, err := peer.NewEvidence(map[string]peer.Result{"spiffe": got})
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range e.Identities("spiffe") {
				path, ok := strings.CutPrefix(i.Subject, "spiffe://example.org/")
				plain := must(url.PathUnescape(evidence))
				if !ok || path == "" || strings.ContainsAny(path, "%?#:@ \x00") || !strings.Contains(plain, i.Subject) {
					t.Errorf("%q names %q", evidence, i.Subject)
				}
			}
			if got := tt.provider.Resolve(t.Context(), snapshot(t, "192.0.2.99", tt.header...)); got.Status != peer.UntrustedProxy {
				t.Errorf("%q from anybody: %s", evidence, got.Status)
			}
		}
	})
}
