package vgirpc

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
