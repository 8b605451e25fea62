package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// The limits of a request's headers (transport-identity-spec.md).
const (
	MaxHeaderValues = 256    // lines
	MaxHeaderBytes  = 65_536 // of names and values
)

var (
	errHeaders   = fmt.Errorf("peer: more than %d header lines or %d bytes of them", MaxHeaderValues, MaxHeaderBytes)
	errHeader    = errors.New("peer: a header with control characters")
	errTwoHeader = errors.New("peer: a header that identifies a peer comes twice")
)

// Snapshot is what a transport knows of a request, or of a connection that keeps
// its peer. Providers share one and must not change it.
type Snapshot struct {
	Transport string // "http", "tcp", "iroh", …
	// Immediate is the address at the other end of the connection itself, by
	// which proxies are trusted. It is invalid on a Unix socket.
	Immediate netip.Addr
	Unix      bool // the connection came over a Unix socket
	// Source is "ip:port" of the other end of the connection itself, and Asserted
	// what a trusted proxy has said that it is, "" when none has.
	Source, Asserted string
	// Destination is "ip:port" at this end, as far as it is known; Authority is
	// what the request names, which is no address that could be trusted.
	Destination, Authority string
	// Service is the name that the operator has given the service.
	Service string
	// Header has canonical names, and each line of the request as a value.
	Header http.Header
	// TLS is the state of the connection itself, nil without.
	TLS *tls.ConnectionState
	// IrohEndpoint is the endpoint that a bridge has named before the first byte
	// of a connection (package auth/peer/iroh), 64 lower-case digits or "".
	IrohEndpoint string
	// Metadata is whatever else a transport has to tell its providers.
	Metadata Object
}

// Conn is what is known of a connection beyond its two addresses, because a
// trusted proxy has sent a PROXY header before its first byte.
type Conn struct {
	// Immediate is the proxy: the other end of the connection itself.
	Immediate netip.AddrPort
	// Unix says that it came over a Unix socket, and has no address.
	Unix bool
	// Source and Destination are what the proxy has asserted, invalid when it
	// has not.
	Source, Destination netip.AddrPort
	// IrohEndpoint is as in [Snapshot].
	IrohEndpoint string
}

type connKey struct{}

// WithConn is for a server whose listener reads PROXY headers: its ConnContext
// puts here what it knows of the connection, because the addresses of its
// requests are those that the proxy asserts.
func WithConn(ctx context.Context, c Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// ConnOf is what [WithConn] has put into the context of a request. Whoever trusts
// proxies by their addresses has to look here first.
func ConnOf(ctx context.Context) (Conn, bool) {
	c, ok := ctx.Value(connKey{}).(Conn)
	return c, ok
}

// FromRequest is the snapshot of an HTTP request. It fails when the request's
// headers exceed [MaxHeaderValues] or [MaxHeaderBytes], have control characters,
// or have one name in two spellings.
func FromRequest(r *http.Request, service string) (*Snapshot, error) {
	if err := checkHeader(r.Header); err != nil {
		return nil, err
	}
	s := &Snapshot{Transport: "http", Authority: r.Host, Service: service, Header: r.Header, TLS: r.TLS}
	if c, ok := ConnOf(r.Context()); ok {
		s.Immediate, s.Unix, s.IrohEndpoint = c.Immediate.Addr().Unmap(), c.Unix, c.IrohEndpoint
		s.Source, s.Asserted, s.Destination = endpoint(c.Immediate), endpoint(c.Source), endpoint(c.Destination)
		return s, nil
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local != nil && local.Network() == "unix" {
		s.Unix = true
		return s, nil
	}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		s.Immediate, s.Source = from.Addr().Unmap(), endpoint(from)
	}
	if tcp, ok := local.(*net.TCPAddr); ok {
		s.Destination = endpoint(tcp.AddrPort())
	}
	return s, nil
}

// endpoint is "ip:port", "" for none.
func endpoint(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

func checkHeader(h http.Header) error {
	lines, size := 0, 0
	for name, values := range h {
		if canonical := http.CanonicalHeaderKey(name); canonical != name {
			if _, twice := h[canonical]; twice {
				return errTwoHeader
			}
		}
		if name == "" || strings.ContainsAny(name, "\r\n\x00") {
			return errHeader
		}
		lines += len(values)
		for _, value := range values {
			size += len(name) + len(value)
			if strings.ContainsAny(value, "\r\n\x00") {
				return errHeader
			}
		}
		if lines > MaxHeaderValues || size > MaxHeaderBytes {
			return errHeaders
		}
	}
	return nil
}

// One is the value of a header that may come once. It fails when it comes twice,
// be it with the same value. The name is canonical.
func (s *Snapshot) One(name string) (value string, ok bool, err error) {
	switch values := s.Header[name]; len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	}
	return "", false, errTwoHeader
}

// Proxies are the addresses of the proxies whose headers are believed, each on
// its own: a network is not a boundary that this package would trust.
type Proxies struct {
	addresses map[netip.Addr]struct{}
	unix      bool
}

// ParseProxies reads IP addresses, or "unix" for whoever connects over a Unix
// socket. It is an error when there are none, one is anything else, such as a
// network or a host's name, or one occurs twice.
func ParseProxies(list []string) (Proxies, error) {
	p := Proxies{addresses: map[netip.Addr]struct{}{}}
	if len(list) == 0 {
		return p, errors.New("no proxies: anybody could set the header")
	}
	for _, text := range list {
		if text == "unix" && !p.unix {
			p.unix = true
			continue
		}
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() {
			return p, fmt.Errorf("the proxy %q is not one IP address, nor \"unix\"", text)
		}
		if _, twice := p.addresses[addr.Unmap()]; twice || text == "unix" {
			return p, fmt.Errorf("the proxy %q occurs twice", text)
		}
		p.addresses[addr.Unmap()] = struct{}{}
	}
	return p, nil
}

// Trust reports whether the connection comes from one of the proxies.
func (p Proxies) Trust(s *Snapshot) bool {
	if s.Unix {
		return p.unix
	}
	_, ok := p.addresses[s.Immediate.Unmap()]
	return ok && s.Immediate.IsValid()
}

// ImmediateAddr is the address of the connection's other end as text, "" when it
// has none.
func (s *Snapshot) ImmediateAddr() string {
	if !s.Immediate.IsValid() {
		return ""
	}
	return s.Immediate.String()
}
