package workerhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/workertest"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

// transports are ways to HTTP.
func transports() map[string]*http.Transport {
	h1, h2 := new(http.Protocols), new(http.Protocols)
	h1.SetHTTP1(true)
	h2.SetUnencryptedHTTP2(true)
	return map[string]*http.Transport{"HTTP/1.1": {Protocols: h1}, "HTTP/2": {Protocols: h2}}
}

// streamed reads a stream to its end.
func streamed(ctx context.Context, c *vgirpc.Client) error {
	stream, err := count.Open(ctx, c, vgirpc.None{})
	if err != nil {
		return err
	}
	n := int64(0)
	for rows, err := range stream.All() {
		if err != nil {
			return err
		}
		if n++; rows[0].N != n {
			return fmt.Errorf("row %d is %d", n, rows[0].N)
		}
	}
	if n != 20 {
		return fmt.Errorf("the stream ends after %d rows", n)
	}
	return nil
}

func TestARestartLosesNoCallOverHTTP(t *testing.T) {
	const restarts = 5
	// A connection over HTTP/1.1 is closed when its caller, which a busy machine may
	// keep waiting, is silent for as long as the delay. A call at that very moment would
	// be lost: docs/operations.md.
	p := workertest.Start(t, workertest.Command(nil, "--http", "--token-key", key, "--drain-delay", "10"))
	url := "http://" + p.Address(t)
	var (
		all   sync.WaitGroup
		calls atomic.Int64
		stop  = make(chan struct{})
		errs  = make(chan error, 100)
		seen  sync.Map
	)
	for name, transport := range transports() {
		defer transport.CloseIdleConnections()
		for _, call := range []func(context.Context, *vgirpc.Client) error{
			streamed,
			func(ctx context.Context, c *vgirpc.Client) error {
				pid, err := who.Call(ctx, c, vgirpc.None{})
				seen.Store(pid, true)
				return err
			},
		} {
			for range 2 {
				c, err := httpclient.Dial(t.Context(), url, httpclient.Options{Transport: transport}, vgirpc.ClientOptions{})
				if err != nil {
					t.Fatal(err)
				}
				all.Go(func() {
					defer func() { _ = c.Close() }()
					for {
						select {
						case <-stop:
							return
						default:
						}
						if err := call(context.Background(), c); err != nil {
							errs <- fmt.Errorf("%s: %w", name, err)
							return
						}
						calls.Add(1)
					}
				})
			}
		}
	}
	for range restarts {
		enough := calls.Load() + 100
		for end := time.Now().Add(workertest.Patience); calls.Load() < enough && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		p.Restart(t)
	}
	p.SaysTimes(t, `msg=drained finished=\d+ cut=0 `, restarts)
	close(stop)
	all.Wait()
	close(errs)
	for err := range errs {
		t.Errorf("a call was lost: %v", err)
	}
	processes := 0
	seen.Range(func(any, any) bool { processes++; return true })
	if processes < 3 {
		t.Errorf("%d processes have answered", processes)
	}
	if strings.Contains(p.Said(), "level=ERROR") {
		t.Error("not all went well")
	}
	t.Logf("%d calls, %d processes", calls.Load(), processes)
}

func TestADrainingWorkerServesOnAndTellsItsCallersToGo(t *testing.T) {
	p := workertest.Start(t, workertest.Command(nil, "--http", "--drain-delay", "600"))
	url := "http://" + p.Address(t)
	transport := transports()["HTTP/1.1"]
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	goes := func() bool {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("status %s", res.Status)
		}
		return res.Close
	}
	if goes() {
		t.Error("a worker that serves closes connections")
	}
	p.Signal(t, syscall.SIGTERM)
	p.Says(t, "draining")
	if !goes() {
		t.Error("a worker that drains keeps connections")
	}
	if goes(); !goes() {
		t.Error("a worker that drains keeps new connections")
	}
}

func TestTheEndTellsHowManySessionsItEnds(t *testing.T) {
	p := workertest.Start(t, workertest.Command(nil, "--http", "--sticky-ttl", "600"))
	for range 3 {
		transport, err := httpclient.New("http://"+p.Address(t), httpclient.Options{}, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = transport.Close() }()
		if _, err := stay.Call(t.Context(), transport.Session().Client(), vgirpc.None{}); err != nil {
			t.Fatal(err)
		}
	}
	p.Signal(t, syscall.SIGTERM)
	// The last call may have been answered and not be over.
	p.SaysTimes(t, `msg=drained finished=\d+ cut=0 sessions=3 `, 1)
}
