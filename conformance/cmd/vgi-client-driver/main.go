// Command vgi-client-driver puts the Go client in front of the canonical
// conformance suite: it reads operations as JSON lines on standard input and
// answers each with one line on standard output (CLIENT_DRIVER_PROTOCOL). It is a
// test fixture; see package clientdriver.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vgirpc/vgirpc-go/conformance/clientdriver"
)

func main() {
	if err := clientdriver.Run(context.Background(), os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "vgi-client-driver: %v\n", err)
		os.Exit(1)
	}
}
