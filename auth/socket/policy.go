package socket

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"sync"

	"github.com/vgirpc/vgirpc-go/internal/network"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// PolicyOptions bound how many connections there are at once. Zero is no bound.
type PolicyOptions struct {
	// Total is how many there may be. 1 is one client and no other, as long as
	// it is connected.
	Total int
	// PerPeer is how many one peer may have. A peer is a principal with its
	// domain where there is one, else the user of a Unix socket, else an IP
	// address, of IPv6 its /64.
	PerPeer int
}

// ConnectionPolicy is an admitter that refuses connections which are too many,
// and tells their peers so at once. It counts those alone that the admitters
// before it have let in; vgirpc.ConnOptions.MaxConns has to leave room for one
// more, or that one waits instead.
type ConnectionPolicy struct {
	opts PolicyOptions

	mu    sync.Mutex
	total int
	peers map[string]int
}

// NewConnectionPolicy returns the admitter. It fails when nothing is bounded.
func NewConnectionPolicy(opts PolicyOptions) (*ConnectionPolicy, error) {
	if opts.Total < 0 || opts.PerPeer < 0 || opts == (PolicyOptions{}) {
		return nil, errors.New("socket: a connection policy wants a Total or a PerPeer above 0")
	}
	return &ConnectionPolicy{opts: opts, peers: map[string]int{}}, nil
}

// Admit implements [vgirpc.Admitter].
func (p *ConnectionPolicy) Admit(_ context.Context, a *vgirpc.Admission) error {
	who := peerKey(a.Peer)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.opts.Total == 1 && p.total == 1:
		return refuse(vgirpc.ResourceExhausted, KindConnectionLimit, "this server serves one connection at a time, and has one")
	case p.opts.Total > 0 && p.total >= p.opts.Total:
		return refuse(vgirpc.ResourceExhausted, KindConnectionLimit, "this server serves %d connections at a time, and has them", p.opts.Total)
	case p.opts.PerPeer > 0 && p.peers[who] >= p.opts.PerPeer:
		return refuse(vgirpc.ResourceExhausted, KindConnectionLimit, "this server serves %d connections of a peer at a time, and has them", p.opts.PerPeer)
	}
	p.total++
	p.peers[who]++
	a.AtEnd(func() { p.leave(who) })
	return nil
}

func (p *ConnectionPolicy) leave(who string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.peers[who]--; p.peers[who] == 0 {
		delete(p.peers, who)
	}
}

// peerKey tells peers apart.
func peerKey(peer *vgirpc.Peer) string {
	switch id := peer.Identity; {
	case id.Authenticated:
		return "id " + strconv.Quote(id.Domain) + " " + id.Principal
	case peer.UID >= 0:
		return "uid " + strconv.Itoa(peer.UID)
	}
	if from, err := netip.ParseAddrPort(peer.Addr); err == nil {
		return "ip " + network.Of(from.Addr()).String()
	}
	return "addr " + peer.Addr
}
