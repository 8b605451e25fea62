package workerhttp

import (
	"context"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// Effective is what o serves s with, once its flags were read.
func Effective(ctx context.Context, o worker.Option, s *vgirpc.Server) (httpserver.Options, httpserver.ServeOptions, error) {
	return o.(*option).effective(ctx, s)
}
