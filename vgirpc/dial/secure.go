package dial

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// shake does the handshake that Options ask for over a new connection. It closes
// the connection when that fails.
func (o *Options) shake(ctx context.Context, conn net.Conn) error {
	if o.Handshake == nil {
		return nil
	}
	var binding []byte
	if t, ok := conn.(*tls.Conn); ok {
		state := t.ConnectionState()
		var err error
		if binding, err = state.ExportKeyingMaterial(socket.ExporterLabel, nil, socket.ExporterBytes); err != nil {
			_ = conn.Close() // without TLS 1.3
			return vgirpc.Errorf(vgirpc.FailedPrecondition, "dial: Options.Handshake wants TLS 1.3 of the server: %w", err)
		}
	}
	if err := o.Handshake.Shake(ctx, conn, binding); err != nil {
		_ = conn.Close()
		return err
	}
	return nil
}

// dialUnix is for a connection with a handshake.
func dialUnix(ctx context.Context, path string, opts *Options) (*vgirpc.Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if err := opts.shake(ctx, conn); err != nil {
		return nil, err
	}
	return vgirpc.NewClient(conn, opts.Client), nil
}

// checkHandshake refuses a handshake where there is no socket for it: who sets one
// believes that the server proves something.
func (o *Options) checkHandshake(scheme string) error {
	switch {
	case o.Handshake == nil, scheme == schemeUnix, scheme == schemeTCP, scheme == schemeTLS:
		return nil
	}
	return vgirpc.Errorf(vgirpc.InvalidArgument, "dial: Options.Handshake is for unix:, tcp: and tcp+tls: alone")
}
