// Inproc calls a server of its own process.
package main

import (
	"context"
	"fmt"
	"log"

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
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, calc)
	if err != nil {
		log.Fatal(err)
	}
	vgirpc.HandleUnary(server, add, func(_ context.Context, p AddParams) (float64, error) { return p.A + p.B, nil })
	if err := call(context.Background(), server); err != nil {
		log.Fatal(err)
	}
}

// call is the client.
func call(ctx context.Context, server *vgirpc.Server) error {
	client, err := vgirpc.DialServer(ctx, server, vgirpc.ClientOptions{})
	if err != nil {
		return err
	}
	sum, err := add.Call(ctx, client, AddParams{A: 1, B: 2})
	if err != nil {
		_ = client.Close() // the call's error says more
		return err
	}
	fmt.Println("1 + 2 =", sum)
	if err := client.Close(); err != nil {
		return err
	}

	// The same by URL, for one call: the program says what the names mean.
	opts := dial.Options{Servers: map[string]*vgirpc.Server{"calc": server}}
	sum, err = dial.CallOnce(ctx, "inproc:calc", opts, add, AddParams{A: 2, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("2 + 2 =", sum)
	return nil
}
