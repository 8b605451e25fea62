// Tool keeps a risky piece of work in a process of its own: it starts a copy of
// itself as a worker, calls it, and outlives its death.
//
//	go run ./examples/tool
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// The contract between the tool and its worker.
var (
	text  = vgirpc.NewProtocol("example.Text.v1", "1.0.0")
	count = vgirpc.NewUnary[CountParams, Counts](text, "count")
)

// CountParams are the parameters of count.
type CountParams struct {
	Text string `vgi:"text"`
}

// Counts are its result.
type Counts struct {
	Words int64 `vgi:"words"`
	PID   int64 `vgi:"pid"` // of the process that has counted
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(work(os.Args[2:]))
	}
	if err := run(context.Background(), os.Stdout, os.Stderr); err != nil {
		log.Fatal(err)
	}
}

// poison is a text that kills the worker, as a fault in a C library would.
const poison = "a text that nobody can read"

// work is the worker's side.
func work(args []string) int {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, text)
	if err != nil {
		log.Fatal(err)
	}
	vgirpc.HandleUnary(server, count, func(_ context.Context, p CountParams) (Counts, error) {
		// What it prints goes to standard error: standard output is the wire.
		fmt.Printf("counting %q\n", p.Text)
		if p.Text == poison {
			fmt.Fprintln(os.Stderr, "this is too much for me")
			os.Exit(3)
		}
		return Counts{Words: int64(len(strings.Fields(p.Text))), PID: int64(os.Getpid())}, nil
	})
	return worker.Run(context.Background(), server, args)
}

// run is the tool's side.
func run(ctx context.Context, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	client, err := subprocess.New(ctx, subprocess.Options{
		Command: []string{self, "worker"},
		Logger:  slog.New(slog.NewTextHandler(stderr, nil)), // one record for each line of its standard error
		Restart: subprocess.Restart{Attempts: 3},            // in a row, of workers that did not live for 10 s
	}, vgirpc.ClientOptions{})
	if err != nil {
		return err
	}
	if err := countAll(ctx, client, stdout); err != nil {
		_ = client.Close() // the call's error says more
		return err
	}
	return client.Close()
}

// countAll counts some texts, one of which kills the worker.
func countAll(ctx context.Context, client *vgirpc.Client, stdout io.Writer) error {
	workers := map[int64]bool{}
	for _, t := range []string{"one two", poison, "one two three"} {
		counts, err := count.Call(ctx, client, CountParams{Text: t})
		if exit, died := errors.AsType[*subprocess.ExitError](err); died {
			// The call is not repeated: only its caller knows whether that is
			// wise. The next one starts another worker.
			lines := strings.Split(exit.Stderr, "\n")
			fmt.Fprintf(stdout, "%q: the worker died with %v, saying: %s\n", t, exit, lines[len(lines)-1])
			continue
		}
		if err != nil {
			return err
		}
		workers[counts.PID] = true
		fmt.Fprintf(stdout, "%q: %d words\n", t, counts.Words)
	}
	fmt.Fprintf(stdout, "%d workers have answered\n", len(workers))
	return nil
}
