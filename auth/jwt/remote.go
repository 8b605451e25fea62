package jwt

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/vgirpc/vgirpc-go/auth"
)

const (
	firstRetry = time.Second // doubled with each failure
	maxRetry   = 16 * time.Second
	// absentFor is how long a key id that an issuer did not know is not asked
	// for again: those who hold tokens of a key that is gone keep sending them.
	absentFor  = 5 * time.Second
	maxAbsent  = 1024
	maxWaiting = 4096 // requests
)

var (
	errClosed      = errors.New("the authenticator is closed")
	errUnreachable = errors.New("the issuer's keys cannot be fetched")
	errCrowded     = errors.New("too many requests wait for the issuer's keys")
	errStale       = errors.New("the issuer's keys are too old")
)

// remote is the keys of an issuer that have to be fetched.
//
// Its goroutine, run, is all that fetches, so that fetches never overlap. It
// does so when the keys become old, again after a failure, and when a request
// needs a key that it does not know. A fetch is a round, and requests join the
// one that is going on or comes next.
type remote struct {
	opts    *Options
	log     *slog.Logger
	fetch   func(ctx context.Context, discover bool) (*keySet, error)
	wake    chan struct{} // holds one
	first   chan struct{} // closed after the first round
	current atomic.Pointer[keySet]
	rounds  atomic.Uint64 // begun

	mu       sync.Mutex
	limiter  *rate.Limiter
	next     *round // going on, or asked for
	waiting  int
	due      time.Time // when to fetch if nobody asks
	failures int       // since the last success
	absent   map[string]time.Time
	closed   bool
}

// round is one fetch.
type round struct {
	at   time.Time // not before that
	done chan struct{}
	err  error // once done is closed
}

func newRemote(opts *Options, log *slog.Logger, fetch func(context.Context, bool) (*keySet, error)) *remote {
	return &remote{
		opts: opts, log: log, fetch: fetch,
		wake: make(chan struct{}, 1), first: make(chan struct{}),
		limiter: rate.NewLimiter(rate.Every(opts.UnknownKeyInterval), opts.UnknownKeyBurst),
		absent:  map[string]time.Time{},
		due:     time.Now(),
	}
}

// run fetches until ctx ends.
func (m *remote) run(ctx context.Context) {
	defer m.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		m.mu.Lock()
		at := m.due
		if m.next != nil && m.next.at.Before(at) {
			at = m.next.at
		}
		due := !m.due.After(at)
		m.mu.Unlock()
		timer.Reset(time.Until(at))
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
			continue
		case <-timer.C:
		}
		m.refresh(ctx, due)
	}
}

// end lets those go who wait.
func (m *remote) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.next != nil {
		m.next.err = errClosed
		close(m.next.done)
		m.next = nil
	}
}

// refresh is one round.
func (m *remote) refresh(ctx context.Context, discover bool) {
	m.mu.Lock()
	r := m.next
	if r == nil {
		r = &round{done: make(chan struct{})}
		m.next = r
	}
	m.mu.Unlock()
	// Requests that come from here on are later than the round, and may need a
	// key that it does not see.
	number := m.rounds.Add(1)

	fetching, cancel := context.WithTimeout(ctx, m.opts.RefreshTimeout)
	set, err := m.fetch(fetching, discover)
	cancel()

	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	failed := m.failures
	if err == nil {
		set.number, set.fetched = number, now
		m.current.Store(set)
		m.failures, m.due = 0, now.Add(m.opts.RefreshInterval)
	} else {
		m.failures++
		m.due = now.Add(min(firstRetry<<min(failed, 10), maxRetry))
	}
	r.err, m.next = err, nil
	close(r.done)
	if number == 1 {
		close(m.first)
	}
	m.report(ctx, set, err, failed)
}

// report logs what has gone wrong, and when it is well again.
func (m *remote) report(ctx context.Context, set *keySet, err error, failed int) {
	switch {
	case ctx.Err() != nil:
	case err != nil:
		m.log.LogAttrs(ctx, slog.LevelWarn, "keys of an issuer of tokens cannot be fetched",
			slog.Bool("have_old_keys", m.current.Load() != nil), slog.Any("error", err))
	case failed > 0:
		m.log.LogAttrs(ctx, slog.LevelInfo, "keys of an issuer of tokens can be fetched again", slog.Int("keys", set.size))
	}
}

// usable is the keys that may be used now, or nil.
func (m *remote) usable() *keySet {
	set := m.current.Load()
	if set != nil && m.opts.MaxStale > 0 && time.Since(set.fetched) > m.opts.MaxStale {
		return nil
	}
	return set
}

// key is what the token is verified with, and the set that it is from. It waits only for a key that is not
// known, and only for a token that is good as far as plausible can tell without
// one.
func (m *remote) key(ctx context.Context, token *jwt.Token, plausible func() error) (any, *keySet, error) {
	arrived := m.rounds.Load()
	kid, _ := token.Header["kid"].(string)
	for asked := false; ; asked = true {
		set := m.usable()
		if set != nil {
			key, err := set.key(ctx, token)
			if !errors.Is(err, errNoKey) {
				return key, set, err
			}
			if set.number > arrived { // fetched since: there is no such key
				m.missed(kid)
				return nil, nil, errNoKey
			}
		}
		if !asked {
			if err := plausible(); err != nil {
				return nil, nil, err
			}
		}
		if err := m.await(ctx, kid, set); err != nil {
			return nil, nil, err
		}
	}
}

// missed remembers a key id that the issuer does not know.
func (m *remote) missed(kid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.absent) >= maxAbsent {
		clear(m.absent)
	}
	m.absent[kid] = time.Now()
}

// await returns after a round that went well, or when the keys are no longer
// those that the caller has seen.
func (m *remote) await(ctx context.Context, kid string, seen *keySet) error {
	r, err := m.join(kid, seen)
	if r == nil {
		return err
	}
	defer func() {
		m.mu.Lock()
		m.waiting--
		m.mu.Unlock()
	}()
	select {
	case <-r.done:
	case <-ctx.Done():
		return &auth.Unavailable{Err: context.Cause(ctx)}
	}
	if r.err != nil {
		return &auth.Unavailable{RetryAfter: firstRetry, Err: errUnreachable}
	}
	return nil
}

// join makes the caller wait for the round that goes on or comes next, and asks
// for one if need be. Without a round there is an error, or nothing to wait for.
func (m *remote) join(kid string, seen *keySet) (*round, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	switch {
	case m.closed:
		return nil, &auth.Unavailable{Err: errClosed}
	case m.failures > 0: // nobody can tell now, and asking is under way
		return nil, &auth.Unavailable{RetryAfter: max(m.due.Sub(now), firstRetry), Err: errUnreachable}
	case m.current.Load() != seen && m.usable() != nil:
		return nil, nil //nolint:nilnil // look again
	case now.Sub(m.absent[kid]) < absentFor:
		return nil, errNoKey
	case m.waiting >= maxWaiting:
		return nil, &auth.Unavailable{RetryAfter: firstRetry, Err: errCrowded}
	}
	if m.next == nil {
		m.next = &round{at: now.Add(m.limiter.ReserveN(now, 1).DelayFrom(now)), done: make(chan struct{})}
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
	m.waiting++
	return m.next, nil
}

// ready is nil when tokens of the issuer can be verified.
func (m *remote) ready() error {
	switch {
	case m.usable() != nil:
		return nil
	case m.current.Load() != nil:
		return errStale
	}
	return errUnreachable
}
