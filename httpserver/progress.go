package httpserver

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// renewAfter is how much of a timeout has to be over before its deadline is
// moved. So a peer may be cut off that much early, and nothing is spent on
// bodies that are small.
func renewAfter(timeout time.Duration) time.Duration { return timeout / 8 }

// liftReadDeadline lets the connection of an HTTP/1 request wait for as long as
// the handler takes: net/http goes on reading, to learn of a peer that leaves,
// and would take a deadline for that.
func liftReadDeadline(w http.ResponseWriter) { setReadDeadline(w, time.Time{}) }

// setReadDeadline is [http.ResponseController.SetReadDeadline] of a writer that
// nobody wrapped.
func setReadDeadline(w http.ResponseWriter, at time.Time) {
	if d, ok := w.(interface {
		SetReadDeadline(deadline time.Time) error
	}); ok {
		_ = d.SetReadDeadline(at)
	}
}

// movingBody is a request's body that fails when it stands still. A first
// deadline is set by net/http, when it has read the header.
type movingBody struct {
	io.ReadCloser
	w       http.ResponseWriter
	timeout time.Duration
	begun   bool
	renewed time.Time
}

// Read waits no longer than the timeout.
func (b *movingBody) Read(p []byte) (int, error) {
	if b.begun { // else the first deadline holds: small bodies need no other
		b.renew(time.Now())
	}
	b.begun = true
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		liftReadDeadline(b.w)
	}
	return n, err
}

func (b *movingBody) renew(now time.Time) {
	if now.Sub(b.renewed) > renewAfter(b.timeout) {
		b.renewed = now
		setReadDeadline(b.w, now.Add(b.timeout))
	}
}

// What net/http keeps of an HTTP/2 answer before it sends any of it, and how
// much may be written before the peer has to have taken something, in bytes.
const (
	heldBack  = 4 << 10
	writeStep = 1 << 20
)

// movingWriter is an HTTP/2 answer that its peer has to go on taking: a stream
// can stand still on a connection that does not.
type movingWriter struct {
	http.ResponseWriter
	timeout time.Duration
	written int // until something has to be sent
}

// Write fails when the peer takes nothing for the timeout.
func (w *movingWriter) Write(p []byte) (int, error) {
	if w.written += len(p); w.written <= heldBack {
		return w.ResponseWriter.Write(p)
	}
	defer w.disarm()
	done := 0
	for {
		w.arm()
		n, err := w.ResponseWriter.Write(p[done:min(done+writeStep, len(p))])
		if done += n; err != nil || done == len(p) {
			return done, err
		}
	}
}

// Flush sends what is held back.
func (w *movingWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		w.arm()
		f.Flush()
		w.disarm()
	}
}

// Unwrap is for [http.ResponseController].
func (w *movingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *movingWriter) arm()    { w.setDeadline(time.Now().Add(w.timeout)) }
func (w *movingWriter) disarm() { w.setDeadline(time.Time{}) }

func (w *movingWriter) setDeadline(at time.Time) {
	if d, ok := w.ResponseWriter.(interface {
		SetWriteDeadline(deadline time.Time) error
	}); ok {
		_ = d.SetWriteDeadline(at)
	}
}

// guardedListener accepts so many connections at once, and watches what is
// written to each.
type guardedListener struct {
	net.Listener
	timeout   time.Duration
	opts      *ServeOptions
	slots     chan struct{} // nil: no limit
	closeOnce sync.Once
	closeErr  error
	closed    chan struct{}
}

func newGuardedListener(l net.Listener, opts *ServeOptions) *guardedListener {
	g := &guardedListener{Listener: l, opts: opts, timeout: opts.ProgressTimeout, closed: make(chan struct{})}
	if opts.MaxConns > 0 {
		g.slots = make(chan struct{}, opts.MaxConns)
	}
	return g
}

// Accept waits for a connection and for room for it.
func (l *guardedListener) Accept() (net.Conn, error) {
	if l.slots != nil {
		select {
		case l.slots <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	nc, err := l.Listener.Accept()
	if err != nil {
		l.leave()
		return nil, err
	}
	return &guardedConn{Conn: nc, listener: l, began: time.Now()}, nil
}

func (l *guardedListener) leave() {
	if l.slots != nil {
		<-l.slots
	}
}

// Close closes the listener; connections stay.
func (l *guardedListener) Close() error {
	l.closeOnce.Do(func() {
		l.closeErr = l.Listener.Close()
		close(l.closed)
	})
	return l.closeErr
}

// guardedConn is a connection whose writes fail when the peer takes nothing for
// the timeout.
//
// net/http sets the read deadline five times for a request, and a timer that is
// moved each time costs as much as a small call's dispatch. So the timer is set
// early and stays: when it has gone off before its time, whoever reads goes on.
type guardedConn struct {
	net.Conn
	listener *guardedListener
	began    time.Time
	renewed  atomic.Int64 // when the write deadline was, since began; 0 for never
	theirs   atomic.Bool  // the write deadline is one that somebody else set
	left     sync.Once

	mu      sync.Mutex
	readEnd time.Time // the read deadline that was asked for; zero for none
	timer   time.Time // the one that the connection has, no later than that; zero for none
}

// timerLead is for how long the timer of a read deadline is set at most.
const timerLead = 8 * time.Second

// Read reads until the deadline that was asked for.
func (c *guardedConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err == nil || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !c.goOn() {
			return n, err
		}
	}
}

// goOn reports whether the timer went off before its time, and sets it again.
func (c *guardedConn) goOn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if !c.readEnd.IsZero() && !now.Before(c.readEnd) {
		return false
	}
	return c.setTimer(now) == nil
}

// setTimer sets the timer for the deadline that was asked for.
func (c *guardedConn) setTimer(now time.Time) error {
	c.timer = now.Add(timerLead)
	if !c.readEnd.IsZero() && c.readEnd.Before(c.timer) {
		c.timer = c.readEnd
	}
	return c.Conn.SetReadDeadline(c.timer)
}

// SetReadDeadline sets when reads fail; the zero time is never.
func (c *guardedConn) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readEnd = at
	if !c.timer.IsZero() && (at.IsZero() || !at.Before(c.timer)) {
		return nil // it goes off before that, or has: Read sees to it
	}
	return c.setTimer(time.Now())
}

// Write writes in steps, each of which has the timeout.
func (c *guardedConn) Write(p []byte) (done int, err error) {
	c.listener.opts.reportHeader(c, p)
	if c.listener.timeout == 0 {
		return c.Conn.Write(p)
	}
	for {
		c.renew()
		n, err := c.Conn.Write(p[done:min(done+writeStep, len(p))])
		if done += n; err != nil || done == len(p) {
			return done, err
		}
	}
}

// renew moves the deadline when it has come nearer.
func (c *guardedConn) renew() {
	if c.theirs.Load() {
		return
	}
	now, last := time.Since(c.began), time.Duration(c.renewed.Load())
	if last == 0 || now-last > renewAfter(c.listener.timeout) {
		c.renewed.Store(int64(now))
		_ = c.Conn.SetWriteDeadline(c.began.Add(now + c.listener.timeout))
	}
}

// SetWriteDeadline sets a deadline that goes before that of the writes; the
// zero time, which net/http sets after every request, takes it back.
func (c *guardedConn) SetWriteDeadline(at time.Time) error {
	if c.listener.timeout > 0 && at.IsZero() {
		if c.theirs.Swap(false) {
			c.renewed.Store(0)
		}
		return nil
	}
	c.theirs.Store(!at.IsZero())
	return c.Conn.SetWriteDeadline(at)
}

// SetDeadline sets both deadlines.
func (c *guardedConn) SetDeadline(at time.Time) error {
	return errors.Join(c.SetReadDeadline(at), c.SetWriteDeadline(at))
}

// CloseWrite tells the peer that nothing more comes, if the connection can:
// net/http does so before it closes one whose request it has not read.
func (c *guardedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection and makes room for another one.
func (c *guardedConn) Close() error {
	err := c.Conn.Close()
	c.left.Do(c.listener.leave)
	return err
}
