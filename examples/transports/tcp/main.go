// TCP serves raw TCP on loopback and calls it, with a deadline that the handler
// sees.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
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
	wait = vgirpc.NewUnary[vgirpc.None, vgirpc.None](calc, "wait")
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	server, err := newServer()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := vgirpc.ListenTCP(ctx, "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()

	if err := call(ctx, listener.Addr().String()); err != nil {
		log.Fatal(err)
	}
	stop() // cuts off what is still there; see Server.Shutdown for a gentle end
	if err := <-served; err != nil {
		log.Fatal(err)
	}
}

func newServer() (*vgirpc.Server, error) {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, calc)
	if err != nil {
		return nil, err
	}
	vgirpc.HandleUnary(server, add, func(_ context.Context, p AddParams) (float64, error) { return p.A + p.B, nil })
	vgirpc.HandleUnary(server, wait, func(ctx context.Context, _ vgirpc.None) (vgirpc.None, error) {
		<-ctx.Done() // the caller's deadline, or the end of the connection
		return vgirpc.None{}, ctx.Err()
	})
	return server, nil
}

// call is the client.
func call(ctx context.Context, address string) error {
	client, err := vgirpc.DialTCP(ctx, address, vgirpc.ClientOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	sum, err := add.Call(ctx, client, AddParams{A: 1, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("1 + 2 =", sum)

	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := wait.Call(short, client, vgirpc.None{}); vgirpc.CodeOf(err) != vgirpc.DeadlineExceeded {
		return errors.New("the call has outlived its deadline")
	}
	fmt.Println("the deadline ended the call")

	// By URL, for one call. The client above may have lost its connection with
	// the call that was given up.
	sum, err = dial.CallOnce(ctx, "tcp:"+address, dial.Options{}, add, AddParams{A: 2, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("2 + 2 =", sum)
	return nil
}
