// Package peercert says how long a TLS connection may rest on its peer's
// certificate: what serves one over HTTP and what serves one on a raw socket ask
// the same.
package peercert

import (
	"crypto/tls"
	"time"
)

// ValidUntil is when the peer's certificate ends, or the last chain does that
// vouches for it; zero when there is none.
func ValidUntil(state *tls.ConnectionState) time.Time {
	if len(state.PeerCertificates) == 0 {
		return time.Time{}
	}
	if len(state.VerifiedChains) == 0 {
		return state.PeerCertificates[0].NotAfter
	}
	var last time.Time
	for _, chain := range state.VerifiedChains {
		until := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(until) {
				until = c.NotAfter
			}
		}
		if until.After(last) {
			last = until
		}
	}
	return last
}
