// Production is a worker with everything that an operator may ask for: HTTP beside
// the byte streams, authentication, external storage, an admin listener with
// figures and probes, traces, reports of errors. None of it is on until a flag, a
// variable or the configuration file asks for it, so that one program serves a
// laptop and a cluster (docs/configuration.md, deploy).
//
//	go build -o worker ./examples/production
//	./worker --help
//	./worker --http 8080 --admin 9090 --access-log access.jsonl
//	./worker --config worker.yaml --check
//
// To make it your own, replace the contract and the handlers, and leave out the
// options that you will not use: what is not named here is not linked.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/vgirpc/vgirpc-go/examples/production/ledger"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeradmin"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerauth"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeridentity"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeroauth"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerotel"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerproxy"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workersentry"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerstorage"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version string

func main() {
	server, err := newServer()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	signIn, callers := workeroauth.New(workeroauth.Options{}), workeridentity.New(workeridentity.Options{})
	worker.Main(server,
		workerstorage.Option(workerstorage.Options{}),
		signIn,
		callers,
		workerhttp.With(callers.In(workerhttp.Options{Prepare: signIn.Prepare})),
		workerauth.Option(),
		workerproxy.Option(),
		workeradmin.Option(workeradmin.Options{}),
		workerotel.Option(workerotel.Options{}),
		workersentry.Option(workersentry.Options{}),
	)
}

// newServer has the handlers.
func newServer() (*vgirpc.Server, error) {
	host, err := os.Hostname() // of a pod, its name: logs and answers say who it was
	if err != nil {
		return nil, err
	}
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{ServerID: host, Version: version}, ledger.Protocol)
	if err != nil {
		return nil, err
	}
	vgirpc.HandleUnary(server, ledger.Convert, convert)
	vgirpc.HandleProducer(server, ledger.Entries, openEntries)
	vgirpc.HandleExchange(server, ledger.Balance, openBalance)
	return server, nil
}

// convert says in a code that callers and alerts understand whose fault it is when
// it fails.
func convert(_ context.Context, p ledger.ConvertParams) (float64, error) {
	if p.Rate <= 0 {
		return 0, vgirpc.Errorf(vgirpc.InvalidArgument, "rate is %v: want more than 0", p.Rate)
	}
	return p.Amount * p.Rate, nil
}

func openEntries(_ context.Context, p ledger.EntriesParams) (*entries, error) {
	return &entries{Left: p.Count}, nil
}

// entries is an open stream. Its fields travel to the caller and back, sealed, so
// that any replica can go on with it: it holds a position, and nothing of a
// process.
type entries struct{ At, Left int64 }

// Produce emits one row.
func (e *entries) Produce(_ context.Context, out *vgirpc.Emitter[ledger.Entry]) error {
	if e.Left <= 0 {
		return io.EOF
	}
	e.At, e.Left = e.At+1, e.Left-1
	return out.Emit(ledger.Entry{Amount: e.At})
}

func openBalance(context.Context, vgirpc.None) (*balance, error) { return &balance{}, nil }

// balance is an open stream as well.
type balance struct{ Total int64 }

// Exchange answers entries.
func (b *balance) Exchange(_ context.Context, in []ledger.Entry, out *vgirpc.Emitter[ledger.Sum]) error {
	sums := make([]ledger.Sum, len(in))
	for i, e := range in {
		b.Total += e.Amount
		sums[i].Total = b.Total
	}
	return out.Emit(sums...)
}
