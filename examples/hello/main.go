// Hello is a small vgi-rpc server, to be copied. Its contract, which a client
// imports as well, is package greeting beside it; everything else a worker
// needs, from the command line to the end on a signal, is [worker.Main].
//
//	go build -o hello ./examples/hello
//	go run ./examples/hello/client ./hello           # call it over stdio
//	./hello --unix /tmp/hello.sock                   # or serve a socket
//	./hello --help
//
// A client in any language can call it, the Python one for instance:
//
//	vgi-rpc --cmd ./hello call hello name=Ada
//	vgi-rpc --cmd ./hello call countdown from=3
package main

import (
	"context"
	"io"
	"log"

	"github.com/vgirpc/vgirpc-go/examples/hello/greeting"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

func main() {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, greeting.Protocol)
	if err != nil {
		log.Fatal(err)
	}
	vgirpc.HandleUnary(server, greeting.Hello, hello)
	vgirpc.HandleProducer(server, greeting.Countdown, startCountdown)
	worker.Main(server)
}

func hello(_ context.Context, p greeting.HelloParams) (string, error) {
	return "Hello, " + p.Name + "!", nil
}

func startCountdown(_ context.Context, p greeting.CountdownParams) (*countdown, error) {
	return &countdown{Left: p.From}, nil
}

// countdown is one open stream. Produce runs for each turn that the client
// asks for: it emits one batch of rows, or ends with io.EOF.
type countdown struct{ Left int64 }

func (c *countdown) Produce(_ context.Context, out *vgirpc.Emitter[greeting.Number]) error {
	if c.Left <= 0 {
		return io.EOF
	}
	c.Left--
	return out.Emit(greeting.Number{N: c.Left + 1})
}
