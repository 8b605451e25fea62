package worker

import (
	"context"
	"io"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// ApplyForTest puts a worker together as Run does, short of taking over the
// process, and returns the server's options.
func ApplyForTest(s *vgirpc.Server, args ...string) (vgirpc.ServerOptions, error) {
	w := newWorker(s, nil)
	if _, err := w.parse(args, io.Discard); err != nil {
		return vgirpc.ServerOptions{}, err
	}
	if err := w.apply(context.Background()); err != nil {
		return vgirpc.ServerOptions{}, err
	}
	return w.setup.options()
}
