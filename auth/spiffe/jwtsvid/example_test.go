package jwtsvid_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"

	"github.com/vgirpc/vgirpc-go/auth/spiffe/jwtsvid"
)

func ExampleNew() {
	keys := newAuthority("key-1")
	authenticator, err := jwtsvid.New(jwtsvid.Options{
		Bundles:      jwtbundle.NewSet(keys.bundle(domain)), // or a source of package workload
		Audience:     []string{"vgi"},
		TrustDomains: []string{"example.org"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodPost, "/Service/method", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+keys.issue(claims(nil), nil))
	identity, err := authenticator.Authenticate(r)
	fmt.Println(identity.Domain, identity.Principal, err)
	// Output: spiffe spiffe://example.org/worker <nil>
}
