package external

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// policy says what may be fetched: URLs by their origin, and addresses at the
// moment when a socket connects to them.
type policy struct {
	origins []origin
	trusted net.Dialer // for hosts that an origin names
	guarded net.Dialer // for all others: public addresses only
}

// origin is one entry of Options.AllowedOrigins.
type origin struct {
	scheme string
	host   string // lower case; what follows the "*" of a pattern
	port   string // "" is every port
	below  bool   // host is a suffix: a pattern
}

func newPolicy(allowed []string) (*policy, error) {
	p := &policy{}
	for _, s := range allowed {
		o, err := parseOrigin(s)
		if err != nil {
			return nil, fmt.Errorf("external: allowed origin %q: %w", s, err)
		}
		p.origins = append(p.origins, o)
	}
	p.trusted = net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	p.guarded = p.trusted
	p.guarded.Control = onlyPublic
	return p, nil
}

func parseOrigin(s string) (origin, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || s != u.Scheme+"://"+u.Host:
		return origin{}, errors.New("want scheme://host or scheme://host:port, and nothing else")
	case u.Scheme != "https" && u.Scheme != "http":
		return origin{}, errors.New("the scheme must be https or http")
	}
	o := origin{scheme: u.Scheme, host: canonicalHost(u.Hostname()), port: u.Port()}
	switch {
	case o.host == "*" || strings.HasPrefix(o.host, "*."):
		o.host, o.below = o.host[1:], true
		if o.scheme == "http" {
			return origin{}, errors.New("plain http needs a host by name")
		}
	case o.host == "":
		return origin{}, errors.New("no host")
	}
	if strings.Contains(o.host, "*") {
		return origin{}, errors.New("a * may only stand for the leading labels of a host")
	}
	return o, nil
}

func canonicalHost(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// covers reports whether o is an origin of that host and port.
func (o *origin) covers(host, port string) bool {
	if o.port != "" && o.port != port {
		return false
	}
	if o.below {
		return strings.HasSuffix(host, o.host)
	}
	return host == o.host
}

// check refuses a URL that must not be requested.
func (p *policy) check(u *url.URL) error {
	host, port := canonicalHost(u.Hostname()), u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	if host != "" && slices.ContainsFunc(p.origins, func(o origin) bool { return o.scheme == u.Scheme && o.covers(host, port) }) {
		return nil
	}
	if u.Scheme != "https" && !slices.ContainsFunc(p.origins, func(o origin) bool { return o.scheme == u.Scheme }) {
		return rejected("scheme %q of %s is not allowed", u.Scheme, redactURL(u))
	}
	return rejected("the origin of %s is not among those that may be fetched", redactURL(u))
}

func rejected(format string, args ...any) error {
	return refusef(vgirpc.PermissionDenied, "URL rejected: "+format, args...)
}

// dial connects to a host that check let through.
func (p *policy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	host = canonicalHost(host)
	if slices.ContainsFunc(p.origins, func(o origin) bool { return !o.below && o.covers(host, port) }) {
		return p.trusted.DialContext(ctx, network, addr)
	}
	return p.guarded.DialContext(ctx, network, addr)
}

// errNotPublic refuses an address after its name was resolved. It says nothing
// of the address: what a name means inside the network is not for the peer.
var errNotPublic = errors.New("the host's address is not a public one")

// onlyPublic runs between the making of a socket and its connecting, with the
// address that will be connected to: a name cannot change its mind after that.
func onlyPublic(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !public(ap.Addr()) {
		return errNotPublic
	}
	return nil
}

// public reports whether an address is one of the public internet.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if translated.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// special are the ranges that look like global unicast and are not: shared,
// documentation, benchmarking and reserved ones, and those that carry an IPv4
// address for somebody else to connect to (IANA special-purpose registries).
var special = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
	"3fff::/20", "5f00::/16", "fec0::/10",
)

// translated is where networks without IPv4 reach it: what counts is the address
// inside (RFC 6052).
var translated = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}
