package vgirpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// tracker knows a server's open connections: it closes those that stand still
// for too long, and ends all of them when the server shuts down.
type tracker struct {
	mu       sync.Mutex
	conns    map[*Conn]*watch
	stop     chan struct{} // of the watchdog, nil while there is none
	served   int64         // connections, since the beginning
	draining atomic.Bool
	pass     atomic.Pointer[func(net.Conn) error] // of Release
	idle     chan struct{}                        // closed when the last connection goes, while draining
}

// watch is what the watchdog remembers of a connection between two looks.
type watch struct {
	state    uint32
	progress uint64
	since    time.Time
}

// add takes a connection in, unless the server shuts down.
func (t *tracker) add(c *Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draining.Load() {
		return false
	}
	if t.conns == nil {
		t.conns = map[*Conn]*watch{}
	}
	t.conns[c] = &watch{since: time.Now()}
	t.served++
	if t.stop == nil && c.watched() {
		if every := watchInterval(c.s.opts.Conns); every > 0 {
			t.stop = make(chan struct{})
			go t.watchdog(t.stop, every, c.s.opts.Conns.withDefaults())
		}
	}
	return true
}

// watched reports whether the connection may stand still for too long. Whoever
// holds the other end of a pipe owns this process.
func (c *Conn) watched() bool { return c.peer.Kind != TransportPipe }

// remove lets a connection go; the last one takes the watchdog with it.
func (t *tracker) remove(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
	if len(t.conns) > 0 {
		return
	}
	if t.stop != nil {
		close(t.stop)
		t.stop = nil
	}
	if t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// watchInterval is how often the watchdog looks: often enough for the shortest
// of the timeouts.
func watchInterval(o ConnOptions) time.Duration {
	o = o.withDefaults()
	shortest := time.Duration(0)
	for _, d := range []time.Duration{o.FirstByteTimeout, o.ProgressTimeout, o.IdleTimeout} {
		if d > 0 && (shortest == 0 || d < shortest) {
			shortest = d
		}
	}
	return min(shortest/4, time.Second)
}

// watchdog compares what each connection does with the last look. That way the
// hot path sets no timers: it only counts.
func (t *tracker) watchdog(stop chan struct{}, every time.Duration, o ConnOptions) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			for c, why := range t.stalled(now, o) {
				c.stall.Store(why) // for its serving loop to report
				_ = c.Close()
			}
		}
	}
}

// A StallError is why a connection was closed that stood still for too long.
type StallError struct {
	Option string // the timeout's name in ConnOptions
	After  time.Duration
}

// Error names the option and the time.
func (e *StallError) Error() string {
	return fmt.Sprintf("vgirpc: connection closed: nothing moved for %v (%s)", e.After, e.Option)
}

// stalled finds the connections that have been at one point for too long.
func (t *tracker) stalled(now time.Time, o ConnOptions) map[*Conn]*StallError {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[*Conn]*StallError{}
	for c, w := range t.conns {
		if !c.watched() {
			continue
		}
		state, progress := c.state.Load(), c.progress.Load()
		if state != w.state || progress != w.progress {
			w.state, w.progress, w.since = state, progress, now
			continue
		}
		var limit StallError
		switch {
		case state == connWaiting && !c.spoke.Load():
			limit = StallError{"FirstByteTimeout", o.FirstByteTimeout}
		case state == connWaiting:
			limit = StallError{"IdleTimeout", o.IdleTimeout}
		case state == connPartial || state == connWriting:
			limit = StallError{"ProgressTimeout", o.ProgressTimeout}
		}
		if limit.After > 0 && now.Sub(w.since) >= limit.After {
			out[c] = &limit
		}
	}
	return out
}

// Shutdown ends serving: connections that wait for a request are closed at
// once, the others when their call is done. When ctx ends first, they are cut
// off and ctx's error is returned. Listeners are closed by whoever opened them.
func (s *Server) Shutdown(ctx context.Context) error {
	t := &s.tracker
	t.mu.Lock()
	t.draining.Store(true)
	if len(t.conns) == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	for c := range t.conns {
		if c.state.Load() == connWaiting && (!t.releases() || !c.interrupt()) {
			go func() { _ = c.Close() }() // its serving loop removes it
		}
	}
	t.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		go func() { _ = c.Close() }()
	}
	return ctx.Err()
}

// ServeConn serves one connection until its peer closes it, ctx ends or the
// server shuts down, and closes it. Many connections may be served at once.
func (s *Server) ServeConn(ctx context.Context, c *Conn) error {
	defer func() { _ = c.Close() }()
	if !s.tracker.add(c) {
		if s.tracker.releases() {
			return s.leave(c)
		}
		return nil
	}
	defer s.tracker.remove(c)
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	err := c.Serve()
	if errors.Is(err, errLeaving) {
		return s.leave(c)
	}
	return err
}
