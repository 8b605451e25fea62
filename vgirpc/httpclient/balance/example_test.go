package balance_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http/httptest"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient/balance"
)

// Two replicas share the keys that seal the state of streams, and a client uses
// them as one server.
func Example() {
	type params struct {
		Name string `vgi:"name"`
	}
	p := vgirpc.NewProtocol("example.Greeter.v1", "1.0.0")
	greet := vgirpc.NewUnary[params, string](p, "greet")

	keys, err := httpserver.NewKeyRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		log.Fatal(err)
	}
	var endpoints []string
	for range 2 {
		server, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, p)
		if err != nil {
			log.Fatal(err)
		}
		vgirpc.HandleUnary(server, greet, func(_ context.Context, in params) (string, error) {
			return "Hello, " + in.Name, nil
		})
		handler, err := httpserver.New(server, httpserver.Options{Keys: keys, Replicas: 2})
		if err != nil {
			log.Fatal(err)
		}
		replica := httptest.NewServer(handler)
		defer replica.Close()
		endpoints = append(endpoints, replica.URL)
	}

	lb, err := balance.New(endpoints, balance.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer lb.Close()
	client, err := httpclient.Dial(context.Background(), lb.URL(), httpclient.Options{Transport: lb}, vgirpc.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	text, err := greet.Call(context.Background(), client, params{"Ada"})
	fmt.Println(text, err)
	// Output: Hello, Ada <nil>
}
