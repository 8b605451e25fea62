//go:build linux

// Peers measures vgi-rpc side by side with what one would use in its place:
// grpc-go, connect-go and Arrow Flight, all of them Go client to Go server,
// doing the same work in one run, and beside each the price of the transport
// alone, which is an echo of as many bytes.
//
//	go run -C bench/peers . [-rounds 5] [-scale 1] [-only unix] [-json FILE] [-check]
//
// It prints Markdown: docs/benchmarks.md holds one such run and says how to
// read it. Every measurement is made by a client process of its own against a
// server process of its own, both of which are this program again.
//
// It is a module of its own, so that vgi-rpc itself depends on none of them.
package main
