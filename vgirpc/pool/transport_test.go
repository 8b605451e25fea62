package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/pool"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// envWorker makes the test binary a worker on its standard input and output.
const envWorker = "POOL_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(envWorker) == "" {
		os.Exit(m.Run())
	}
	stdio, err := vgirpc.TakeStdio()
	if err != nil {
		os.Exit(2)
	}
	p := newProcess()
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{}, p.protocol)
	if err != nil {
		os.Exit(2)
	}
	vgirpc.HandleUnary(s, p.pid, func(context.Context, vgirpc.None) (int64, error) { return int64(os.Getpid()), nil })
	if s.Start(context.Background(), vgirpc.TransportPipe) != nil || s.ServePipe(context.Background(), stdio) != nil {
		os.Exit(2)
	}
}

// process is a protocol of a process that says who it is.
type process struct {
	protocol *vgirpc.Protocol
	pid      *vgirpc.Unary[vgirpc.None, int64]
}

func newProcess() process {
	p := vgirpc.NewProtocol("test.Process.v1", "1.0.0")
	return process{p, vgirpc.NewUnary[vgirpc.None, int64](p, "pid")}
}

// serving returns a function that connects to s over a Unix socket.
func serving(t *testing.T, s *vgirpc.Server) pool.Dial {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); served.Wait() })
	return func(ctx context.Context) (vgirpc.Transport, error) {
		c, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		return vgirpc.NewStreamTransport(c, vgirpc.ClientOptions{}), nil
	}
}

// pooled returns a client on a pool of dial.
func pooled(t *testing.T, dial pool.Dial, opts pool.Options, client vgirpc.ClientOptions) (*pool.Pool, *vgirpc.Client) {
	t.Helper()
	p, err := pool.New(dial, opts)
	if err != nil {
		t.Fatal(err)
	}
	c := vgirpc.NewClientOn(p, client)
	t.Cleanup(func() {
		if s := p.Stats(); s.InUse > 0 || s.Dialing > 0 || s.Waiting > 0 {
			t.Errorf("when all is over: %+v", s)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p, c
}

func TestTransports(t *testing.T) {
	t.Run("over connections", func(t *testing.T) {
		vgitest.TestTransport(t, func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
			_, c := pooled(t, serving(t, s), pool.Options{}, opts)
			return c
		})
	})
	t.Run("over one connection that is checked before each call", func(t *testing.T) {
		vgitest.TestTransport(t, func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
			_, c := pooled(t, serving(t, s), pool.Options{Max: 1, CheckAfter: 1}, opts)
			return c
		})
	})
	t.Run("over clients", func(t *testing.T) {
		vgitest.TestTransport(t, func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
			_, c := pooled(t, pool.OnClients(func(ctx context.Context) (*vgirpc.Client, error) {
				return vgirpc.DialServer(ctx, s, opts)
			}), pool.Options{Max: 2, CheckAfter: 1}, vgirpc.ClientOptions{})
			return c
		})
	})
}

func TestManyCallsAtOnce(t *testing.T) {
	c := vgitest.NewContract()
	p, client := pooled(t, serving(t, vgitest.NewServer(t, c, vgirpc.ServerOptions{})), pool.Options{Max: 4}, vgirpc.ClientOptions{})
	var calls sync.WaitGroup
	for g := range 20 {
		calls.Go(func() {
			for i := range 50 {
				a, b := float64(g), float64(i)
				if got, err := c.Add.Call(t.Context(), client, vgitest.AddParams{A: a, B: b}); err != nil || got != a+b {
					t.Errorf("%v+%v = %v, %v", a, b, got, err)
					return
				}
				s, err := c.Count.Open(t.Context(), client, vgitest.CountParams{N: 3})
				if err != nil {
					t.Error(err)
					return
				}
				for rows, err := range s.All() {
					if err != nil || len(rows) != 1 {
						t.Errorf("count: %v, %v", rows, err)
					}
					if i%2 == 0 {
						break // which cancels
					}
				}
			}
		})
	}
	calls.Wait()
	if s := p.Stats(); s.Dials > 4 || s.Discards != (pool.Discards{}) {
		t.Errorf("%+v", s)
	}
}

func TestPing(t *testing.T) {
	c := vgitest.NewContract()
	tr, err := serving(t, vgitest.NewServer(t, c, vgirpc.ServerOptions{}))(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, pool.Ping(t.Context(), tr), nil)
	equal(t, pool.Ping(t.Context(), tr), nil)
	equal(t, pool.Ping(t.Context(), refusing{tr, c}), nil)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pool.Ping(t.Context(), tr); err == nil {
		t.Error("a closed connection gives a sign of life")
	}
}

// refusing makes a call that is refused of each call.
type refusing struct {
	vgirpc.Transport
	c *vgitest.Contract
}

func (r refusing) Call(ctx context.Context, _ *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	_, err := r.c.Fail.Call(ctx, vgirpc.NewClientOn(r.Transport, vgirpc.ClientOptions{}), vgitest.TextParams{Text: "x"})
	return nil, nil, err
}

func TestWorkerProcesses(t *testing.T) {
	worker := newProcess()
	p, client := pooled(t, pool.OnClients(func(ctx context.Context) (*vgirpc.Client, error) {
		return subprocess.New(ctx, subprocess.Options{
			Command: []string{os.Args[0]}, Env: append(os.Environ(), envWorker+"=1"),
		}, vgirpc.ClientOptions{})
	}), pool.Options{Max: 2, CheckAfter: 1}, vgirpc.ClientOptions{})
	pid := func() int {
		n, err := worker.pid.Call(t.Context(), client, vgirpc.None{})
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	first := pid()
	equal(t, pid(), first)

	t.Run("a worker that died while it was idle is replaced", func(t *testing.T) {
		p, err := os.FindProcess(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if again := pid(); again == first {
			t.Error("the same worker has answered")
		}
	})
	s := p.Stats()
	equal(t, []uint64{s.Dials, s.Discards.Unhealthy}, []uint64{2, 1})
}

// TestConnectionLostInACall sees a connection end in the middle of calls.
func TestConnectionLostInACall(t *testing.T) {
	c := vgitest.NewContract()
	var far []io.Closer
	p, client := pooled(t, func(context.Context) (vgirpc.Transport, error) {
		near, peer := vgirpc.NewPair()
		far = append(far, peer)
		go func() { // it reads one request and goes
			r := wire.NewReader(peer, wire.Limits{}, nil)
			if _, err := r.NextStream(); err == nil {
				_ = r.Drain()
			}
			_ = peer.Close()
		}()
		return vgirpc.NewStreamTransport(near, vgirpc.ClientOptions{}), nil
	}, pool.Options{CheckAfter: -1}, vgirpc.ClientOptions{})
	for i := range 3 {
		_, err := c.Echo.Call(t.Context(), client, vgitest.TextParams{Text: strconv.Itoa(i)})
		var e *vgirpc.Error
		if !errors.As(err, &e) || e.Type != "ConnectionLost" || vgirpc.IsRemote(err) {
			t.Errorf("got %v", err)
		}
	}
	s := p.Stats()
	equal(t, []int{len(far), int(s.Dials), int(s.Discards.Broken), s.Open}, []int{3, 3, 3, 0})
}

func BenchmarkCall(b *testing.B) {
	c := vgitest.NewContract()
	s := vgitest.NewServer(b, c, vgirpc.ServerOptions{})
	p, err := pool.New(pool.OnClients(func(ctx context.Context) (*vgirpc.Client, error) {
		return vgirpc.DialServer(ctx, s, vgirpc.ClientOptions{})
	}), pool.Options{})
	if err != nil {
		b.Fatal(err)
	}
	direct, err := vgirpc.DialServer(b.Context(), s, vgirpc.ClientOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for name, client := range map[string]*vgirpc.Client{"pool": vgirpc.NewClientOn(p, vgirpc.ClientOptions{}), "direct": direct} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Add.Call(b.Context(), client, vgitest.AddParams{A: 1, B: 2}); err != nil {
					b.Fatal(err)
				}
			}
		})
		if err := client.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleNew() {
	calc := vgitest.NewContract()
	server := vgitest.NewServer(&testing.T{}, calc, vgirpc.ServerOptions{})
	dial := func(ctx context.Context) (*vgirpc.Client, error) {
		return vgirpc.DialServer(ctx, server, vgirpc.ClientOptions{})
	}
	p, err := pool.New(pool.OnClients(dial), pool.Options{Max: 16, MaxAge: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := vgirpc.NewClientOn(p, vgirpc.ClientOptions{}) // for any number of goroutines
	defer func() { _ = client.Close() }()
	sum, err := calc.Add.Call(context.Background(), client, vgitest.AddParams{A: 1, B: 2})
	fmt.Println(sum, err)
	// Output: 3 <nil>
}
