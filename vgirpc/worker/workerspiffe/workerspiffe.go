// Package workerspiffe lets a worker get its certificates from the SPIFFE
// Workload API, by the flags of package workeridentity:
//
//	callers := workeridentity.New(workeridentity.Options{Workload: workerspiffe.Workload()})
//
// It is a package of its own because it links gRPC.
package workerspiffe

import (
	"context"
	"log/slog"

	"github.com/vgirpc/vgirpc-go/auth/spiffe/workload"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeridentity"
)

// Workload is the Workload API for the options of package workeridentity.
func Workload() workeridentity.Workload {
	return workeridentity.Workload{
		X509: func(ctx context.Context, addr string, log *slog.Logger) (workeridentity.X509Source, error) {
			return workload.Open(ctx, workload.Options{Addr: addr, Logger: log})
		},
		JWT: func(ctx context.Context, addr string, log *slog.Logger) (workeridentity.JWTSource, error) {
			return workload.OpenJWT(ctx, workload.Options{Addr: addr, Logger: log})
		},
	}
}
