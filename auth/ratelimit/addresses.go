package ratelimit

import (
	"context"
	"net/netip"

	"github.com/vgirpc/vgirpc-go/internal/bucket"
	"github.com/vgirpc/vgirpc-go/internal/network"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Addresses limits what comes from each IP address, of IPv6 from each /64. It is
// safe for concurrent use.
type Addresses struct {
	opts    Options
	table   *bucket.Table[netip.Addr]
	notices *bucket.Table[netip.Addr] // of those who are told
}

// NewAddresses returns limits that nobody has used up. It fails when an option
// makes no sense.
func NewAddresses(opts Options) (*Addresses, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	a := &Addresses{opts: opts}
	if a.table, err = newTable[netip.Addr](opts); err != nil {
		return nil, err
	}
	if a.notices, err = newTable[netip.Addr](opts); err != nil {
		return nil, err
	}
	return a, nil
}

// Take counts a request from addr. It returns nil, or a *vgirpc.Error with
// RESOURCE_EXHAUSTED and a [vgirpc.RetryInfo]. An invalid address, which the
// peers of Unix sockets and pipes have, has no limit.
func (a *Addresses) Take(addr netip.Addr) error {
	if !addr.IsValid() {
		return nil
	}
	if wait := a.table.Take(network.Of(addr), 1); wait > 0 {
		return tooMany("requests from this address", a.opts.Rate, wait)
	}
	return nil
}

// Fail counts an authentication from addr that failed, on top of its request.
// What it costs may go beyond what the address has left, up to a second burst.
func (a *Addresses) Fail(addr netip.Addr) {
	if addr.IsValid() {
		a.table.Charge(network.Of(addr), a.opts.FailureCost)
	}
}

// Admit counts a connection of a raw socket: as an entry of
// vgirpc.ConnOptions.Admit it refuses those that are too many. Where a proxy
// sends the client's address ahead, it belongs behind the admitter that reads
// that. An address that goes on regardless is not told any more, but cut off: to
// tell it would keep a place among the connections.
func (a *Addresses) Admit(_ context.Context, in *vgirpc.Admission) error {
	from, err := netip.ParseAddrPort(in.Peer.Addr)
	if err != nil {
		return nil //nolint:nilerr // the peer of a Unix socket has no address
	}
	refused := a.Take(from.Addr())
	if refused == nil {
		return nil
	}
	if a.notices.Take(network.Of(from.Addr()), 1) > 0 {
		in.Told = true
		_ = in.Socket().Close()
		return vgirpc.RefusedFor(vgirpc.RefusedAddressRate, errHurry)
	}
	return vgirpc.RefusedFor(vgirpc.RefusedAddressRate, refused)
}
