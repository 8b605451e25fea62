package peer_test

import (
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
)

// BenchmarkAuthenticate is what a request through Envoy costs.
func BenchmarkAuthenticate(b *testing.B) {
	envoy := must(spiffe.Envoy(spiffe.EnvoyOptions{ProxyOptions: spiffe.ProxyOptions{
		TrustDomains: []string{"example.org"}, Proxies: []string{proxyAddr},
	}}))
	a := must(peer.New(peer.Options{Providers: []peer.Provider{envoy}, Policy: peer.Primary("spiffe")}))
	r := request("X-Forwarded-Client-Cert", "Hash="+strings.Repeat("0a", 32)+";URI=spiffe://example.org/worker")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}
