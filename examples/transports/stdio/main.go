// Stdio starts a copy of itself as a worker and calls it over its standard
// input and output.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
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
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(serve(os.Args[2:]))
	}
	if err := call(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// serve is the worker. A program that is nothing else ends its main function
// with worker.Main(server).
func serve(args []string) int {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, calc)
	if err != nil {
		log.Fatal(err)
	}
	vgirpc.HandleUnary(server, add, func(_ context.Context, p AddParams) (float64, error) { return p.A + p.B, nil })
	return worker.Run(context.Background(), server, args)
}

// call is the client.
func call(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	client, err := subprocess.New(ctx, subprocess.Options{Command: []string{self, "worker"}, Stderr: os.Stderr}, vgirpc.ClientOptions{})
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

	// The same by URL, for one call.
	sum, err = dial.CallOnce(ctx, "stdio:'"+self+"' worker", dial.Options{}, add, AddParams{A: 2, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("2 + 2 =", sum)
	return nil
}
