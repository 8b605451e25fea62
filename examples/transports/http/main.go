// HTTP serves HTTP with a bearer token and calls it.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
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

// token stands for a secret. Yours come from a file: auth.BearerOptions.File.
const token = "example-token"

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

	if err := call(ctx, "http://"+listener.Addr().String()+"/vgi"); err != nil {
		log.Fatal(err)
	}

	// The end in good order: no new connections, and time for calls in flight.
	ending, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		log.Fatal(err)
	}
	if err := <-served; err != nil {
		log.Fatal(err)
	}
}

// newServer puts together what HTTP needs: the methods, a handler of HTTP that
// lets in whoever has the token, and a server with timeouts.
func newServer() (*httpserver.Server, error) {
	methods, err := vgirpc.NewServer(vgirpc.ServerOptions{}, calc)
	if err != nil {
		return nil, err
	}
	vgirpc.HandleUnary(methods, add, func(_ context.Context, p AddParams) (float64, error) { return p.A + p.B, nil })
	bearer, err := auth.NewBearer(auth.BearerOptions{Tokens: []auth.BearerToken{{Token: token, Principal: "ada"}}})
	if err != nil {
		return nil, err
	}
	handler, err := httpserver.New(methods, httpserver.Options{
		Prefix: "/vgi", Auth: bearer, Challenge: "Bearer", MaxRequestBytes: 64 << 20,
	})
	if err != nil {
		return nil, err
	}
	return httpserver.NewServer(handler, httpserver.ServeOptions{})
}

// call is the client.
func call(ctx context.Context, url string) error {
	opts := httpclient.Options{Header: http.Header{"Authorization": {"Bearer " + token}}}
	client, err := httpclient.Dial(ctx, url, opts, vgirpc.ClientOptions{})
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
	sum, err = dial.CallOnce(ctx, url, dial.Options{HTTP: opts}, add, AddParams{A: 2, B: 2})
	if err != nil {
		return err
	}
	fmt.Println("2 + 2 =", sum)

	// And by somebody without the token.
	_, err = dial.CallOnce(ctx, url, dial.Options{}, add, AddParams{A: 2, B: 2})
	fmt.Println("without the token:", vgirpc.CodeOf(err))
	return nil
}
