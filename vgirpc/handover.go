package vgirpc

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Resumer is a listener some of whose connections have been served by another
// process before ([Server.Release]). [Server.Serve] asks it about each connection
// right after Accept: who has spoken before need not do so again within
// FirstByteTimeout.
type Resumer interface {
	// Resumed reports whether the connection that Accept returned last is one
	// of those.
	Resumed() bool
}

// errLeaving ends the serving loop of a connection that goes on elsewhere.
var errLeaving = errors.New("vgirpc: the connection is served by another process from here")

// Release lets connections go on in another process. Once one is between two
// calls, with nothing received that is not answered, pass gets it, and has made a
// copy of its descriptor when it returns; this process closes its own. pass may be
// called many times at once. What it fails to take is closed. Release returns when
// no connection is left, or ctx ends; [Server.Shutdown] comes after it, and goes on
// with passing what is still busy.
//
// Connections on which more has been agreed than a copy of the descriptor says
// cannot go on elsewhere: with shared memory, with files that may come, with
// admitters or OnConnect, and those that are not sockets. They are served here as
// before until Shutdown. When the server's options bring that about, Release
// returns with the end of ctx: its callers may be about to come in. One that waits
// after a call to no known method is closed: what comes next may be that call's
// input, which only this process could tell from a request.
func (s *Server) Release(ctx context.Context, pass func(net.Conn) error) {
	t := &s.tracker
	t.mu.Lock()
	t.pass.Store(&pass)
	for c := range t.conns {
		if c.state.Load() == connWaiting {
			c.interrupt()
		}
	}
	idle := t.idle
	switch {
	case len(t.conns) == 0:
		idle = make(chan struct{})
		close(idle)
	case idle == nil:
		idle = make(chan struct{})
		t.idle = idle
	}
	t.mu.Unlock()
	if !s.passable() {
		idle = nil
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// InProgress is how many calls are being served on byte streams right now, those
// included of which a part has arrived.
func (s *Server) InProgress() int {
	t := &s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for c := range t.conns {
		if state := c.state.Load(); state != connWaiting && state != connClosed {
			n++
		}
	}
	return n
}

// releases reports whether the server releases its connections.
func (t *tracker) releases() bool { return t.pass.Load() != nil }

// turnAway ends a connection that was accepted too late.
func (s *Server) turnAway(nc net.Conn) {
	if pass := s.tracker.pass.Load(); pass != nil && s.passable() && isSocket(nc) {
		_ = (*pass)(nc)
	}
	_ = nc.Close()
}

// passable reports whether connections of this server can go on elsewhere, as far
// as its options go.
func (s *Server) passable() bool { return len(s.opts.Conns.Admit) == 0 && s.opts.OnConnect == nil }

func isSocket(rw any) bool {
	switch rw.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// mobile is the connection's socket if it can go on elsewhere, else nil.
func (c *Conn) mobile() net.Conn {
	if !c.s.passable() || c.shm != nil || c.incoming.Load() != nil || !isSocket(c.rw) {
		return nil
	}
	return c.rw.(net.Conn)
}

// leaves reports whether the connection is to go on elsewhere, and can do so now:
// nothing of a call has arrived.
func (c *Conn) leaves() bool {
	return c.s.tracker.releases() && c.mobile() != nil && !c.strayInput && !c.r.Buffered()
}

// interrupt makes a connection that waits find out that it is to go on elsewhere
// (interrupted). It reports whether it can.
func (c *Conn) interrupt() bool {
	d := c.mobile()
	if d != nil {
		_ = d.SetReadDeadline(time.Unix(1, 0)) // which fails when it is closed
	}
	return d != nil
}

// interrupted says what a read means that was interrupted: the end of the
// connection here, or nothing, because a call has begun to arrive before.
func (c *Conn) interrupted(err error) error {
	d := c.mobile()
	if !c.s.tracker.releases() || d == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if err := d.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	switch {
	case c.state.Load() != connWaiting:
	case c.leaves():
		return errLeaving
	case c.strayInput:
		return io.EOF
	}
	return nil
}

// leave hands a connection over.
func (s *Server) leave(c *Conn) error {
	if d := c.mobile(); d != nil {
		return (*s.tracker.pass.Load())(d)
	}
	return nil
}
