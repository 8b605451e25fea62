package vgirpc_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// The contract of the README's example: client and server share it.
type AddParams struct {
	A float64 `vgi:"a"`
	B float64 `vgi:"b"`
}

type CountParams struct {
	N int64 `vgi:"n"`
}

type Row struct {
	Number int64 `vgi:"number"`
}

var (
	Calc  = vgirpc.NewProtocol("Calc", "1.0.0")
	Add   = vgirpc.NewUnary[AddParams, float64](Calc, "add")
	Count = vgirpc.NewProducer[CountParams, Row](Calc, "count")
)

// Counter is one open stream.
type Counter struct{ At, N int64 }

// Produce sends the next batch, or ends the stream.
func (c *Counter) Produce(_ context.Context, out *vgirpc.Emitter[Row]) error {
	if c.At == c.N {
		return io.EOF
	}
	c.At++
	return out.Emit(Row{c.At})
}

func newServer() (*vgirpc.Server, error) {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, Calc)
	if err != nil {
		return nil, err
	}
	vgirpc.HandleUnary(server, Add, func(_ context.Context, p AddParams) (float64, error) {
		return p.A + p.B, nil
	})
	vgirpc.HandleProducer(server, Count, func(_ context.Context, p CountParams) (*Counter, error) {
		return &Counter{N: p.N}, nil
	})
	return server, nil
}

func call(ctx context.Context, client *vgirpc.Client) error {
	sum, err := Add.Call(ctx, client, AddParams{A: 1, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("1 + 2 =", sum)
	stream, err := Count.Open(ctx, client, CountParams{N: 3})
	if err != nil {
		return err
	}
	for rows, err := range stream.All() {
		if err != nil {
			return err
		}
		fmt.Println(rows[0].Number)
	}
	return nil
}

// A server and a client of it in one process; the same client works over every
// transport.
func Example() {
	server, err := newServer()
	if err != nil {
		log.Fatal(err)
	}
	client, err := vgirpc.DialServer(context.Background(), server, vgirpc.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if err := call(context.Background(), client); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 1 + 2 = 3
	// 1
	// 2
	// 3
}
