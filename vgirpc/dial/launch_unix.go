//go:build unix

package dial

import (
	"context"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/launch"
)

// dialLaunched connects to the warm worker of a command.
func dialLaunched(ctx context.Context, argv []string, opts *Options) (*vgirpc.Client, error) {
	l, err := launch.New(launch.Options{Command: argv, Env: opts.Process.Env, Dir: opts.Process.Dir})
	if err != nil {
		return nil, err
	}
	return l.Connect(ctx, opts.Client)
}
