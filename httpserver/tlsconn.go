package httpserver

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/peercert"
)

// hasCertificate reports whether a configuration can be one of a server.
func hasCertificate(c *tls.Config) bool {
	return len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil
}

// connContext is the context of a connection's requests. A connection of the
// listener that has a method ConnContext, as one has whose proxy has sent a PROXY
// header (package auth/proxyproto), adds to it what it knows.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	for {
		switch c := conn.(type) {
		case interface {
			ConnContext(ctx context.Context) context.Context
		}:
			return c.ConnContext(ctx)
		case *guardedConn:
			conn = c.Conn
		case *tls.Conn:
			conn = c.NetConn()
		default:
			return ctx
		}
	}
}

// renewal is how long before the end of its client's certificate a connection
// is not used any further.
const renewal = time.Minute

// certificateEnds refuses a request whose connection has outlived its client's
// certificate, and reports whether it did so.
func certificateEnds(w http.ResponseWriter, r *http.Request) bool {
	until := peercert.ValidUntil(r.TLS)
	if until.IsZero() {
		return false
	}
	left := time.Until(until)
	if left > renewal {
		return false
	}
	w.Header().Set("Connection", "close") // HTTP/2 makes a GOAWAY of it
	if left > 0 {
		return false
	}
	http.Error(w, "the certificate of this connection's client has expired: connect again with another one", http.StatusUnauthorized)
	return true
}
