package server

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// startLimit bounds the wait for a server to answer.
const startLimit = 60 * time.Second

// root is the directory that setup.sh installs to.
func root(t *testing.T) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..", ".cache", "storage")
}

// Find returns the path of what setup.sh installs. Without it the test is skipped
// for a contributor, and fails in the gate, which sets CI.
func Find(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(root(t), name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if os.Getenv("CI") == "" {
		t.Skipf("%s is not installed: run external/setup.sh", filepath.Base(name))
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(root(t), "..", "..", "external", "setup.sh")).CombinedOutput()
	if err != nil {
		t.Logf("setup.sh: %v\n%s", err, out)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not installed, and this is the gate", filepath.Base(name))
	}
	return path
}

// freePorts returns ports of loopback on which nothing listens. They are below
// those that systems give to outgoing connections, so that they are likely to stay
// free for a while.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports := make([]int, 0, n)
	for len(ports) < n {
		port := 12_000 + rand.IntN(20_000) //nolint:gosec // it only has to be another one than the neighbours
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", Address(port))
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, port)
	}
	return ports
}

// Address is a port of loopback, as an address.
func Address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// A Server is a program to be started: what to run on n free ports of loopback,
// and the URL to which it answers with a status once it is ready.
type Server struct {
	Ports   int
	Command func(ports []int) (cmd *exec.Cmd, ready string)
	Status  int
}

// Start runs a server until the test ends, and returns its ports when it is ready.
func Start(t *testing.T, s Server) (ports []int) {
	t.Helper()
	const attempts = 3 // somebody else may have been faster to take a port
	for attempt := 1; ; attempt++ {
		ports = freePorts(t, s.Ports)
		cmd, ready := s.Command(ports)
		said, ok := run(t, cmd, ready, s.Status)
		if ok {
			return ports
		}
		if attempt == attempts {
			t.Fatalf("%s does not start:\n%s", filepath.Base(cmd.Path), said)
		}
	}
}

// run starts a command, and reports whether it became ready.
func run(t *testing.T, cmd *exec.Cmd, ready string, status int) (said *tail, ok bool) {
	t.Helper()
	said = new(tail)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = time.Second
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	stop := func() {
		_ = cmd.Process.Kill() // it holds nothing that is worth an orderly end
		<-exited
	}
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	for !answers(ctx, ready, status) {
		select {
		case <-exited:
			return said, false
		case <-ctx.Done():
			stop()
			return said, false
		case <-time.After(50 * time.Millisecond): // a program of somebody else's has no other way to say so
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), said)
		}
	})
	return said, true
}

func answers(ctx context.Context, ready string, status int) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ready, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == status
}

// tail keeps the end of a server's output.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps the last 2 KiB or more.
func (o *tail) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() > 4<<10 {
		o.buf.Next(o.buf.Len() - 2<<10)
	}
	return o.buf.Write(p)
}

// String is what was kept.
func (o *tail) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
