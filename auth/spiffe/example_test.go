package spiffe_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
)

func ExampleGoogleLoadBalancer() {
	provider, err := spiffe.GoogleLoadBalancer(spiffe.GoogleOptions{ProxyOptions: spiffe.ProxyOptions{
		TrustDomains: []string{"example.org"}, Proxies: []string{"10.0.0.8"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	snapshot := &peer.Snapshot{Transport: "http", Immediate: netip.MustParseAddr("10.0.0.8"), Header: http.Header{
		"X-Client-Cert-Present":        {"true"},
		"X-Client-Cert-Chain-Verified": {"true"},
		"X-Client-Cert-Spiffe-Id":      {"spiffe://example.org/worker"},
	}}
	result := provider.Resolve(context.Background(), snapshot)
	fmt.Println(result.Status, result.Identities[0].Subject)

	snapshot.Header.Add("X-Client-Cert-Spiffe-Id", "spiffe://example.org/admin")
	fmt.Println(provider.Resolve(context.Background(), snapshot).Status)
	// Output:
	// available spiffe://example.org/worker
	// invalid
}
