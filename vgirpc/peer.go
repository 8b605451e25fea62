package vgirpc

import (
	"maps"
	"slices"
)

// TransportKind names the transport that a call arrived on, coarsely.
type TransportKind string

// The transport kinds. An in-process pair counts as a pipe.
const (
	TransportPipe TransportKind = "pipe"
	TransportUnix TransportKind = "unix"
	TransportTCP  TransportKind = "tcp"
	TransportHTTP TransportKind = "http"
)

// Identity is who is calling. The zero value is anonymous.
type Identity struct {
	Principal     string
	Domain        string // scheme or realm that vouches for the principal
	Authenticated bool
	Claims        map[string]any
}

// Clone returns the identity with claims of its own: lists, objects and texts in
// lists as JSON and certificates have them ([]any, map[string]any, []string) are
// copied as well. Authenticators that remember whom they accepted return clones.
func (i Identity) Clone() Identity {
	i.Claims = cloneClaims(i.Claims)
	return i
}

func cloneClaims(claims map[string]any) map[string]any {
	out := maps.Clone(claims)
	for name, value := range claims {
		switch value.(type) {
		case []any, []string, map[string]any:
			out[name] = cloneClaim(value)
		}
	}
	return out
}

func cloneClaim(value any) any {
	switch v := value.(type) {
	case []string:
		return slices.Clone(v)
	case map[string]any:
		return cloneClaims(v)
	case []any:
		out := slices.Clone(v)
		for i := range out {
			out[i] = cloneClaim(out[i])
		}
		return out
	}
	return value
}

// Peer is the other end of a connection or request.
type Peer struct {
	Kind     TransportKind
	Addr     string // "ip:port" for TCP and HTTP; "" elsewhere
	Identity Identity
	// UID, GID and PID are the peer's user, group and process when it
	// connected, where the kernel vouches for them (Unix sockets on Linux and
	// macOS); -1 elsewhere. Look at GID only where UID is not negative.
	UID, GID, PID int
}
