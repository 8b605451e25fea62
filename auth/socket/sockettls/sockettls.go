// Package sockettls puts TLS around raw TCP connections, before their first
// message: an admitter for vgirpc.ConnOptions.Admit. It names callers by their
// certificates, by rules that are given to it, and it gives what comes after it,
// the handshake of package socket for instance, the binding of the connection.
//
// It is a package of its own because crypto/tls is 2 MB of a binary.
package sockettls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/internal/peercert"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Options configure [New].
type Options struct {
	// Config has the server's certificate, and says whether clients must have
	// one. TLS 1.3 is the least version when it names none. See [Files] for one
	// whose files may change.
	Config *tls.Config
	// Identify names the caller by a certificate that was verified. Nobody is
	// named when nil. It is not asked about a connection without a certificate. An
	// error refuses the connection, as that of an Admitter does. The rules of
	// package auth/mtls are
	//
	//	func(s *tls.ConnectionState) (vgirpc.Identity, error) {
	//		return authenticator.Authenticate(&http.Request{TLS: s})
	//	}
	Identify func(*tls.ConnectionState) (vgirpc.Identity, error)
}

// TLS is the admitter.
type TLS struct {
	config   *tls.Config
	identify func(*tls.ConnectionState) (vgirpc.Identity, error)
}

// New returns the admitter. It fails without a certificate.
func New(opts Options) (*TLS, error) {
	c := opts.Config
	if c == nil || (len(c.Certificates) == 0 && c.GetCertificate == nil && c.GetConfigForClient == nil) {
		return nil, errors.New("sockettls: want a Config with a certificate")
	}
	c = c.Clone()
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS13
	}
	return &TLS{c, opts.Identify}, nil
}

// Admit implements [vgirpc.Admitter]. A connection does not outlive its client's
// certificate.
func (t *TLS) Admit(ctx context.Context, a *vgirpc.Admission) error {
	conn := tls.Server(a.Conn, t.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		a.Told = true // by an alert, or there is no way to
		return fmt.Errorf("sockettls: %w", err)
	}
	a.Conn = conn
	state := conn.ConnectionState()
	binding, err := state.ExportKeyingMaterial(socket.ExporterLabel, nil, socket.ExporterBytes)
	if err != nil && state.Version >= tls.VersionTLS13 {
		return fmt.Errorf("sockettls: %w", err)
	}
	a.EndBy(peercert.ValidUntil(&state))
	a.Binding = binding // none with TLS 1.2 and without its extended master secret
	if t.identify == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	id, err := t.identify(&state)
	if err != nil {
		return fmt.Errorf("sockettls: %w", err)
	}
	a.Vouch(id)
	return nil
}
