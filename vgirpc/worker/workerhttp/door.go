package workerhttp

import (
	"context"
	"net/http"
	"sync/atomic"
)

// drainable is what a handler shows to be drained.
type drainable interface {
	Drain()
	Shutdown(ctx context.Context) error
}

// door is the outermost handler. It counts who is inside, and when it closes, it
// tells each caller to come over another connection next time: no connection is
// then closed while a request is under way to it, unless the caller takes longer
// than the drain lasts.
type door struct {
	http.Handler
	inside  atomic.Int64
	closing atomic.Bool
}

// ServeHTTP lets a request in.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.inside.Add(1)
	defer d.inside.Add(-1)
	if d.closing.Load() {
		w.Header().Set("Connection", "close") // HTTP/2 makes a GOAWAY of it
	}
	d.Handler.ServeHTTP(w, r)
}

// drain turns new sessions away.
func (d *door) drain() {
	if inner, ok := d.Handler.(drainable); ok {
		inner.Drain()
	}
}

// drainableDoor is a door to a handler that can be drained, as package httpserver
// wants to see it.
type drainableDoor struct{ *door }

// Drain turns new sessions away.
func (d drainableDoor) Drain() { d.drain() }

// Shutdown closes sessions.
func (d drainableDoor) Shutdown(ctx context.Context) error {
	return d.Handler.(drainable).Shutdown(ctx)
}
