// Unix serves a Unix socket and calls it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
)

// AddParams are the parameters of add.
type AddParams struct {
	A float64 `vgi:"a"`
	B float64 `vgi:"b"`
}

var (
	calc = vgirpc.NewProtocol("example.Calc.v1", "1.0.0")
	add  = vgirpc.NewUnary[AddParams, float64](calc, "add")
)

func main() {
	dir, err := os.MkdirTemp("", "vgi") // a directory that nobody else enters
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := run(context.Background(), filepath.Join(dir, "calc.sock")); err != nil {
		log.Fatal(err)
	}
}

// run serves path for as long as it calls it.
func run(ctx context.Context, path string) error {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, calc)
	if err != nil {
		return err
	}
	vgirpc.HandleUnary(server, add, func(_ context.Context, p AddParams) (float64, error) { return p.A + p.B, nil })
	listener, err := vgirpc.ListenUnix(ctx, path, vgirpc.UnixOptions{})
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()

	if err := call(ctx, path); err != nil {
		return err
	}

	// The end in good order: no new connections, and time for calls in progress.
	_ = listener.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	return <-served
}

// call is the client.
func call(ctx context.Context, path string) error {
	client, err := vgirpc.DialUnix(ctx, path, vgirpc.ClientOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	sum, err := add.Call(ctx, client, AddParams{A: 1, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("1 + 2 =", sum)

	// The same by URL, for one call.
	sum, err = dial.CallOnce(ctx, "unix:"+path, dial.Options{}, add, AddParams{A: 2, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("2 + 2 =", sum)
	return nil
}
