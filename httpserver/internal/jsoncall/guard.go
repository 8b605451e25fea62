package jsoncall

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// GuardOptions configure [Guard]. The zero value works.
type GuardOptions struct {
	// TrustedOrigins may send requests from other sites: "https://docs.example".
	TrustedOrigins []string
	// AllowedHosts are names, without a port, that a listener on loopback
	// answers to beside localhost and loopback addresses: those under which a
	// proxy on the same machine passes requests on.
	AllowedHosts []string
}

// Guard refuses requests that a page of another site could have a browser send:
//
//   - a request from another origin (403; see [http.CrossOriginProtection]);
//   - a Content-Type other than exactly application/json, which no form can
//     send and no script without a preflight (415);
//   - on a listener bound to loopback, a Host that is neither loopback nor
//     allowed, as it comes from a name that an attacker points there (403).
//
// What it refuses is answered with an [Answer] and never reaches next. It fails
// for an origin that is not scheme://host[:port], and for a host with a port.
func Guard(opts GuardOptions, next http.Handler) (http.Handler, error) {
	if next == nil {
		return nil, errors.New("jsoncall: no handler to guard")
	}
	g := &guard{next: next, hosts: map[string]bool{"localhost": true}, origins: http.NewCrossOriginProtection()}
	for _, origin := range opts.TrustedOrigins {
		if err := g.origins.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("jsoncall: trusted origin: %w", err)
		}
	}
	for _, host := range opts.AllowedHosts {
		if host == "" || strings.ContainsAny(host, "/:@ ") {
			return nil, fmt.Errorf("jsoncall: allowed host %q: want a name without a port", host)
		}
		g.hosts[canonicalHost(host)] = true
	}
	return g, nil
}

type guard struct {
	next    http.Handler
	origins *http.CrossOriginProtection
	hosts   map[string]bool
}

// ServeHTTP serves what may have been meant by the person at the browser.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	types := r.Header["Content-Type"]
	switch {
	case onLoopback(r) && !g.answersTo(r.Host):
		refuse(w, http.StatusForbidden, "this host name is not served here: allow it on the server")
	case g.origins.Check(r) != nil:
		refuse(w, http.StatusForbidden, "requests from other origins are refused")
	case len(types) != 1 || types[0] != "application/json":
		refuse(w, http.StatusUnsupportedMediaType, "Content-Type must be exactly application/json")
	default:
		g.next.ServeHTTP(w, r)
	}
}

// onLoopback reports whether the connection came in on a loopback address. It
// is asked of the connection, not of the listener's address: a listener on all
// addresses has loopback connections as well.
func onLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func (g *guard) answersTo(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = canonicalHost(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if g.hosts[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// canonicalHost is a name in lower case without the root's dot.
func canonicalHost(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

func refuse(w http.ResponseWriter, status int, message string) {
	code := vgirpc.PermissionDenied
	if status == http.StatusUnsupportedMediaType {
		code = vgirpc.InvalidArgument
	}
	a := Answer{Error: &Failure{Code: string(code), Type: "RequestRefused", Message: message}}
	body, err := a.Append(nil)
	if err != nil {
		http.Error(w, message, status)
		return
	}
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["Cache-Control"] = []string{"no-store"}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}
