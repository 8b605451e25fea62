package httpserver

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// forwarded is the address that trusted proxies forward a request for, if they
// do. The address of the connection stays what it is: identity rests on that.
//
// Behind package auth/proxyproto the address that the PROXY header asserts stands
// for the connection's here: one within TrustedProxies may forward, and the proxy
// that sent the header may not by its own address. It counts for limits and logs,
// and for nothing else.
//
// What a proxy appends stands last in the header, so it is read from its end, as
// long as what it names is a trusted proxy. Whatever is no address ends the
// search: nothing to the left of it can be believed. This is the rule of
// middleware.ClientIPFromXFF in package chi, which opens a route when it is
// imported.
func (h *Handler) forwarded(r *http.Request) (netip.Addr, bool) {
	if len(h.opts.TrustedProxies) == 0 || !h.trusts(remoteAddr(r)) {
		return netip.Addr{}, false
	}
	for _, rest := range slices.Backward(r.Header["X-Forwarded-For"]) {
		more := true
		for more {
			var entry string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				entry, more = rest, false
			}
			if entry = strings.Trim(entry, " \t"); entry == "" {
				continue
			}
			addr, err := netip.ParseAddr(entry)
			if err != nil {
				return netip.Addr{}, false
			}
			if addr = plain(addr); !h.trusts(addr) {
				return addr, true
			}
		}
	}
	return netip.Addr{}, false
}

// trusts reports whether an address is that of a trusted proxy.
func (h *Handler) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(h.opts.TrustedProxies, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// plain is an address in the one form that is compared.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// remoteAddr is the address of the connection, or the one that a PROXY header
// gives it; invalid for a Unix socket.
func remoteAddr(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return plain(from.Addr())
}

// clientAddr is where a request comes from, as far as it can be trusted.
func (h *Handler) clientAddr(r *http.Request) netip.Addr {
	if addr, ok := h.forwarded(r); ok {
		return addr
	}
	return remoteAddr(r)
}

// addressLimited refuses what one address asks too often, before anybody looks at
// who is calling. Health is for load balancers, which all come from one place.
func (h *Handler) addressLimited(next http.Handler) http.Handler {
	limit := h.opts.AddressLimit
	if limit == nil || next == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := h.begun()
		if !h.isHealth(r) {
			if err := limit.Take(h.clientAddr(r)); err != nil {
				h.tooMany(w, r, refusedRequest{reason: vgirpc.RefusedAddressRate, err: err, began: began})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// overLimit reports whether a caller asked too often, and answers it then.
func (h *Handler) overLimit(w http.ResponseWriter, r *http.Request, id *vgirpc.Identity) bool {
	if h.opts.PrincipalLimit == nil {
		return false
	}
	err := h.opts.PrincipalLimit.Take(id)
	if err != nil {
		h.tooMany(w, r, refusedRequest{reason: vgirpc.RefusedPrincipalRate, err: err, who: id, began: h.begun()})
	}
	return err != nil
}

// tooMany answers with 429, in the form that the request is of.
func (h *Handler) tooMany(w http.ResponseWriter, r *http.Request, f refusedRequest) {
	f.status = http.StatusTooManyRequests
	f.to, _ = h.callOf(r.URL.EscapedPath())
	switch {
	case r.Method != http.MethodPost:
		announceError(w.Header(), f.status, f.err)
		http.Error(w, "too many requests: try again later", f.status)
	case h.json != nil && isJSONCall(r):
		h.json.fail(h.newRequest(w, r, f.to), f.status, f.err)
	default:
		h.refuse(w, r, &statusError{f.status, f.err})
	}
	h.report(w, r, f)
}
