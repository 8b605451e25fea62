package network_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/internal/network"
)

func TestWhomAnAddressBelongsTo(t *testing.T) {
	for _, tt := range []struct{ name, addr, want string }{
		{"IPv4 belongs to itself", "192.0.2.77", "192.0.2.77"},
		{"IPv4 in IPv6 is IPv4", "::ffff:192.0.2.77", "192.0.2.77"},
		{"IPv6 belongs to its /64", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
		{"the last of a /64", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"},
		{"a zone does not count", "fe80::1%eth0", "fe80::"},
		{"this machine", "::1", "::"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, network.Of(netip.MustParseAddr(tt.addr)).String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := network.Of(netip.Addr{}); got.IsValid() {
		t.Errorf("no address belongs to %v", got)
	}
}
