//go:build !unix

package dial

import (
	"context"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func dialLaunched(context.Context, []string, *Options) (*vgirpc.Client, error) {
	return nil, vgirpc.Errorf(vgirpc.Unimplemented, "dial: warm workers need Unix sockets and flock, which this system does not have")
}
