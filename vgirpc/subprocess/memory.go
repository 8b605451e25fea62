package subprocess

import (
	"context"
	"os"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// startShared starts a process with the memory that its client wants to share with
// it, if that is of a kind that can be inherited, and returns the options of the
// connection to it. discard gives the memory up that no transport has got; who
// takes the memory is negotiated as on every other connection.
func startShared(ctx context.Context, o *Options, client vgirpc.ClientOptions) (
	p *Process, own vgirpc.ClientOptions, discard func(), err error,
) {
	discard = func() {}
	if client.SharedMemory == nil || len(o.Files) > 0 {
		p, err = start(ctx, o)
		return p, client, discard, err
	}
	f, memory, err := client.SharedMemory.Inherit(vgirpc.InheritedDescriptor)
	if err != nil || f == nil {
		p, err = start(ctx, o) // memory that cannot be had is no reason not to
		return p, client, discard, err
	}
	defer func() { _ = f.Close() }() // the process has its own
	client.SharedMemory = memory
	discard = func() { _ = memory.Close() } // nobody has used it
	with := *o
	with.Files = []*os.File{f}
	if p, err = start(ctx, &with); err != nil {
		discard()
	}
	return p, client, discard, err
}
