package proxyproto

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// maxPending is how many connections may be without their header at once. Further
// ones wait to be accepted.
const maxPending = 256

// Listener reads the headers of the connections of l, each on a goroutine of its
// own, and accepts those that are in order. Others are closed and told of in the
// log. Closing the listener closes l.
//
// What Accept returns is a [Conn], which package httpserver knows what to do with.
// For an http.Server, see [ConnContext].
func (r *Receiver) Listener(l net.Listener) net.Listener {
	ctx, cancel := context.WithCancel(context.Background())
	out := &listener{
		Listener: l, receiver: r, ctx: ctx, cancel: cancel, ready: make(chan net.Conn), failed: make(chan error),
		places: make(chan struct{}, maxPending),
	}
	out.work.Go(out.accept)
	return out
}

// listener is a listener whose connections come from proxies.
type listener struct {
	net.Listener

	receiver *Receiver
	ctx      context.Context //nolint:containedctx // ends when the listener is closed
	cancel   context.CancelFunc
	ready    chan net.Conn
	failed   chan error
	places   chan struct{}
	work     sync.WaitGroup
}

// Accept waits for a connection that has sent its header.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.ready:
		return conn, nil
	case err := <-l.failed:
		return nil, err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close closes the listener, and connections that have not been accepted.
func (l *listener) Close() error {
	l.cancel()
	err := l.Listener.Close()
	l.work.Wait()
	return err
}

// accept accepts connections without a header.
func (l *listener) accept() {
	for {
		select {
		case l.places <- struct{}{}:
		case <-l.ctx.Done():
			return
		}
		conn, err := l.Listener.Accept()
		if err == nil {
			l.work.Go(func() {
				defer func() { <-l.places }()
				l.admit(conn)
			})
			continue
		}
		<-l.places
		select {
		case l.failed <- err: // who accepts knows what to do
		case <-l.ctx.Done():
			return
		}
	}
}

// admit reads a header, and waits until the connection is accepted.
func (l *listener) admit(conn net.Conn) {
	began := time.Now()
	h, err := l.receiver.receive(l.ctx, conn, conn)
	if err != nil {
		if l.ctx.Err() == nil {
			l.receiver.tell(l.ctx, conn, err, time.Since(began))
		}
		_ = conn.Close()
		return
	}
	select {
	case l.ready <- &Conn{Conn: conn, header: h}:
	case <-l.ctx.Done():
		_ = conn.Close()
	}
}

// tell tells of a connection that is refused.
func (r *Receiver) tell(ctx context.Context, conn net.Conn, err error, after time.Duration) {
	from, level := conn.RemoteAddr().String(), slog.LevelWarn
	if errors.Is(err, io.EOF) { // as a check of the port does
		level = slog.LevelDebug
	}
	r.log.LogAttrs(ctx, level, "connection refused", slog.String("peer", from), slog.Any("error", err))
	if r.refused == nil {
		return
	}
	refused := &vgirpc.Refused{
		Transport: vgirpc.TransportHTTP, Reason: vgirpc.ReasonRefused(err), Code: vgirpc.CodeOf(err), Peer: from,
		UID: -1, PID: -1, Duration: after,
	}
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		refused.Kind = e.Kind
	}
	r.refused(ctx, refused)
}

// Conn is a connection whose header has been read.
type Conn struct {
	net.Conn

	header header
}

// RemoteAddr is the client, as the proxy says, or the proxy when it has connected
// for itself. LocalAddr is this end of the connection, whatever the proxy says.
func (c *Conn) RemoteAddr() net.Addr {
	if !c.header.source.IsValid() {
		return c.Conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(c.header.source)
}

// NetConn is the connection to the proxy.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// CloseWrite tells the peer that nothing more comes, if the connection can.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// ConnContext is the context of the connection's requests: peer.ConnOf finds there
// who the proxy is, and what it says.
func (c *Conn) ConnContext(ctx context.Context) context.Context {
	from, unix := immediate(c.Conn)
	return peer.WithConn(ctx, peer.Conn{
		Immediate: from, Unix: unix, Source: c.header.source, Destination: c.header.destination,
	})
}

// ConnContext is for http.Server, whose field of this name it has to be: without
// it, who trusts proxies by their addresses would take the client's for one. The
// listener may have TLS around it.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	for {
		switch c := conn.(type) {
		case *Conn:
			return c.ConnContext(ctx)
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return ctx
		}
	}
}
