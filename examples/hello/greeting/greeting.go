// Package greeting is the contract of the example: what its server and its
// client share. Renaming a field or a method breaks the build of both, and not
// a call in production.
package greeting

import "github.com/vgirpc/vgirpc-go/vgirpc"

// Protocol is the contract's name and version.
var Protocol = vgirpc.NewProtocol("example.Greeting.v1", "1.0.0")

// Hello greets somebody.
var Hello = vgirpc.NewUnary[HelloParams, string](Protocol, "hello")

// HelloParams are the parameters of [Hello].
type HelloParams struct {
	Name string `vgi:"name"`
}

// Countdown streams one row for each number, down to 1.
var Countdown = vgirpc.NewProducer[CountdownParams, Number](Protocol, "countdown")

// CountdownParams are the parameters of [Countdown].
type CountdownParams struct {
	From int64 `vgi:"from"`
}

// Number is a row of [Countdown].
type Number struct {
	N int64 `vgi:"n"`
}
