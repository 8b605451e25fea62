package soak

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeradmin"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerauth"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerstorage"
)

// What a process of this binary is, other than the test.
const (
	roleVariable = "VGI_SOAK_TEST_ROLE"
	roleWorker   = "worker"
	roleVictim   = "victim" // a client that is killed

	// leakVariable makes a worker keep something of every call.
	leakVariable = "VGI_SOAK_TEST_LEAK"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleWorker:
		os.Exit(serve(os.Args[1:]))
	case roleVictim:
		os.Exit(suffer(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// serve is a worker: the conformance protocols with everything that a worker of
// this module may have.
func serve(args []string) int {
	opts := vgirpc.ServerOptions{}
	if shm.Supported {
		opts.SharedMemory = shm.Serve(shm.Options{})
	}
	if what := os.Getenv(leakVariable); what != "" {
		opts.Interceptors = append(opts.Interceptors, leaking(what))
	}
	server, err := conformance.NewServer(opts, conformance.HostStandard)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return worker.Run(conformance.WithCancelProbe(context.Background(), conformance.NewCancelProbe("")), server, args,
		workeradmin.Option(workeradmin.Options{}),
		workerauth.Option(),
		workerstorage.Option(workerstorage.Options{External: external.Options{AllowedOrigins: []string{loopback}}}),
		workerhttp.With(workerhttp.Options{Handler: httpserver.Options{Sticky: &httpserver.Sticky{}}}),
	)
}

// leaking keeps a goroutine, a descriptor or 64 KiB of each call.
func leaking(what string) vgirpc.Interceptor {
	var mu sync.Mutex
	var kept []any
	return func(ctx context.Context, _ *vgirpc.Call, next func(context.Context) error) error {
		mu.Lock()
		defer mu.Unlock()
		switch what {
		case "goroutines":
			go func() { time.Sleep(time.Hour) }()
		case "descriptors":
			if f, err := os.Open(os.DevNull); err == nil {
				kept = append(kept, f)
			}
		case "heap":
			kept = append(kept, make([]byte, 64<<10))
		}
		return next(ctx)
	}
}
