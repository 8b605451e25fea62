package shm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Both sides use batches where they lie: the handler its input, and the caller the
// answer until it releases that.
func ExampleOptions_zeroCopy() {
	opts := shm.Options{ZeroCopy: true}
	totals := vgirpc.NewProtocol("example.Totals.v1", "1.0.0")
	same := vgirpc.NewExchange[vgirpc.None, vgirpc.Dynamic, vgirpc.Dynamic](totals, "same")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{SharedMemory: shm.Serve(opts)}, totals)
	if err != nil {
		fmt.Println(err)
		return
	}
	vgirpc.HandleBatchExchange(server, same, func(ctx context.Context, _ vgirpc.None) (*mirror, error) {
		return &mirror{}, vgirpc.CallFrom(ctx).SetOutputSchema(numbers(0).Schema.Arrow())
	})
	err = onSocket(server, func(ctx context.Context, path string) error {
		client, err := vgirpc.DialUnix(ctx, path, vgirpc.ClientOptions{SharedMemory: shm.Client(shm.OwnerOptions{Options: opts})})
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		stream, err := same.Open(ctx, client, vgirpc.None{})
		if err != nil {
			return err
		}
		answer, err := stream.ExchangeBatch(ctx, numbers(100_000)) // ours until the stream's next use
		if err != nil {
			return err
		}
		fmt.Println(answer.Rows, wire.Values[int64](&answer.Cols[0])[99_999])
		return stream.Close()
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: 100000 99999
}

// mirror answers each input with itself.
type mirror struct{}

// ExchangeBatch sends the input from where it lies. Until it returns, the batch is
// the handler's to read; it is not to be kept.
func (*mirror) ExchangeBatch(_ context.Context, in *wire.Batch, out *vgirpc.Emitter[vgirpc.Dynamic]) error {
	return out.EmitBatch(in)
}

// onSocket serves a socket for as long as use runs.
func onSocket(server *vgirpc.Server, use func(ctx context.Context, path string) error) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "vgi")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var l net.Listener
	if l, err = vgirpc.ListenUnix(ctx, filepath.Join(dir, "s"), vgirpc.UnixOptions{}); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	err = use(ctx, l.Addr().String())
	return errors.Join(err, l.Close(), <-served)
}
