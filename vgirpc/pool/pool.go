package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// errClosed answers calls on a pool that is closed. It wraps [os.ErrClosed].
var errClosed = &vgirpc.Error{Code: vgirpc.Unavailable, Type: "ConnectionClosed", Message: "the pool was closed", Cause: os.ErrClosed}

// A Pool is a transport of several connections. It is safe for concurrent use.
type Pool struct {
	dial    Dial
	opts    Options
	closing context.Context //nolint:containedctx // ends with Close: it bounds dials and checks
	stop    context.CancelFunc
	wake    chan struct{}  // tells the reaper that it is due earlier
	owned   sync.WaitGroup // the reaper, dials, and connections that are being closed
	reuses  atomic.Uint64

	mu        sync.Mutex
	all       map[*conn]struct{}
	idle      []*conn // by since
	waiting   []*waiter
	dialing   int
	doubts    uint64        // how often a connection was lost
	ending    chan struct{} // of Shutdown: closed when nothing is in use any more
	closed    bool
	closeErrs []error
	due       time.Time // when the reaper wakes; zero when it sleeps
	stats     Stats     // counters only
	lost      [reasons]uint64
}

// conn is a connection of the pool.
type conn struct {
	t       vgirpc.Transport
	retires time.Time // zero for never
	since   time.Time // idle since
	doubts  uint64    // the pool's, then
	doubted bool      // something has happened since
	// Of the call that has the connection:
	release  func()
	giveBack func() // releases the result, and the connection
}

// waiter is a call that waits for a connection. A grant without a connection is
// leave to open one.
type waiter struct{ grant chan *conn }

// New returns a pool of connections that dial opens. None is opened before it is
// needed. The pool must be closed.
func New(dial Dial, opts Options) (*Pool, error) {
	o, err := opts.valid()
	if err != nil {
		return nil, err
	}
	if dial == nil {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "pool: the function that opens connections is nil")
	}
	p := &Pool{dial: dial, opts: o, wake: make(chan struct{}, 1), all: map[*conn]struct{}{}}
	p.closing, p.stop = context.WithCancel(context.Background())
	p.owned.Go(p.reap)
	return p, nil
}

// acquire returns a connection for one call, and waits for it in turn.
func (p *Pool) acquire(ctx context.Context) (*conn, error) {
	if ctx.Err() != nil {
		return nil, vgirpc.ContextError(ctx)
	}
	p.mu.Lock()
	if p.closed || p.ending != nil {
		p.mu.Unlock()
		return nil, errClosed
	}
	var c *conn
	granted := false
	if len(p.waiting) == 0 { // nobody is overtaken
		c, granted = p.take()
	}
	if granted {
		p.mu.Unlock()
		return p.prepare(ctx, c)
	}
	w := &waiter{make(chan *conn, 1)}
	p.waiting = append(p.waiting, w)
	p.stats.Waits++
	p.mu.Unlock()
	c, err := p.await(ctx, w)
	if err != nil {
		return nil, err
	}
	return p.prepare(ctx, c)
}

// take grants an idle connection, or nil and leave to open one. mu is held.
func (p *Pool) take() (c *conn, granted bool) {
	switch n := len(p.idle); {
	case n == 0:
		if len(p.all)+p.dialing >= p.opts.Max {
			return nil, false
		}
		p.begin()
		return nil, true
	case p.opts.Reuse == MostRecent:
		c = p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
	default:
		c = p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	c.doubted = c.doubts != p.doubts
	return c, true
}

// begin counts a dial in, which has the place of a connection. mu is held, and
// the pool is open.
func (p *Pool) begin() {
	p.dialing++
	p.owned.Add(1)
}

// await waits for a grant.
func (p *Pool) await(ctx context.Context, w *waiter) (*conn, error) {
	start := time.Now()
	var err error
	select {
	case c, open := <-w.grant:
		p.waited(start)
		if !open {
			return nil, errClosed
		}
		return c, nil
	case <-ctx.Done():
		err = vgirpc.ContextError(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.WaitTime += time.Since(start)
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return nil, err
	}
	// It was granted at the same time: the next one may have it.
	switch c, open := <-w.grant; {
	case !open:
	case c == nil:
		p.dialed()
	default:
		p.park(c, time.Now())
	}
	return nil, err
}

func (p *Pool) waited(start time.Time) {
	took := time.Since(start)
	p.mu.Lock()
	p.stats.WaitTime += took
	p.mu.Unlock()
}

// grant gives what is free to those who wait. mu is held.
func (p *Pool) grant() {
	for len(p.waiting) > 0 && !p.closed {
		c, ok := p.take()
		if !ok {
			return
		}
		p.waiting[0].grant <- c
		p.waiting = slices.Delete(p.waiting, 0, 1)
	}
	p.atRest()
}

// atRest tells Shutdown when nothing is in use. mu is held.
func (p *Pool) atRest() {
	if p.ending == nil || len(p.waiting) > 0 || p.dialing > 0 || len(p.idle) < len(p.all) {
		return
	}
	select {
	case <-p.ending:
	default:
		close(p.ending)
	}
}

// park makes c idle, or gives it to whoever waits. mu is held.
func (p *Pool) park(c *conn, now time.Time) {
	if p.closed {
		return // and so is the connection
	}
	c.since, c.doubts = now, p.doubts
	p.idle = append(p.idle, c)
	p.grant()
	p.schedule(c)
}

// prepare makes sure that a call can be sent on c; nil has yet to be opened.
func (p *Pool) prepare(ctx context.Context, c *conn) (*conn, error) {
	if c == nil {
		return p.open(ctx, nil)
	}
	now := time.Now()
	switch {
	case c.aged(now):
		return p.replace(ctx, c, Aged, nil)
	case p.opts.CheckAfter > 0 && (c.doubted || now.Sub(c.since) >= p.opts.CheckAfter):
		if err := p.check(ctx, c); err != nil {
			if ctx.Err() != nil { // which says nothing about the connection, but may have broken it
				p.discard(c, Unhealthy, err)
				return nil, vgirpc.ContextError(ctx)
			}
			return p.replace(ctx, c, Unhealthy, err)
		}
	}
	p.reuses.Add(1)
	return c, nil
}

// check asks c for a sign of life.
func (p *Pool) check(ctx context.Context, c *conn) error {
	if p.opts.CheckTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.opts.CheckTimeout)
		defer cancel()
	}
	returned := false
	defer p.rescue(c, Unhealthy, &returned)
	err := p.opts.Check(ctx, c.t)
	returned = true
	return err
}

// open opens a connection in the place that was granted for it. before runs
// first, when it is not nil.
func (p *Pool) open(ctx context.Context, before func()) (*conn, error) {
	var t vgirpc.Transport
	var err error
	finished := false
	defer func() {
		if !finished { // a function of the caller's has panicked
			p.mu.Lock()
			defer p.mu.Unlock()
			if t != nil && err == nil {
				p.owned.Go(func() { _ = t.Close() }) // nothing was sent on it
			}
			p.dialed()
		}
	}()
	if before != nil {
		before()
	}
	start := time.Now()
	t, err = p.dialOne(ctx)
	if p.opts.OnOpen != nil {
		p.opts.OnOpen(time.Since(start), err)
	}
	finished = true
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.dialed() // when the connection is there, so that its place is never free
	switch {
	case err != nil:
		p.stats.DialErrors++
		if p.closed {
			err = errClosed
		}
		return nil, err
	case p.closed:
		p.owned.Go(func() { _ = t.Close() }) // nothing was sent on it
		return nil, errClosed
	}
	c := &conn{t: t, retires: p.retirement(time.Now())}
	c.giveBack = func() {
		c.release()
		p.done(c, nil)
	}
	p.all[c] = struct{}{}
	p.stats.Dials++
	return c, nil
}

// dialOne opens a connection, unless the pool closes meanwhile.
func (p *Pool) dialOne(ctx context.Context) (vgirpc.Transport, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(p.closing, func() { cancel(errClosed) })
	defer stop()
	t, err := p.dial(ctx)
	if err == nil && t == nil {
		err = vgirpc.Errorf(vgirpc.Internal, "pool: the dial function has returned neither a transport nor an error")
	}
	return t, err
}

// dialed counts a dial out. mu is held.
func (p *Pool) dialed() {
	p.dialing--
	p.owned.Done()
	p.grant()
}

// retirement is when a connection opened now becomes too old.
func (p *Pool) retirement(now time.Time) time.Time {
	if p.opts.MaxAge == 0 {
		return time.Time{}
	}
	short := p.opts.AgeJitter * rand.Float64() //nolint:gosec // spreads load, keeps no secret
	return now.Add(p.opts.MaxAge - time.Duration(short*float64(p.opts.MaxAge)))
}

func (c *conn) aged(now time.Time) bool { return !c.retires.IsZero() && !now.Before(c.retires) }

// done ends the use of c by a call that ended with err.
func (p *Pool) done(c *conn, err error) {
	c.release = nil
	if err != nil && !vgirpc.IsRemote(err) {
		p.discard(c, Broken, err)
		return
	}
	now := time.Now()
	if c.aged(now) {
		p.discard(c, Aged, nil)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.park(c, now)
}

// discard gives c up.
func (p *Pool) discard(c *conn, why Reason, err error) {
	p.mu.Lock()
	known := p.forget(c, why)
	p.doubt(why, err)
	p.grant()
	p.mu.Unlock()
	p.tell(known, why, err)
}

// replace gives c up before anything was sent on it, and opens another one in its
// place.
func (p *Pool) replace(ctx context.Context, c *conn, why Reason, err error) (*conn, error) {
	p.mu.Lock()
	known := p.forget(c, why)
	if known {
		p.begin()
	}
	if why == Unhealthy {
		p.doubts++ // ctx lasts: it was no deadline but the check's own
	}
	p.mu.Unlock()
	if !known {
		return nil, errClosed
	}
	return p.open(ctx, func() { p.tell(true, why, err) })
}

// forget takes c out of the pool and closes it, unless Close has done so. mu is
// held.
func (p *Pool) forget(c *conn, why Reason) (known bool) {
	if _, known = p.all[c]; !known {
		return false
	}
	delete(p.all, c)
	p.lost[why]++
	p.owned.Go(func() { // a process takes its time
		if err := c.t.Close(); err != nil && why == Closed { // any other reason says more
			p.mu.Lock()
			defer p.mu.Unlock()
			p.closeErrs = append(p.closeErrs, err)
		}
	})
	return true
}

// doubt makes every idle connection prove itself after one was lost: a server
// that ends takes them all along. The end of a call's context says nothing about
// the server. mu is held.
func (p *Pool) doubt(why Reason, err error) {
	if (why == Broken || why == Unhealthy) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		p.doubts++
	}
}

func (p *Pool) tell(known bool, why Reason, err error) {
	if known && p.opts.OnDiscard != nil {
		p.opts.OnDiscard(why, err)
	}
}

// Stats returns a snapshot.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Open, s.Idle, s.Dialing, s.Waiting = len(p.all), len(p.idle), p.dialing, len(p.waiting)
	s.InUse, s.Reuses = s.Open-s.Idle, p.reuses.Load()
	s.Discards = Discards{
		Broken: p.lost[Broken], Unhealthy: p.lost[Unhealthy], Idle: p.lost[Idle], Aged: p.lost[Aged], Closed: p.lost[Closed],
	}
	return s
}

// Shutdown takes no more calls, waits for those in progress and those that
// wait, and closes the pool. When ctx ends first, the calls that are left fail,
// and the error is that of ctx.
func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if p.ending == nil {
		p.ending = make(chan struct{})
		p.atRest()
	}
	ending := p.ending
	p.mu.Unlock()
	var err error
	select {
	case <-ending:
	case <-p.closing.Done():
	case <-ctx.Done():
		err = vgirpc.ContextError(ctx)
	}
	return errors.Join(err, p.Close())
}

// Close closes all connections, so that calls in progress fail, and waits for
// the pool's own work, as the end of worker processes is. It does not wait for
// results to be released or streams to be closed. It returns the errors of the
// connections that it closed. Closing again waits as well, and returns the same.
func (p *Pool) Close() error {
	p.mu.Lock()
	n := len(p.all)
	if !p.closed {
		p.closed = true
		p.stop()
		for c := range p.all {
			p.forget(c, Closed)
		}
		p.idle = nil
		for _, w := range p.waiting {
			close(w.grant)
		}
		p.waiting = nil
	}
	p.mu.Unlock()
	for range n {
		p.tell(true, Closed, nil)
	}
	p.owned.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.closeErrs...)
}

// reap closes connections that were idle for too long or are too old, until the
// pool is closed.
func (p *Pool) reap() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.closing.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		if next := p.expire(time.Now()); next > 0 {
			timer.Reset(next)
		}
	}
}

// expire closes the idle connections whose time has come, and returns in how
// long the next one's comes, 0 for never.
func (p *Pool) expire(now time.Time) time.Duration {
	var lost []Reason
	p.mu.Lock()
	left := len(p.idle)
	p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
		why := Idle
		switch {
		case c.aged(now):
			why = Aged
		case p.opts.IdleTimeout == 0 || left <= p.opts.MinIdle || now.Sub(c.since) < p.opts.IdleTimeout:
			return false
		}
		left--
		p.forget(c, why)
		lost = append(lost, why)
		return true
	})
	p.due = time.Time{}
	for i, c := range p.idle {
		if end := p.expiry(c, i < len(p.idle)-p.opts.MinIdle); p.due.IsZero() || (!end.IsZero() && end.Before(p.due)) {
			p.due = end
		}
	}
	var next time.Duration
	if !p.due.IsZero() {
		next = p.due.Sub(now)
	}
	p.mu.Unlock()
	for _, why := range lost {
		p.tell(true, why, nil)
	}
	return next
}

// expiry is when c has to be closed if nobody uses it, zero for never.
func (p *Pool) expiry(c *conn, surplus bool) time.Time {
	end := c.retires
	if p.opts.IdleTimeout > 0 && surplus {
		if idle := c.since.Add(p.opts.IdleTimeout); end.IsZero() || idle.Before(end) {
			end = idle
		}
	}
	return end
}

// schedule makes sure that the reaper wakes in time for c, which has become
// idle. mu is held.
func (p *Pool) schedule(c *conn) {
	end := p.expiry(c, len(p.idle) > p.opts.MinIdle)
	if end.IsZero() || (!p.due.IsZero() && !end.Before(p.due)) {
		return
	}
	p.due = end
	select {
	case p.wake <- struct{}{}:
	default: // it is about to look
	}
}
