package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// end lets the worker come to its end in good order: it is not ready any more,
// still takes calls for as long as it was told to, and then lets those finish
// that are in progress. done has a result when there is nothing to serve any
// more.
func (w *worker) end(ctx context.Context, done chan error) {
	began := time.Now()
	succeeded := errors.Is(context.Cause(ctx), errSucceeded)
	ctx = context.WithoutCancel(ctx)
	w.setup.enter(Draining)
	if !succeeded { // or it is not the service manager's main process any more
		w.setup.tell("STOPPING=1")
	}
	t := w.setup.transport
	if d, ok := t.(Drainer); ok {
		d.Drain()
	}
	w.delay(succeeded, done)
	calls, sessions := w.count()
	cut, err := w.shutdown(ctx, succeeded)
	level, attrs := slog.LevelInfo, []slog.Attr{
		slog.Int("finished", max(0, calls-cut)), slog.Int("cut", cut), slog.Int("sessions", sessions),
		slog.Duration("duration", time.Since(began).Round(time.Millisecond)),
	}
	message := "drained"
	if err != nil {
		level, message = slog.LevelWarn, "drained: calls in progress were cut off"
		attrs = append(attrs, slog.Any("error", err))
	}
	w.log.LogAttrs(ctx, level, message, attrs...)
	if _, ok := t.(releaser); ok && succeeded {
		w.passOn()
	}
}

// passOn waits for the process before this one, for as long as that may drain: the
// connections that it still has go through this process to the one that has taken
// over from it.
func (w *worker) passOn() {
	if w.before == nil {
		return
	}
	var enough <-chan time.Time
	if w.drain > 0 {
		timer := time.NewTimer(w.drain)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-w.before.ended:
	case <-enough:
	}
}

// count is how many calls are in progress, and how many sessions are open, as far
// as the transport knows.
func (w *worker) count() (calls, sessions int) {
	if c, ok := w.setup.transport.(Counter); ok {
		calls = c.InProgress()
	}
	if c, ok := w.setup.transport.(SessionCounter); ok {
		sessions = c.Sessions()
	}
	return calls, sessions
}

// delay waits while calls are still taken, or while those that cannot be passed
// on find the way to the process that has taken over.
func (w *worker) delay(succeeded bool, done chan error) {
	d := w.setup.drainDelay
	if t, ok := w.setup.transport.(Delayer); ok {
		d = t.DrainDelay()
	}
	if succeeded {
		if _, ok := w.setup.transport.(releaser); ok {
			return
		}
		d = max(d, lingering)
	}
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case err := <-done:
		done <- err // for serve
	}
}

// releaser is a transport that can pass connections on.
type releaser interface {
	release(ctx context.Context) error
}

// shutdown waits for the calls in progress, for as long as they have. It returns
// how many there were left when that was over.
func (w *worker) shutdown(ctx context.Context, succeeded bool) (cut int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	counted := make(chan int, 1)
	if w.drain > 0 {
		timer := time.AfterFunc(w.drain, func() {
			calls, _ := w.count() // before they are cut
			counted <- calls
			cancel()
		})
		defer timer.Stop()
	}
	shutdown := w.setup.transport.Shutdown
	if r, ok := w.setup.transport.(releaser); ok && succeeded {
		shutdown = r.release
	}
	err = shutdown(ctx)
	if ctx.Err() != nil {
		cut = <-counted
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("not done within %v", w.drain)
	}
	return cut, err
}
