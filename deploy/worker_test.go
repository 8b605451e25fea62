//go:build linux

package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	workermain "github.com/vgirpc/vgirpc-go/vgirpc/worker"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workeradmin"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerhttp"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker/workerstorage"
)

// asWorker makes the test binary a worker that fails when it is asked to.
const asWorker = "DEPLOY_TEST_WORKER"

// Faulty is a protocol with a fault.
var (
	Faulty = vgirpc.NewProtocol("test.Faulty.v1", "1.0.0")
	Work   = vgirpc.NewUnary[WorkParams, string](Faulty, "work")
	Rows   = vgirpc.NewProducer[vgirpc.None, Row](Faulty, "rows")
)

// WorkParams say whether [Work] fails, and how much it answers.
type WorkParams struct {
	Fail  bool  `vgi:"fail"`
	Bytes int64 `vgi:"bytes"`
}

// Row is a row of [Rows].
type Row struct {
	N int64 `vgi:"n"`
}

// rows is a stream of two batches.
type rows struct{ At int64 }

func (r *rows) Produce(_ context.Context, out *vgirpc.Emitter[Row]) error {
	if r.At++; r.At > 2 {
		return io.EOF
	}
	return out.Emit(Row{r.At})
}

// faultyWorker serves the protocol. It does not return.
func faultyWorker() {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, Faulty)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	vgirpc.HandleUnary(server, Work, func(_ context.Context, p WorkParams) (string, error) {
		if p.Fail {
			return "", vgirpc.Errorf(vgirpc.Internal, "the fault that was asked for")
		}
		return strings.Repeat("x", int(p.Bytes)), nil
	})
	vgirpc.HandleProducer(server, Rows, func(context.Context, vgirpc.None) (*rows, error) { return &rows{}, nil })
	workermain.Main(server,
		workerstorage.Option(workerstorage.Options{}),
		workerhttp.Option(httpserver.Options{}),
		workeradmin.Option(workeradmin.Options{}))
}

// A running is a faulty worker.
type running struct {
	url, admin string
	client     *vgirpc.Client
	kill       func()
}

// startFaulty runs the worker until the test ends. It is ready when this returns.
func startFaulty(t *testing.T) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	port, admin := freePort(t), freePort(t)
	r := &running{url: "http://127.0.0.1:" + port, admin: "127.0.0.1:" + admin}
	cmd := exec.Command(self, "--http", port, "--admin", admin, "--token-key", strings.Repeat("5a", 32),
		"--storage", "mem://", "--sticky-ttl", "60", "--access-log", os.DevNull)
	cmd.Env = append(os.Environ(), asWorker+"=1")
	r.kill = start(t, cmd)
	poll(t, "the worker is ready", func(ctx context.Context) error { return get(ctx, "http://"+r.admin+"/readyz", nil) })
	if r.client, err = httpclient.Dial(t.Context(), r.url, httpclient.Options{}, vgirpc.ClientOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.client.Close() })
	return r
}

// work makes one call that succeeds or fails.
func (r *running) work(ctx context.Context, p WorkParams) error {
	_, err := Work.Call(ctx, r.client, p)
	if p.Fail == (vgirpc.CodeOf(err) == vgirpc.Internal) {
		return nil
	}
	return fmt.Errorf("a call that was to fail or not, %v, said: %w", p.Fail, err)
}

// everything makes the worker count what it has figures for: calls of all kinds,
// transfers and refusals.
func (r *running) everything(t *testing.T) {
	t.Helper()
	for _, p := range []WorkParams{{}, {Fail: true}, {Bytes: 2 << 20}} {
		if err := r.work(t.Context(), p); err != nil && p.Bytes == 0 { // this client fetches nothing
			t.Fatal(err)
		}
	}
	stream, err := Rows.Open(t.Context(), r.client, vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range stream.All() {
		if err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/nobody/nothing", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Fatal(resp.Status, err)
	}
}

// figures is what the worker shows, in the format of Prometheus.
func (r *running) figures(t *testing.T) string {
	t.Helper()
	var text []byte
	err := get(t.Context(), "http://"+r.admin+"/metrics", func(resp *http.Response) (err error) {
		text, err = io.ReadAll(resp.Body)
		return err
	})
	if err = errors.Join(err, t.Context().Err()); err != nil {
		t.Fatal(err)
	}
	return string(text)
}
