package worker

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// listening serves the connections of a listener.
type listening struct {
	setup            *Setup
	kind             vgirpc.TransportKind
	network, address string
	open             func(context.Context) (net.Listener, error)
	announce         func(net.Addr) string
	listener         *Listener
}

// Listen opens the listener. What OnServeStart refuses is never announced.
func (t *listening) Listen(ctx context.Context) (string, error) {
	if err := t.setup.server.Start(ctx, t.kind); err != nil {
		return "", err
	}
	l, err := t.setup.ListenOr(ctx, t.network, t.address, t.open)
	if err != nil {
		return "", err
	}
	t.listener = l
	return t.announce(l.Addr()), nil
}

// Check finds out whether there can be such a listener.
func (t *listening) Check(ctx context.Context) error { return CheckAddress(ctx, t.network, t.address) }

// Serve accepts and serves connections.
func (t *listening) Serve(ctx context.Context) error { return t.setup.server.Serve(ctx, t.listener) }

// Shutdown closes the listener and drains the connections.
func (t *listening) Shutdown(ctx context.Context) error {
	_ = t.listener.Close() // Serve may have closed it
	return t.setup.server.Shutdown(ctx)
}

// release lets the process that has taken the listener over go on with the
// connections, too.
func (t *listening) release(ctx context.Context) error {
	passing, cancel := context.WithTimeout(ctx, lingering)
	t.setup.server.Release(passing, t.listener.pass)
	cancel()
	return t.Shutdown(ctx)
}

// InProgress is how many calls are being served.
func (t *listening) InProgress() int { return t.setup.server.InProgress() }

// stdio serves standard input and output. A read that blocks on a pipe cannot
// be interrupted, so Serve does not wait for it: once the connection is closed
// and its serving loop sits in such a read, nothing more can come of it.
type stdio struct {
	server *vgirpc.Server
	*vgirpc.Stdio

	reading   atomic.Bool
	closeOnce sync.Once
	closed    chan struct{}
	closeErr  error
}

func newStdio(s *vgirpc.Server, rw *vgirpc.Stdio) *stdio {
	return &stdio{server: s, Stdio: rw, closed: make(chan struct{})}
}

// Listen has nothing to do or to say.
func (t *stdio) Listen(context.Context) (string, error) { return "", nil }

// Serve serves the connection until the peer ends it.
func (t *stdio) Serve(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- t.server.ServePipe(ctx, t) }()
	select {
	case err := <-done:
		return err
	case <-t.closed:
	}
	if t.reading.Load() {
		return nil
	}
	return <-done
}

// Shutdown drains the connection.
func (t *stdio) Shutdown(ctx context.Context) error {
	drained := make(chan error, 1)
	go func() { drained <- t.server.Shutdown(ctx) }()
	select {
	case err := <-drained:
		return err
	case <-t.closed:
	}
	if t.reading.Load() {
		return ctx.Err() // nil when the connection was idle
	}
	return <-drained
}

// InProgress is whether a call is being served.
func (t *stdio) InProgress() int { return t.server.InProgress() }

// Read reads standard input, unless the connection is closed.
func (t *stdio) Read(p []byte) (int, error) {
	t.reading.Store(true) // before the check: Serve looks in the other order
	defer t.reading.Store(false)
	select {
	case <-t.closed:
		return 0, net.ErrClosed
	default:
		return t.Stdio.Read(p)
	}
}

// Close closes standard output.
func (t *stdio) Close() error {
	t.closeOnce.Do(func() {
		t.closeErr = t.Stdio.Close()
		close(t.closed)
	})
	return t.closeErr
}
