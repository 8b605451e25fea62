package workerhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

// logged starts a worker that writes to a log as its successors do, which are
// killed at the end of the test as well. It returns the URL.
func logged(t *testing.T, args ...string) (pid *atomic.Int64, url, log string) {
	t.Helper()
	log, pid = filepath.Join(t.TempDir(), "log"), new(atomic.Int64)
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asWorker+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = f
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid.Store(int64(cmd.Process.Pid))
	t.Cleanup(func() {
		_ = syscall.Kill(int(pid.Load()), syscall.SIGKILL)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(log); t.Failed() && err == nil {
			t.Logf("log of the workers:\n%s", text)
		}
	})
	var port int
	if _, err := fmt.Fscanf(out, "PORT:%d\n", &port); err != nil {
		t.Fatal(err)
	}
	return pid, "http://127.0.0.1:" + strconv.Itoa(port), log
}

// await waits until a log has something n times, and returns the last time's
// submatches.
func await(t *testing.T, log, pattern string, n int) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if found := re.FindAllStringSubmatch(string(text), -1); len(found) >= n {
			return found[n-1]
		}
	}
	t.Fatalf("the log does not say %q %d times", pattern, n)
	return nil
}

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
	pid, url, log := logged(t, "--http", "--token-key", key)
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
	for n := 1; n <= restarts; n++ {
		enough := calls.Load() + 100
		for end := time.Now().Add(30 * time.Second); calls.Load() < enough && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if err := syscall.Kill(int(pid.Load()), syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		next, err := strconv.ParseInt(await(t, log, `another process has taken over" pid=(\d+)`, n)[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		pid.Store(next)
	}
	await(t, log, `msg=drained finished=\d+ cut=0`, restarts)
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
	if text, err := os.ReadFile(log); err != nil || strings.Contains(string(text), "level=ERROR") {
		t.Errorf("not all went well: %v", err)
	}
	t.Logf("%d calls, %d processes", calls.Load(), processes)
}

func TestADrainingWorkerServesOnAndTellsItsCallersToGo(t *testing.T) {
	pid, url, log := logged(t, "--http", "--drain-delay", "600")
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
	if err := syscall.Kill(int(pid.Load()), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, log, "draining", 1)
	if !goes() {
		t.Error("a worker that drains keeps connections")
	}
	if goes(); !goes() {
		t.Error("a worker that drains keeps new connections")
	}
}

func TestTheEndTellsHowManySessionsItEnds(t *testing.T) {
	pid, url, log := logged(t, "--http", "--sticky-ttl", "600")
	for range 3 {
		transport, err := httpclient.New(url, httpclient.Options{}, vgirpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = transport.Close() }()
		if _, err := stay.Call(t.Context(), transport.Session().Client(), vgirpc.None{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(int(pid.Load()), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, log, `msg=drained finished=0 cut=0 sessions=3`, 1)
}
