package conformance

import (
	"context"
	"fmt"
	"os"

	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Exit statuses of the worker before it serves; the others are those of
// [worker.Run].
const (
	exitFailed = 1
	exitUsage  = 2
)

// The suite echoes a value of 2^31+1 bytes, so this worker takes larger
// messages than others do.
const (
	maxMessageBytes  = 4 << 30
	maxBytesInFlight = 8 << 30
)

// Main runs the conformance worker until its transport ends or a signal comes,
// and returns its exit status. args are without the program's name. It takes
// over standard input and output and the signals of the process.
func Main(ctx context.Context, args []string) int {
	f, err := readFixture(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "vgi-worker: %v\nTry 'vgi-worker --help'.\n", err)
		return exitUsage
	}
	opts := vgirpc.ServerOptions{
		Limits: wire.Limits{MaxMessageBytes: maxMessageBytes, Budget: wire.NewBudget(maxBytesInFlight)},
	}
	if shm.Supported {
		opts.SharedMemory = shm.Serve(shm.Options{
			MinBatchBytes: shm.ParseMinBatchBytes(os.Getenv(shm.MinBatchVariable)), Limits: opts.Limits,
		})
	}
	offload, err := f.storage.open(opts.Limits.Budget)
	if err != nil {
		fmt.Fprintf(os.Stderr, "vgi-worker: --fake-storage: %v\n", err)
		return exitUsage
	}
	if offload != nil {
		opts.Offload = offload
	}
	if f.failStartOnce {
		opts.OnServeStart = failOnce()
	}
	server, err := NewServer(opts, f.hosting())
	if err != nil {
		fmt.Fprintf(os.Stderr, "vgi-worker: %v\n", err)
		return exitFailed
	}
	id, err := hostIdentity(server, f.identity.value)
	if err != nil {
		fmt.Fprintf(os.Stderr, "vgi-worker: --identity: %v\n", err)
		return exitFailed
	}
	ctx = WithCancelProbe(ctx, NewCancelProbe(os.Getenv(ProbeFileVariable)))
	return worker.Run(ctx, server, args, new(fixture), workerhttp.With(f.http(id)))
}
