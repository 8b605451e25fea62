package prom_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/vgirpc/vgirpc-go/observability/prom"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func Example() {
	metrics, err := prom.New(prom.Options{NoRuntime: true})
	if err != nil {
		log.Fatal(err)
	}
	greeter := vgirpc.NewProtocol("Greeter", "1.0.0")
	hello := vgirpc.NewUnary[vgirpc.None, string](greeter, "hello")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Observers: []vgirpc.Observer{metrics}, RefusalObservers: []vgirpc.RefusalObserver{metrics},
	}, greeter)
	if err != nil {
		log.Fatal(err)
	}
	vgirpc.HandleUnary(server, hello, func(context.Context, vgirpc.None) (string, error) { return "hello", nil })

	ctx := context.Background()
	client, err := vgirpc.DialServer(ctx, server, vgirpc.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := hello.Call(ctx, client, vgirpc.None{}); err != nil {
		log.Fatal(err)
	}
	_ = client.Close()

	page := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "vgi_rpc_calls_total") {
			fmt.Print(line)
		}
	}
	// Output:
	// vgi_rpc_calls_total{code="OK",method="hello",protocol="Greeter",type="unary"} 1
}
