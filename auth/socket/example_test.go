//go:build unix

package socket_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
)

// A server and a client that share a secret, over a Unix socket that serves one
// client at a time.
func Example() {
	if err := example(); err != nil {
		fmt.Println(err)
	}
	// Output: the caller is laptop
}

func example() error {
	secrets, err := socket.ParseSecrets("laptop 7d5c1a0e3b9f48627d5c1a0e3b9f48627d5c1a0e3b9f48627d5c1a0e3b9f4862")
	if err != nil {
		return err
	}
	handshake, err := socket.NewHandshake(socket.HandshakeOptions{Mode: socket.HMAC, Secrets: secrets})
	if err != nil {
		return err
	}
	oneClient, err := socket.NewConnectionPolicy(socket.PolicyOptions{Total: 1})
	if err != nil {
		return err
	}
	calc := vgirpc.NewProtocol("example.Who.v1", "1.0.0")
	who := vgirpc.NewUnary[vgirpc.None, string](calc, "who")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Conns: vgirpc.ConnOptions{Admit: []vgirpc.Admitter{handshake, oneClient}},
	}, calc)
	if err != nil {
		return err
	}
	vgirpc.HandleUnary(server, who, func(ctx context.Context, _ vgirpc.None) (string, error) {
		return vgirpc.CallFrom(ctx).Peer().Identity.Principal, nil
	})

	dir, err := os.MkdirTemp("", "vgi")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, stop := context.WithCancel(context.Background())
	listener, err := vgirpc.ListenUnix(ctx, filepath.Join(dir, "s"), vgirpc.UnixOptions{})
	if err != nil {
		stop()
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	defer func() { stop(); <-served }()

	client, err := socket.NewClient(socket.ClientOptions{Mode: socket.HMAC, Secrets: secrets})
	if err != nil {
		return err
	}
	caller, err := dial.CallOnce(ctx, "unix:"+listener.Addr().String(), dial.Options{Handshake: client}, who, vgirpc.None{})
	if err != nil {
		return err
	}
	fmt.Println("the caller is", caller)
	return nil
}
