package worker_test

import (
	"context"
	"fmt"
	"os"

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

// modelOption lets the operator choose a file that handlers need, and watches
// over it.
type modelOption struct{ path string }

// AddFlags declares --model, and with it VGI_RPC_MODEL and the setting model of
// the configuration file.
func (o *modelOption) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.path, "model", "", "answer with the model at `PATH`")
}

// Apply refuses a worker without the file, and tells who asks when it goes away.
func (o *modelOption) Apply(_ context.Context, setup *worker.Setup) error {
	there := func(context.Context) error {
		_, err := os.Stat(o.path)
		return err
	}
	if err := there(context.Background()); err != nil {
		return fmt.Errorf("--model: %w", err)
	}
	setup.Ready("model", there)
	return nil
}

// An option adds flags, and acts on them before the server serves.
func ExampleOption() { //nolint:testableexamples // Main exits
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, vgirpc.NewProtocol("acme.Empty.v1", ""))
	if err != nil {
		fmt.Println(err)
		return
	}
	worker.Main(server, &modelOption{})
}
