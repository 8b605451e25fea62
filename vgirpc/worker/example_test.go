package worker_test

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

type greetParams struct {
	Name string `vgi:"name"`
}

// The main function of a worker: what it hosts, who answers, and Main.
func Example() { //nolint:testableexamples // Main exits
	greeter := vgirpc.NewProtocol("acme.Greeter.v1", "1.0.0")
	greet := vgirpc.NewUnary[greetParams, string](greeter, "greet")

	server, err := vgirpc.NewServer(vgirpc.ServerOptions{Version: "1.4.0"}, greeter)
	if err != nil {
		fmt.Println(err)
		return
	}
	vgirpc.HandleUnary(server, greet, func(_ context.Context, p greetParams) (string, error) { return "Hello, " + p.Name, nil })
	worker.Main(server)
}

// drainOption lets the operator choose how long a stopping worker waits for the
// calls in progress.
type drainOption struct{ timeout time.Duration }

// AddFlags declares --drain-timeout.
func (o *drainOption) AddFlags(flags *pflag.FlagSet) {
	flags.DurationVar(&o.timeout, "drain-timeout", 8*time.Second, "time for calls in progress at the end")
}

// Apply hands it to the server.
func (o *drainOption) Apply(_ context.Context, setup *worker.Setup) error {
	return setup.Server().Configure(func(opts *vgirpc.ServerOptions) { opts.Conns.DrainTimeout = o.timeout })
}

// An option adds flags, and acts on them before the server serves.
func ExampleOption() { //nolint:testableexamples // Main exits
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, vgirpc.NewProtocol("acme.Empty.v1", ""))
	if err != nil {
		fmt.Println(err)
		return
	}
	worker.Main(server, &drainOption{})
}
