package proxyproto

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Options configure [New].
type Options struct {
	// Proxies are the addresses of those who send headers, each on its own, and
	// "unix" for whoever connects over a Unix socket. Nobody else is let in.
	Proxies []string
	// Timeout is how long a header may take, from the accept on. 5 s when 0.
	Timeout time.Duration
	// Local takes the command LOCAL, by which a proxy connects for itself: to
	// check the server's health with a request. Such a connection has the proxy's
	// own address, and may send anything. The specification has it refused
	// (tailscale-identity.md), and so it is unless this is set.
	Local bool
	// Logger gets what a [Receiver.Listener] refuses. slog.Default when nil.
	Logger *slog.Logger
	// Refused, unless nil, is told of each of them: ReportRefused of the
	// vgirpc.Server, which learns of what is not admitted itself. It must not
	// block, and many connections may be refused at once.
	Refused func(ctx context.Context, refused *vgirpc.Refused)
}

const defaultTimeout = 5 * time.Second

// Receiver receives headers. Its methods may be called at any time.
type Receiver struct {
	proxies peer.Proxies
	timeout time.Duration
	local   bool
	log     *slog.Logger
	refused func(context.Context, *vgirpc.Refused)
}

// New returns a receiver. It is an error when there are no proxies, one is not an
// address, or the timeout is negative.
func New(opts Options) (*Receiver, error) {
	proxies, err := peer.ParseProxies(opts.Proxies)
	if err != nil {
		return nil, fmt.Errorf("proxyproto: %w", err)
	}
	switch {
	case opts.Timeout < 0:
		return nil, fmt.Errorf("proxyproto: Timeout %v: want a positive time", opts.Timeout)
	case opts.Timeout == 0:
		opts.Timeout = defaultTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default() //nolint:forbidigo // what the option defaults to
	}
	return &Receiver{proxies, opts.Timeout, opts.Local, opts.Logger, opts.Refused}, nil
}

// Admit implements [vgirpc.Admitter]: it reads the header. The client's address is
// that of the peer from then on, and Forwarded has the rest. The connection itself
// stays as it is.
func (r *Receiver) Admit(ctx context.Context, a *vgirpc.Admission) error {
	h, err := r.receive(ctx, a.Socket(), a.Conn)
	if err != nil {
		return err
	}
	if h.source.IsValid() {
		a.Peer.Addr = h.source.String()
		a.Forwarded = &vgirpc.Forwarded{Source: h.source, Destination: h.destination}
	}
	return nil
}

// receive reads the header of a connection, if it comes from a proxy.
func (r *Receiver) receive(ctx context.Context, socket, conn net.Conn) (header, error) {
	h, err := r.read(ctx, socket, conn)
	if err != nil {
		err = vgirpc.RefusedFor(vgirpc.RefusedProxyHeader, err)
	}
	return h, err
}

func (r *Receiver) read(ctx context.Context, socket, conn net.Conn) (header, error) {
	from, unix := immediate(socket)
	if !r.proxies.Trust(&peer.Snapshot{Immediate: from.Addr(), Unix: unix}) {
		return header{}, &vgirpc.Error{
			Code: vgirpc.PermissionDenied, Kind: KindUntrusted, Type: errType,
			Message: "only proxies that this server trusts may connect to it",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	interrupted := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() {
		_ = socket.SetReadDeadline(time.Unix(1, 0)) // long ago
		close(interrupted)
	})
	h, err := readHeader(conn, r.local)
	if !inTime() {
		<-interrupted // or it could interrupt what follows
		return header{}, &vgirpc.Error{
			Code: vgirpc.DeadlineExceeded, Kind: KindTimeout, Type: errType, Cause: context.Cause(ctx),
			Message: fmt.Sprintf("the PROXY header was not there within %v", r.timeout),
		}
	}
	return h, err
}

// immediate is the other end of a connection.
func immediate(conn net.Conn) (from netip.AddrPort, unix bool) {
	switch a := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		from = a.AddrPort()
		return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), false
	case *net.UnixAddr:
		return from, true
	}
	return from, false
}
