package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// State is how far a worker has come.
type State int32

// States, in the order in which a worker has them.
const (
	// Starting is a worker that cannot be reached yet.
	Starting State = iota
	// Serving is a worker that takes calls.
	Serving
	// Draining is a worker that is about to end: it may still take calls, but
	// nobody should send it new ones.
	Draining
)

// String names the state.
func (s State) String() string { return [...]string{"starting", "serving", "draining"}[s] }

// life is what a worker tells of itself and can be told while it lives. Its
// methods may be called at once.
type life struct {
	state atomic.Int32

	mu      sync.Mutex
	checks  []readiness
	reloads []func(context.Context) error
	watches []func(State)

	reloading sync.Mutex
}

type readiness struct {
	name  string
	check func(context.Context) error
}

// Readiness is whether one of the things is there that a worker cannot do
// without.
type Readiness struct {
	Name string
	Err  error // nil when it is there
}

// Ready makes a condition of being ready: check returns nil when what name
// stands for is there, a key set or a storage for instance. It is called from
// time to time, perhaps at once with others and with itself, until the worker
// ends. Its error must hold no credential.
func (s *Setup) Ready(name string, check func(context.Context) error) {
	s.life.mu.Lock()
	defer s.life.mu.Unlock()
	s.life.checks = append(s.life.checks, readiness{name, check})
}

// CheckReady asks whether calls should be sent to this worker: first whether it
// serves, under the name "worker", then all that Ready was given, at once and in
// the order in which they were given.
func (s *Setup) CheckReady(ctx context.Context) []Readiness {
	s.life.mu.Lock()
	checks := slices.Clip(s.life.checks)
	s.life.mu.Unlock()
	out := make([]Readiness, 1+len(checks))
	out[0].Name = "worker"
	if state := s.State(); state != Serving {
		out[0].Err = fmt.Errorf("the worker is %s", state)
	}
	var all sync.WaitGroup
	for i, c := range checks {
		out[1+i].Name = c.name
		all.Go(func() { out[1+i].Err = c.check(ctx) })
	}
	all.Wait()
	return out
}

// State is how far the worker has come.
func (s *Setup) State() State { return State(s.life.state.Load()) }

// OnState makes the worker call f with each state that it comes to, in the order
// of the states. f must not block.
func (s *Setup) OnState(f func(State)) {
	s.life.mu.Lock()
	defer s.life.mu.Unlock()
	s.life.watches = append(s.life.watches, f)
}

// enter comes to a state, once.
func (s *Setup) enter(state State) {
	if s.life.state.Swap(int32(state)) >= int32(state) {
		return
	}
	s.life.mu.Lock()
	watches := s.life.watches
	s.life.mu.Unlock()
	for _, f := range watches {
		f(state)
	}
}

// OnReload makes the worker call f on SIGHUP, one after the other in the order in
// which they were given: to open a log anew, to read a file of keys again. An
// error is logged, and leaves f's thing as it was.
func (s *Setup) OnReload(f func(context.Context) error) {
	s.life.mu.Lock()
	defer s.life.mu.Unlock()
	s.life.reloads = append(s.life.reloads, f)
}

// reloadTime is how long all of a reload may take.
const reloadTime = 30 * time.Second

// Reload does what SIGHUP does, and returns what went wrong. Everything is tried.
func (s *Setup) Reload(ctx context.Context) error {
	s.life.reloading.Lock()
	defer s.life.reloading.Unlock()
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	s.life.mu.Lock()
	reloads := s.life.reloads
	s.life.mu.Unlock()
	var errs []error
	for _, f := range reloads {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

// reload is [Setup.Reload] for a signal: the log has the result.
func (w *worker) reload(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // a worker that drains still writes its log
	w.setup.tell("RELOADING=1\n" + monotonic())
	err := w.setup.Reload(ctx)
	w.setup.tell("READY=1")
	if err != nil {
		w.log.LogAttrs(ctx, slog.LevelError, "not everything could be reloaded", slog.Any("error", err))
		return
	}
	w.log.LogAttrs(ctx, slog.LevelInfo, "reloaded")
}

// Configuration is what the worker was set to, in alphabetical order, the flags
// with their defaults included. Secrets are hidden.
func (s *Setup) Configuration() []Setting { return s.config.settings() }

// Origin says where the value of a flag comes from, as [OriginOf] does.
func (s *Setup) Origin(flag string) (Source, string) { return OriginOf(s.config.flags, flag) }
