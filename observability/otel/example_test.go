package otel_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/vgirpc/vgirpc-go/observability/otel"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// A program that has tracer providers of its own observes both sides with them.
func Example() {
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))

	protocol := vgirpc.NewProtocol("example.Greeter", "1.0.0")
	type params struct {
		Name string `vgi:"name"`
	}
	greet := vgirpc.NewUnary[params, string](protocol, "greet")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, protocol)
	if err != nil {
		fmt.Println(err)
		return
	}
	vgirpc.HandleUnary(server, greet, func(_ context.Context, p params) (string, error) { return "Hello, " + p.Name, nil })

	opts := otel.Options{TracerProvider: provider, ServerID: server.ID(), Service: protocol.Name()}
	calls, err := otel.NewObserver(opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = server.Configure(func(o *vgirpc.ServerOptions) {
		o.Observers = append(o.Observers, calls)
		o.RefusalObservers = append(o.RefusalObservers, calls)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	callers, err := otel.NewClientObserver(opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	client, err := vgirpc.DialServer(ctx, server, vgirpc.ClientOptions{Observers: []vgirpc.ClientObserver{callers}})
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := greet.Call(ctx, client, params{"Ann"})
	fmt.Println(text, err)
	if err := client.Close(); err != nil { // waits for the server
		fmt.Println(err)
	}
	ids := map[string]string{}
	for _, s := range spans.GetSpans() {
		ids[s.SpanKind.String()] = s.SpanContext.TraceID().String()
	}
	fmt.Println(len(ids), "spans of one trace:", ids["client"] == ids["server"])
	// Output:
	// Hello, Ann <nil>
	// 2 spans of one trace: true
}
