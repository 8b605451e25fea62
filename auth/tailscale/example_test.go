package tailscale_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/tailscale"
)

func ExampleServe() {
	provider, err := tailscale.Serve(tailscale.ServeOptions{Issuer: "tailnet:example.com", Proxies: []string{"127.0.0.1", "::1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	result := provider.Resolve(context.Background(), &peer.Snapshot{
		Transport: "http", Immediate: netip.MustParseAddr("127.0.0.1"), Header: http.Header{
			"Tailscale-User-Login":       {"alice@example.com"},
			"Tailscale-App-Capabilities": {`{"example.com/cap/run":[{"queue":"blue"}]}`},
		},
	})
	for _, identity := range result.Identities {
		fmt.Println(identity.Subject, identity.Stability, identity.Capabilities.JSON())
	}
	// Output: login:alice@example.com login {"example.com/cap/run":[{"queue":"blue"}]}
}
