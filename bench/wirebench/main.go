//go:build linux

// Command wirebench measures what a vgi-rpc conformance worker costs: it loads
// the worker over its own wire and reports the latency and throughput that a
// client sees and the CPU time and memory that the worker spends. The last two
// are read from /proc, so it runs on Linux.
//
//	wirebench compare -worker bin/vgi-worker [-rounds 5] [-only pipe/unary] [-json out.json] [-check]
//	wirebench measure -worker bin/vgi-worker -transport pipe -case unary -n 20000
//	wirebench floor [--unix PATH | --tcp HOST:PORT | --http HOST:PORT]
//	wirebench peer --unix PATH [--store]
//
// The floor is a worker that answers canned bytes. What a call to it costs is
// the price of the transport alone. Times on a shared machine mean little, so
// compare runs floor and worker in turn, each measurement in fresh processes,
// and reports medians and their ratios.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage:
  wirebench compare -worker COMMAND [flags]   floor and worker in turn, with ratios
  wirebench measure -worker COMMAND [flags]   one measurement, as JSON
  wirebench floor [--unix PATH | --tcp ADDR | --http ADDR]
                                              the worker that answers canned bytes
  wirebench peer --unix PATH [--store]        the worker of the rows that leave the connection
Every subcommand but floor and peer explains its flags with -h.`

var errUsage = errors.New("no such subcommand")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "wirebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	switch args[0] {
	case "compare":
		return compareMain(ctx, args[1:])
	case "measure":
		return measureMain(ctx, args[1:])
	case "floor":
		return floorMain(ctx, args[1:])
	case "peer":
		return peerMain(ctx, args[1:])
	default:
		return errUsage
	}
}
