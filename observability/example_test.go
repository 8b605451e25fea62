package observability_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/vgirpc/vgirpc-go/observability"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

type greetParams struct {
	Name string `vgi:"name"`
}

// An access log is an observer of a server. It knows which parameters a call
// had, and never their values.
func Example() {
	greeter := vgirpc.NewProtocol("acme.Greeter.v1", "1.0.0")
	greet := vgirpc.NewUnary[greetParams, string](greeter, "greet")

	var out bytes.Buffer
	log := observability.NewAccessLog(&out, observability.AccessLogOptions{})
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{Observers: []vgirpc.Observer{log}}, greeter)
	if err != nil {
		fmt.Println(err)
		return
	}
	vgirpc.HandleUnary(server, greet, func(_ context.Context, p greetParams) (string, error) { return "Hello, " + p.Name, nil })

	ctx := context.Background()
	client, err := vgirpc.DialServer(ctx, server, vgirpc.ClientOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := greet.Call(ctx, client, greetParams{Name: "Ada"})
	fmt.Println(text, err)
	_ = client.Close() // the record is written when the call is over

	var record struct {
		Message string `json:"message"`
		Fields  any    `json:"request_fields"`
	}
	fmt.Println(json.Unmarshal(out.Bytes(), &record), record.Message, record.Fields)
	// Output:
	// Hello, Ada <nil>
	// <nil> acme.Greeter.v1.greet ok [map[name:name type:string]]
}
