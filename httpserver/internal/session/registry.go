package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/seal"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Defaults of [Options].
const (
	DefaultTTL         = 300 * time.Second
	DefaultMaxSessions = 100_000
)

// Options are those of a [Registry].
type Options struct {
	// TTL is how long a session lives from its opening, unless its opener says
	// otherwise: [DefaultTTL] when zero. Use does not prolong it.
	TTL time.Duration
	// MaxSessions is how many sessions may be open at once: [DefaultMaxSessions]
	// when zero.
	MaxSessions int
	// Keys seal the tokens: random ones when nil, whose tokens no other server
	// can tell from noise.
	Keys *seal.KeyRing
	// ServerID is what the server calls itself. A token of another server's is
	// refused even if the keys are shared.
	ServerID string
	// Logger gets what goes wrong when states are closed; nobody does when nil.
	Logger *slog.Logger
}

// Registry is the sticky sessions of one server. It is safe for concurrent use,
// and runs no goroutine but when sessions end.
type Registry struct {
	ttl    time.Duration
	max    int
	keys   *seal.KeyRing
	server string
	log    *slog.Logger
	idle   chan struct{} // closed when shut down and all states are closed

	mu       sync.Mutex // guards what follows, and is held for no longer than it takes to touch it
	entries  map[id]*entry
	queue    queue
	timer    *time.Timer // runs expire when the head of the queue is due
	draining bool
	stopped  bool // by Shutdown
	unclosed int  // sessions whose state is not closed yet, live or not
}

// New returns an empty registry. It fails on a negative TTL or MaxSessions.
func New(o Options) (*Registry, error) {
	if o.TTL < 0 {
		return nil, fmt.Errorf("session: a TTL of %v is negative", o.TTL)
	}
	if o.MaxSessions < 0 {
		return nil, fmt.Errorf("session: MaxSessions of %d is negative", o.MaxSessions)
	}
	r := &Registry{
		ttl: o.TTL, max: o.MaxSessions, keys: o.Keys, server: o.ServerID, log: o.Logger,
		idle: make(chan struct{}), entries: map[id]*entry{},
	}
	if r.ttl == 0 {
		r.ttl = DefaultTTL
	}
	if r.max == 0 {
		r.max = DefaultMaxSessions
	}
	if r.keys == nil {
		r.keys = seal.RandomKeyRing()
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.timer = time.AfterFunc(time.Hour, r.expire)
	r.timer.Stop()
	return r, nil
}

// TTL is how long a session lives unless its opener says otherwise.
func (r *Registry) TTL() time.Duration { return r.ttl }

// Len is how many sessions are live.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries)
}

// Drain makes r refuse to open sessions. Those that are live go on until they
// are closed or their time is over (sticky-sessions-spec section 7).
func (r *Registry) Drain() { r.setDraining(true) }

// Undrain takes back what [Registry.Drain] did, but not what
// [Registry.Shutdown] did.
func (r *Registry) Undrain() { r.setDraining(false) }

func (r *Registry) setDraining(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = on
}

// Draining reports whether r refuses to open sessions.
func (r *Registry) Draining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining || r.stopped
}

// Begin starts a request's part in the sessions. hasToken tells that it came with
// a token, and accept that its sender will keep track of a session that it opens.
// A request with a token waits until the calls before it on the same session are
// finished, or ctx is done, whose error it returns then. A token that leads to no
// live session of this caller on this server is an error of kind
// [vgirpc.KindSessionLost] and code ABORTED.
//
// After a nil error, [Call.Finish] has to be called.
func (r *Registry) Begin(ctx context.Context, token string, hasToken, accept bool, who *vgirpc.Identity) (*Call, error) {
	c := &Call{registry: r, who: who, accept: accept}
	if !hasToken {
		return c, nil
	}
	e, err := r.enter(ctx, token, who)
	if err != nil {
		return nil, err
	}
	c.entry, c.touched, c.action = e, e.hex, actionResume
	return c, nil
}

// Teardown closes the session of token, after the calls before it on the same
// session, and reports whether it did: not for a token that leads to no live
// session of this caller, nor when ctx ends before its turn.
func (r *Registry) Teardown(ctx context.Context, token string, who *vgirpc.Identity) bool {
	e, err := r.enter(ctx, token, who)
	if err != nil {
		return false
	}
	r.mu.Lock()
	r.remove(e)
	r.mu.Unlock()
	r.release(e)
	return true
}

// enter resolves token and waits for the turn of its session.
func (r *Registry) enter(ctx context.Context, token string, who *vgirpc.Identity) (*entry, error) {
	e := r.find(token, who)
	if e == nil {
		return nil, lost()
	}
	if !e.take(ctx.Done()) {
		return nil, fmt.Errorf("waiting for the session's turn: %w", ctx.Err())
	}
	r.mu.Lock()
	if !time.Now().Before(e.expires) {
		r.remove(e) // its turn came before the timer's
	}
	ended := e.ended
	r.mu.Unlock()
	if ended {
		r.release(e)
		return nil, lost()
	}
	return e, nil
}

// open makes state a session, whose turn the caller has.
func (r *Registry) open(state any, ttl time.Duration, who *vgirpc.Identity) (*entry, error) {
	e := newEntry(state, time.Now().Add(ttl), who)
	e.turn <- struct{}{}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining || r.stopped {
		return nil, draining()
	}
	if len(r.entries) >= r.max {
		return nil, tooMany(r.max)
	}
	r.add(e)
	return e, nil
}

// schedule sets the timer to the head of the queue. The caller holds the mutex.
func (r *Registry) schedule() {
	if len(r.queue) > 0 {
		r.timer.Reset(time.Until(r.queue[0].expires))
	}
}

// expire ends the sessions whose time is over. The timer runs it.
func (r *Registry) expire() {
	var idle []*entry
	r.mu.Lock()
	now := time.Now()
	for len(r.queue) > 0 && !now.Before(r.queue[0].expires) {
		e := r.queue[0]
		r.remove(e)
		if e.takeNow() { // else the call that is using it closes it
			idle = append(idle, e)
		}
	}
	r.schedule()
	r.mu.Unlock()
	r.releaseAll(idle)
}

// closers is how many states are closed at once, so that one that is slow to
// close does not keep the others open.
const closers = 16

// releaseAll gives back the turns of sessions that have ended, which closes
// their states. It returns when all are closed.
func (r *Registry) releaseAll(ended []*entry) {
	next := make(chan *entry, len(ended))
	for _, e := range ended {
		next <- e
	}
	close(next)
	var wait sync.WaitGroup
	for range min(closers, len(ended)) {
		wait.Go(func() {
			for e := range next {
				r.release(e)
			}
		})
	}
	wait.Wait()
}

// Shutdown ends every live session and lets none open, now or later. It returns
// when all states are closed, those of sessions that a call is using when that
// call is finished; or when ctx is done, with its error, and the rest are closed
// as their calls finish. It may be called again, to wait on.
func (r *Registry) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	first := !r.stopped
	r.stopped = true
	var idle []*entry
	for len(r.queue) > 0 {
		e := r.queue[len(r.queue)-1]
		r.remove(e)
		if e.takeNow() {
			idle = append(idle, e)
		}
	}
	if first && r.unclosed == 0 {
		close(r.idle)
	}
	r.mu.Unlock()

	go r.releaseAll(idle) // waited for by way of idle
	select {
	case <-r.idle:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	left := r.unclosed
	r.mu.Unlock()
	if left == 0 {
		return nil
	}
	return fmt.Errorf("session: %d sessions are not closed yet: %w", left, ctx.Err())
}
