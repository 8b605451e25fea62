package ratelimit_test

import (
	"fmt"
	"net/netip"

	"github.com/vgirpc/vgirpc-go/auth/ratelimit"
)

// Two requests at once are served, and then one every ten seconds. The limits go
// to httpserver.Options.AddressLimit, or to vgirpc.ConnOptions.Admit.
func Example() {
	rate, err := ratelimit.ParseRate("6/m:2")
	if err != nil {
		fmt.Println(err)
		return
	}
	limit, err := ratelimit.NewAddresses(ratelimit.Options{Rate: rate})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, addr := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"} {
		fmt.Println(addr, limit.Take(netip.MustParseAddr(addr)) == nil)
	}
	// Output:
	// 192.0.2.1 true
	// 192.0.2.1 true
	// 192.0.2.1 false
	// 192.0.2.2 true
}
