package conformance

import (
	"context"
	"fmt"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// The protocols beside which [Secondary] is hosted in an order that no sort
// gives, and the one method that each of them has.
var (
	Zeta  = vgirpc.NewProtocol("zeta.Primary.v1", "")
	Alpha = vgirpc.NewProtocol("alpha.Extra.v1", "")

	ZetaPing  = vgirpc.NewUnary[vgirpc.None, string](Zeta, "ping")
	AlphaPing = vgirpc.NewUnary[vgirpc.None, string](Alpha, "ping")
)

// TransportKindProbe tells which transport a worker sees, and its method is
// [ReportTransportKind].
var (
	TransportKindProbe  = vgirpc.NewProtocol("conformance.TransportKindProbe.v1", "")
	ReportTransportKind = vgirpc.NewUnary[vgirpc.None, string](TransportKindProbe, "report_transport_kind")
)

// Hosting is a set of protocols that a worker hosts.
type Hosting uint8

// The sets of protocols.
const (
	// HostStandard is [Service] and [Secondary].
	HostStandard Hosting = iota
	// HostReverse is [Zeta], [Secondary] and [Alpha], in this order.
	HostReverse
	// HostTransportKind is [TransportKindProbe] alone.
	HostTransportKind
)

// NewServer returns a server that hosts a set of protocols with their handlers.
// Serve [HostStandard] with a context of [WithCancelProbe].
func NewServer(opts vgirpc.ServerOptions, hosting Hosting) (*vgirpc.Server, error) {
	protocols, host := hosting.protocols()
	s, err := vgirpc.NewServer(opts, protocols...)
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	host(s)
	return s, nil
}

// protocols are the protocols of the set, and what registers their handlers.
func (h Hosting) protocols() ([]*vgirpc.Protocol, func(*vgirpc.Server)) {
	switch h {
	case HostReverse:
		return []*vgirpc.Protocol{Zeta, Secondary, Alpha}, func(s *vgirpc.Server) {
			HostSecondary(s)
			for _, m := range []*vgirpc.Unary[vgirpc.None, string]{ZetaPing, AlphaPing} {
				echo(s, m, func(vgirpc.None) string { return "pong" })
			}
		}
	case HostTransportKind:
		return []*vgirpc.Protocol{TransportKindProbe}, func(s *vgirpc.Server) {
			vgirpc.HandleUnary(s, ReportTransportKind, func(ctx context.Context, _ vgirpc.None) (string, error) {
				return string(vgirpc.CallFrom(ctx).Peer().Kind), nil
			})
		}
	case HostStandard:
	}
	return []*vgirpc.Protocol{Service, Secondary}, func(s *vgirpc.Server) {
		HostService(s)
		HostSecondary(s)
	}
}
