package peer_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
)

func ExampleNew() {
	// Envoy beside the service, with forward_client_cert_details: SANITIZE_SET.
	envoy, err := spiffe.Envoy(spiffe.EnvoyOptions{ProxyOptions: spiffe.ProxyOptions{
		TrustDomains: []string{"example.org"}, Proxies: []string{"127.0.0.1"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The Auth of httpserver.Options.
	authenticator, err := peer.New(peer.Options{
		Providers: []peer.Provider{envoy},
		Policy:    peer.Primary(spiffe.ProviderName),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := httptest.NewRequest(http.MethodPost, "/Service/method", http.NoBody)
	request.RemoteAddr = "127.0.0.1:40000"
	request.Header.Set("X-Forwarded-Client-Cert",
		"Hash=d3b07384d113edec49eaa6238ad5ff00d3b07384d113edec49eaa6238ad5ff00;URI=spiffe://example.org/worker")
	identity, err := authenticator.Authenticate(request)
	fmt.Println(identity.Principal, err)
	fmt.Println(peer.EvidenceOf(identity))

	request.RemoteAddr = "192.0.2.7:40000"
	_, err = authenticator.Authenticate(request)
	fmt.Println(err)
	// Output:
	// peer/spiffe/spiffe%3A%2F%2Fexample.org/spiffe%3A%2F%2Fexample.org%2Fworker <nil>
	// spiffe:available
	// authentication rejected: proxy_required: peer: provider "spiffe" has evidence from an untrusted proxy alone
}

// A server whose listener reads PROXY headers says what they have said.
func ExampleWithConn() {
	request := httptest.NewRequest(http.MethodPost, "/Service/method", http.NoBody)
	request.RemoteAddr = "100.64.0.10:4242"                                   // what the PROXY header asserts
	request = request.WithContext(peer.WithConn(request.Context(), peer.Conn{ // by http.Server.ConnContext
		Immediate:   netip.MustParseAddrPort("127.0.0.1:40000"),
		Source:      netip.MustParseAddrPort("100.64.0.10:4242"),
		Destination: netip.MustParseAddrPort("100.64.0.1:443"),
	}))
	snapshot, err := peer.FromRequest(request, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("by", snapshot.Immediate, "for", snapshot.Asserted, "to", snapshot.Destination)
	// Output: by 127.0.0.1 for 100.64.0.10:4242 to 100.64.0.1:443
}
