// Package network says which addresses are one peer's: what limits connections of
// a peer and what limits its requests ask the same.
package network

import "net/netip"

// bits is what one customer has of IPv6 at least: he chooses the rest of an address
// as he likes.
const bits = 64

// Of is whom an address belongs to: itself for IPv4, in whichever of its forms,
// and the first address of its /64 for IPv6. A zone does not count. An invalid
// address stays what it is.
func Of(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if network, err := addr.Prefix(bits); err == nil {
			return network.Addr()
		}
	}
	return addr
}
