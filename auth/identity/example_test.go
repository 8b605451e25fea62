package identity_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/auth/identity"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func Example() {
	tokens := map[string]string{"token of ada's laptop": "ada"}
	keys, err := grant.New(grant.Options{Keys: [][]byte{bytes.Repeat([]byte{7}, grant.KeySize)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, vgirpc.NewProtocol("acme.Reports.v1", ""))
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := identity.Host(server, identity.Options{
		ResolveToken: func(_ context.Context, token string) (identity.TokenIdentity, bool, error) {
			principal, known := tokens[token]
			return identity.NewTokenIdentity(principal), known, nil
		},
		Introspectors: []string{"gateway"},
		Grants:        keys,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// For httpserver.Options.Auth: grants and tokens are accepted as bearers.
	authenticator, err := id.Authenticator(nil)
	fmt.Println(authenticator != nil, err)
	for _, p := range server.Protocols() {
		fmt.Println(p.Name())
	}
	// Output:
	// true <nil>
	// acme.Reports.v1
	// vgi_rpc.Reflection.v1
	// vgi_rpc.Identity.v2
}
