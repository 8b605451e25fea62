package soak

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/pool"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// A caller is a client on a connection that may break.
type caller struct {
	client *vgirpc.Client
	http   *httpclient.Transport // nil elsewhere
	rand   *rand.Rand
	// spoilt says that a byte on the connection may be wrong, and with it every
	// result.
	spoilt bool
	faults []vgitest.Fault
	// hasty callers give up at will, which costs them the connection.
	hasty bool
	close func() error
}

var errInjected = errors.New("soak: an operation that fails on purpose")

// misfortune is what will happen to a connection: often nothing, but that it is
// closed soon. spoilt reports whether a byte will be wrong: one in the verb of a
// connection's first request over HTTP, a HEAD, has the server answer with a body,
// and net/http logs that as an "Unsolicited response".
func misfortune(r *rand.Rand) (faults []vgitest.Fault, spoilt bool) {
	direction := vgitest.Direction(r.IntN(2))
	// As many faults early in a conversation as late.
	at := int64(1) << r.IntN(20)
	at += r.Int64N(at)
	switch r.IntN(10) {
	case 0:
		return []vgitest.Fault{vgitest.Cut(direction, at)}, false
	case 1:
		return []vgitest.Fault{vgitest.Stall(direction, at)}, false
	case 2:
		return []vgitest.Fault{vgitest.Corrupt(direction, at, byte(1+r.IntN(255)))}, true
	case 3:
		return []vgitest.Fault{vgitest.Fail(direction, at, errInjected)}, false
	case 4:
		return []vgitest.Fault{vgitest.Slow(1+r.IntN(1<<14), time.Duration(r.IntN(int(time.Millisecond))))}, false
	case 5: // slow, and then lost
		return []vgitest.Fault{vgitest.Slow(1+r.IntN(1<<12), 100*time.Microsecond), vgitest.Cut(direction, at)}, false
	}
	return nil, false
}

// dial connects to the site. A connection without faults is as its client would
// make it: with shared memory, its descriptor comes beside a request.
func (s *site) dial(ctx context.Context, r *rand.Rand, fetch vgirpc.Offload, faults []vgitest.Fault) (*caller, error) {
	c := &caller{rand: r, faults: faults}
	if s.kind == "http" {
		return c, s.dialHTTP(c, fetch, faults)
	}
	opts := vgirpc.ClientOptions{}
	if s.kind == "shm" && shm.Supported {
		opts.SharedMemory = shm.Client(shm.OwnerOptions{Size: 24 << 20})
	}
	network := "unix"
	if s.kind == "tcp" || s.kind == "tls" {
		network = "tcp"
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, s.address)
	if err != nil {
		return nil, err
	}
	if faults != nil {
		conn = faulty(conn, faults)
	}
	if s.kind == "tls" {
		conn = tls.Client(conn, s.tlsConfig())
	}
	c.client = vgirpc.NewClient(conn, opts)
	c.close = c.client.Close
	return c, nil
}

func (s *site) dialHTTP(c *caller, fetch vgirpc.Offload, faults []vgitest.Fault) error {
	t, err := httpclient.New(s.address, httpclient.Options{
		Uploads: &httpclient.Uploads{Origins: []string{loopback}},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil || faults == nil {
				return conn, err
			}
			return faulty(conn, faults), nil
		},
	}, vgirpc.ClientOptions{Offload: fetch})
	if err != nil {
		return err
	}
	c.http, c.client = t, t.Client()
	c.close = c.client.Close
	return nil
}

// faulty is conn with faults.
func faulty(conn net.Conn, faults []vgitest.Fault) net.Conn {
	return &faultyConn{conn, vgitest.Faulty(conn, faults...)}
}

type faultyConn struct {
	net.Conn

	faulty io.ReadWriteCloser
}

func (c *faultyConn) Read(p []byte) (int, error)  { return c.faulty.Read(p) }
func (c *faultyConn) Write(p []byte) (int, error) { return c.faulty.Write(p) }
func (c *faultyConn) Close() error                { return c.faulty.Close() }

// stall leaves the site alone in the middle of a message, until the worker has
// had enough of waiting.
func (s *site) stall(ctx context.Context, r *rand.Rand) error {
	network := "unix"
	if s.kind == "tcp" || s.kind == "tls" {
		network = "tcp"
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, s.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	begun := []byte{0xff, 0xff, 0xff, 0xff, 0x00, 0x01, 0x00, 0x00, 0x10}
	if _, err := conn.Write(begun[:r.IntN(len(begun)+1)]); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetReadDeadline(time.Now().Add(calmly)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: the worker waits for a silent caller without end", s.name)
	}
	return nil
}

// herd is a pool of worker processes that are killed.
type herd struct {
	*pool.Pool

	mu     sync.Mutex
	rand   *rand.Rand
	alive  map[*subprocess.Process]struct{}
	killed int
}

// newHerd makes a pool of up to size processes.
func newHerd(r *rand.Rand, size int) (*herd, error) {
	h := &herd{rand: r, alive: map[*subprocess.Process]struct{}{}}
	var err error
	h.Pool, err = pool.New(h.start, pool.Options{Max: size, IdleTimeout: 2 * time.Second, CheckAfter: 500 * time.Millisecond})
	return h, err
}

// start starts a process, a third of them on pipes that break.
func (h *herd) start(ctx context.Context) (vgirpc.Transport, error) {
	p, err := subprocess.Start(ctx, subprocess.Options{
		Command: append([]string{os.Args[0]}, limits...), Env: environment(roleWorker), CloseGrace: 2 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alive[p] = struct{}{}
	var rw io.ReadWriteCloser = p
	if h.rand.IntN(3) == 0 {
		// A wrong byte would make wrong results of calls that do not know of it.
		if faults, spoilt := misfortune(h.rand); !spoilt && faults != nil {
			rw = vgitest.Faulty(p, faults...)
		}
	}
	return vgirpc.NewStreamTransport(rw, vgirpc.ClientOptions{}), nil
}

// kill kills one of the processes.
func (h *herd) kill() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.alive { // in any order
		if p.Err() != nil {
			delete(h.alive, p)
			continue
		}
		h.killed++
		delete(h.alive, p)
		return syscall.Kill(p.PID(), syscall.SIGKILL)
	}
	return nil
}
