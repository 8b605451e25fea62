//go:build unix

package vgirpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// A call on a Unix socket brings an open file, which its handler reads.
func ExampleWithFiles() {
	files := vgirpc.NewProtocol("example.Files.v1", "1.0.0")
	read := vgirpc.NewUnary[vgirpc.None, string](files, "read")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, files)
	if err != nil {
		fmt.Println(err)
		return
	}
	vgirpc.HandleUnary(server, read, func(ctx context.Context, _ vgirpc.None) (string, error) {
		passed := vgirpc.CallFrom(ctx).Files() // ours from here on
		if len(passed) != 1 {
			return "", vgirpc.Errorf(vgirpc.InvalidArgument, "%d files came: want one", len(passed))
		}
		defer func() { _ = passed[0].Close() }()
		text, err := io.ReadAll(passed[0])
		return string(text), err
	})

	if err := callWithFile(server, read); err != nil {
		fmt.Println(err)
	}
	// Output: what only the caller may open
}

// callWithFile serves a socket for as long as it calls it.
func callWithFile(server *vgirpc.Server, read *vgirpc.Unary[vgirpc.None, string]) error {
	dir, err := os.MkdirTemp("", "vgi")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	var l net.Listener
	if l, err = vgirpc.ListenUnix(ctx, filepath.Join(dir, "s"), vgirpc.UnixOptions{}); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	client, err := vgirpc.DialUnix(ctx, l.Addr().String(), vgirpc.ClientOptions{})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("what only the caller may open"), 0o600); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	text, err := read.Call(vgirpc.WithFiles(ctx, f), client, vgirpc.None{})
	fmt.Println(text)
	return errors.Join(err, f.Close(), client.Close(), l.Close(), <-served)
}
