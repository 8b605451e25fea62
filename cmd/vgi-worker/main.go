// Command vgi-worker is the worker that the conformance suite runs against; its
// command line is conformance/CONTRACT.md. It is not for production.
//
//	vgi-worker demo
//
// serves a small protocol to try things with, the way a user's worker does:
// demo.go is what such a worker looks like.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vgirpc/vgirpc-go/conformance"
)

func main() {
	args := os.Args[1:]
	if len(args) == 0 || args[0] != "demo" {
		os.Exit(conformance.Main(context.Background(), args))
	}
	os.Args = append([]string{"vgi-worker demo"}, args[1:]...)
	if err := demo(); err != nil {
		fmt.Fprintf(os.Stderr, "vgi-worker demo: %v\n", err)
		os.Exit(1)
	}
}
