package socket

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// CredentialsOptions say who may connect to a Unix socket. Whoever one of the
// fields names may. The zero value is SameUser.
type CredentialsOptions struct {
	UIDs []int // users
	GIDs []int // groups, of which one must be the peer's primary group
	// SameUser lets this process's user in, and root.
	SameUser bool
}

// PeerCredentials is an admitter that knows peers by the user that they ran under
// when they connected. Their principal is "uid:" and the user's number, in domain
// "unix", with the claims uid, gid and pid.
type PeerCredentials struct {
	opts CredentialsOptions
	own  int
}

// NewPeerCredentials returns the admitter. It fails on a system that does not
// say who is at the other end of a socket.
func NewPeerCredentials(opts CredentialsOptions) (*PeerCredentials, error) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		return nil, errors.New("socket: peer credentials: this system does not say who is at the other end of a socket")
	}
	for _, id := range slices.Concat(opts.UIDs, opts.GIDs) {
		if id < 0 {
			return nil, fmt.Errorf("socket: peer credentials: %d is no user or group", id)
		}
	}
	if len(opts.UIDs) == 0 && len(opts.GIDs) == 0 {
		opts.SameUser = true
	}
	opts.UIDs, opts.GIDs = slices.Clone(opts.UIDs), slices.Clone(opts.GIDs)
	return &PeerCredentials{opts, os.Getuid()}, nil
}

// Admit implements [vgirpc.Admitter].
func (p *PeerCredentials) Admit(_ context.Context, a *vgirpc.Admission) error {
	uid, gid, pid := a.Peer.UID, a.Peer.GID, a.Peer.PID
	switch {
	case a.Peer.Kind != vgirpc.TransportUnix || uid < 0:
		return refuse(vgirpc.PermissionDenied, KindPeerNotAllowed, "who is at the other end is unknown: this server wants a Unix socket")
	case slices.Contains(p.opts.UIDs, uid):
	case slices.Contains(p.opts.GIDs, gid):
	case p.opts.SameUser && (uid == p.own || uid == 0):
	default:
		return refuse(vgirpc.PermissionDenied, KindPeerNotAllowed, "user %d may not connect", uid)
	}
	a.Vouch(vgirpc.Identity{
		Principal: "uid:" + strconv.Itoa(uid), Domain: "unix", Authenticated: true,
		Claims: map[string]any{"uid": uid, "gid": gid, "pid": pid},
	})
	return nil
}
