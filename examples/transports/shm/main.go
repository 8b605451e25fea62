// Shm calls a server on a Unix socket, and large values go through memory that
// both sides see.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// EchoParams are the parameters of echo.
type EchoParams struct {
	Data []byte `vgi:"data"`
}

var (
	files = vgirpc.NewProtocol("example.Files.v1", "1.0.0")
	echo  = vgirpc.NewUnary[EchoParams, []byte](files, "echo")
)

func main() {
	dir, err := os.MkdirTemp("", "vgi") // a directory that nobody else enters
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := run(context.Background(), filepath.Join(dir, "files.sock")); err != nil {
		log.Fatal(err)
	}
}

// run serves path for as long as it calls it.
func run(ctx context.Context, path string) error {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{SharedMemory: shm.Serve(shm.Options{})}, files)
	if err != nil {
		return err
	}
	vgirpc.HandleUnary(server, echo, func(_ context.Context, p EchoParams) ([]byte, error) { return p.Data, nil })
	listener, err := vgirpc.ListenUnix(ctx, path, vgirpc.UnixOptions{})
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	if err := call(ctx, path); err != nil {
		return err
	}
	_ = listener.Close()
	return <-served
}

// call is the client.
func call(ctx context.Context, path string) error {
	client, err := vgirpc.DialUnix(ctx, path, vgirpc.ClientOptions{SharedMemory: shm.Client(shm.OwnerOptions{})})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	sent := bytes.Repeat([]byte("columns"), 1<<17)
	got, err := echo.Call(ctx, client, EchoParams{Data: sent})
	if err != nil {
		return err
	}
	fmt.Println(len(got), "bytes came back, as they were:", bytes.Equal(got, sent))
	return nil
}
