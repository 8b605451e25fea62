package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Admit implements [vgirpc.Admitter] for byte streams, whose peers are found out
// once for each connection (transport-identity-spec.md). Who the admitters before
// it have named counts as the application's own identity; Options.Inner, which
// reads requests, is not asked. Put it behind what reads PROXY headers (package
// auth/proxyproto) and what speaks TLS (package auth/socket/sockettls).
//
// The connection ends when the evidence does that the policy needs. A refusal has
// the code UNAUTHENTICATED and the [auth.Reason] as its kind, an outage has
// UNAVAILABLE.
func (a *Authenticator) Admit(ctx context.Context, ad *vgirpc.Admission) error {
	// Vouch keeps the claims of who came before: none of them may pass for ours.
	ad.Peer.Identity = clean(ad.Peer.Identity)
	id, err := a.decide(ctx, FromAdmission(ad, a.opts.Service), ad.Peer.Identity)
	if err != nil {
		return refusal(err)
	}
	ad.EndBy(EvidenceOf(id).Until(a.opts.Policy.Providers()...))
	ad.Vouch(id)
	return nil
}

// FromAdmission is the snapshot of a connection that is being admitted.
func FromAdmission(ad *vgirpc.Admission, service string) *Snapshot {
	s := &Snapshot{Transport: string(ad.Peer.Kind), Service: service}
	switch from := ad.Socket().RemoteAddr().(type) {
	case *net.TCPAddr:
		s.Immediate, s.Source = from.AddrPort().Addr().Unmap(), endpoint(from.AddrPort())
	case *net.UnixAddr:
		s.Unix = true
	}
	if ad.Forwarded != nil {
		s.Asserted, s.Destination = endpoint(ad.Forwarded.Source), endpoint(ad.Forwarded.Destination)
	} else if here, ok := ad.Socket().LocalAddr().(*net.TCPAddr); ok {
		s.Destination = endpoint(here.AddrPort())
	}
	if secure, ok := ad.Conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := secure.ConnectionState()
		s.TLS = &state
	}
	return s
}

// refusal is what the peer of a byte stream learns.
func refusal(err error) error {
	if _, outage := errors.AsType[*auth.Unavailable](err); outage {
		return vgirpc.RefusedFor(vgirpc.RefusedAuthUnavailable, &vgirpc.Error{
			Code: vgirpc.Unavailable, Type: "PeerIdentityUnavailable", Cause: err,
			Message: "it cannot be found out now who you are",
		})
	}
	reason, refused := auth.ReasonOf(err)
	if !refused {
		return err
	}
	return vgirpc.RefusedFor(vgirpc.RefusedReason(reason), &vgirpc.Error{ // the same words
		Code: vgirpc.Unauthenticated, Kind: string(reason), Type: "PeerIdentityRefused", Cause: err,
		Message: "the connection's peer is not let in",
	})
}
