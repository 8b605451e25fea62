package workload_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
	"github.com/vgirpc/vgirpc-go/auth/spiffe/workload"
)

// A server that shows its SVID, and knows its callers by theirs.
func ExampleOpen() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	source, err := workload.Open(ctx, workload.Options{Addr: "unix:///run/example/agent.sock"})
	if err != nil {
		fmt.Println("no agent")
		return
	}
	defer source.Close()
	domains := []string{"example.org"}
	config, err := spiffe.ServerTLS(spiffe.TLSOptions{SVID: source, Bundles: source, TrustDomains: domains})
	if err != nil {
		fmt.Println(err)
		return
	}
	direct, err := spiffe.Direct(spiffe.DirectOptions{TrustDomains: domains, Bundles: source})
	if err != nil {
		fmt.Println(err)
		return
	}
	authenticator, err := peer.New(peer.Options{Providers: []peer.Provider{direct}, Policy: peer.Primary(spiffe.ProviderName)})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, err := authenticator.Authenticate(r)
		fmt.Fprintln(w, identity.Principal, err)
	})
	server := &http.Server{Addr: ":8443", Handler: handler, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second}
	fmt.Println(server.ListenAndServeTLS("", ""))
	// Output: no agent
}
