package vgirpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/internal/accept"
)

// Socket settings of accepted connections.
const (
	// A body that is larger than this is copied while it is in the cache: a
	// buffer of 1 MiB made a stream of such batches take a third longer.
	socketBuffer    = 256 << 10
	keepAlivePeriod = 60 * time.Second
)

// Serve accepts connections from l and serves each on a goroutine of its own,
// at most MaxConns at once, until ctx ends or the listener is closed; after a
// Shutdown, until the next connection comes, which is turned away. It closes l,
// waits for the connections it accepted, and returns nil for all of these ends.
//
// [ListenUnix] and [ListenTCP] make listeners that are set up well.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	kind := TransportTCP
	if l.Addr().Network() == "unix" {
		kind = TransportUnix
	}
	if err := s.Start(ctx, kind); err != nil {
		_ = l.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	admitting, stopAdmitting := context.WithCancel(ctx)
	defer stopAdmitting() // ahead of the wait: who is not in yet stays outside
	defer func() { _ = l.Close() }()
	silence := newQuiet(l, s.opts.Conns.QuietTimeout)
	defer silence.stop()
	slots := newSlots(s.opts.Conns.withDefaults().MaxConns)
	for {
		slots.take() // before a connection is taken
		nc, err := l.Accept()
		if err != nil {
			slots.give()
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return nil
			}
			if accept.Passes(err) {
				s.log.LogAttrs(ctx, slog.LevelWarn, "accept failed, trying again", slog.Any("error", err))
				time.Sleep(accept.Backoff)
				continue
			}
			return fmt.Errorf("vgirpc: accept: %w", err)
		}
		if s.tracker.draining.Load() {
			slots.give()
			s.turnAway(nc)
			return nil
		}
		resumer, ok := l.(Resumer)
		resumed := ok && resumer.Resumed()
		silence.add(1)
		conns.Go(func() {
			defer func() {
				silence.add(-1)
				slots.give()
			}()
			s.serveAccepted(ctx, admitting, nc, kind, resumed)
		})
	}
}

// slots are places for connections; nil has no end of them.
type slots chan struct{}

func newSlots(n int) slots {
	if n < 0 {
		return nil
	}
	return make(slots, n)
}

func (s slots) take() {
	if s != nil {
		s <- struct{}{}
	}
}

func (s slots) give() {
	if s != nil {
		<-s
	}
}

// serveAccepted admits a connection, until admitting ends, and serves it, until
// ctx does.
func (s *Server) serveAccepted(ctx, admitting context.Context, nc net.Conn, kind TransportKind, resumed bool) {
	a, began := NewAdmission(nc, tunePeer(nc, kind)), time.Now()
	defer a.End()
	defer func() { _ = nc.Close() }() // what was put around it may have left that out
	err := s.admit(admitting, a)
	peer := a.Peer
	var c *Conn
	if err == nil {
		c, err = s.NewConn(ctx, a.Conn, peer)
		_, meant := errors.AsType[*Error](err)
		a.Told = a.Told || !meant // what is wrong is not the peer's business
	}
	if err != nil {
		s.logRefused(ctx, peer, err)
		s.reportConn(ctx, a, err, began)
		s.sendAway(admitting, a, err)
		return
	}
	c.socket = a.socket
	c.spoke.Store(resumed)
	if !a.until.IsZero() {
		defer c.endBy(a.until)()
	}
	if err := s.ServeConn(ctx, c); err != nil {
		s.log.LogAttrs(ctx, slog.LevelInfo, "connection ended", slog.String("peer", peer.Addr), slog.Any("error", err))
	}
}

// tunePeer sets the socket up and says who is at the other end.
func tunePeer(nc net.Conn, kind TransportKind) *Peer {
	peer := &Peer{Kind: kind, UID: -1, GID: -1, PID: -1}
	if outer, ok := nc.(interface{ NetConn() net.Conn }); ok { // a tls.Conn
		nc = outer.NetConn()
	}
	switch c := nc.(type) {
	case *net.TCPConn:
		peer.Addr = c.RemoteAddr().String()
		_ = c.SetNoDelay(true) // the socket works without any of these
		_ = c.SetKeepAlivePeriod(keepAlivePeriod)
		_ = c.SetReadBuffer(socketBuffer)
		_ = c.SetWriteBuffer(socketBuffer)
	case *net.UnixConn:
		_ = c.SetReadBuffer(socketBuffer)
		_ = c.SetWriteBuffer(socketBuffer)
		peer.UID, peer.GID, peer.PID = peerCredentials(c)
	}
	return peer
}

// ListenTCP listens on address ("host:port"; host 127.0.0.1 when empty, port 0
// for a free one). Raw TCP has no authentication of its own: anything but
// loopback belongs behind something that has.
func ListenTCP(ctx context.Context, address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = "", address
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("vgirpc: %w", err)
	}
	return l, nil
}

// startupGrace is the least time that a listener with a QuietTimeout waits for
// its first connection.
const startupGrace = 60 * time.Second

// quiet closes a listener when nobody has been connected for a while.
type quiet struct {
	mu    sync.Mutex
	open  int
	timer *time.Timer
	after time.Duration
}

// newQuiet starts the clock of a listener; nil when the option is off.
func newQuiet(l net.Listener, after time.Duration) *quiet {
	if after <= 0 {
		return nil
	}
	q := &quiet{after: after}
	q.timer = time.AfterFunc(max(after, startupGrace), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.open == 0 {
			_ = l.Close() // Serve sees it and returns
		}
	})
	return q
}

// add counts a connection in or out.
func (q *quiet) add(n int) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open += n; q.open == 0 {
		q.timer.Reset(q.after)
	} else {
		q.timer.Stop()
	}
}

func (q *quiet) stop() {
	if q != nil {
		q.timer.Stop()
	}
}
