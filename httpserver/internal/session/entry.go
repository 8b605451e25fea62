package session

import (
	"container/heap"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// idSize is the length of a session's name, in bytes.
const idSize = 12

// id is a session's name.
type id [idSize]byte

// entry is one session. Its turn is held by the call that uses it; who holds the
// turn when the session has ended closes the state before giving the turn away.
type entry struct {
	id      id
	hex     string
	caller  []byte // whom it was opened for, as the token has it
	state   any
	expires time.Time
	turn    chan struct{} // full while a call has it; those who wait are served in order

	// Guarded by the registry's mutex.
	ended   bool // no longer in the registry
	closing bool // the state is being or has been closed
	place   int  // index in the queue
}

// queue is the live sessions, the next to expire first. It is a heap.
type queue []*entry

func (q *queue) Len() int           { return len(*q) }
func (q *queue) Less(i, j int) bool { return (*q)[i].expires.Before((*q)[j].expires) }

func (q *queue) Swap(i, j int) {
	s := *q
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = i, j
}

// Push implements [heap.Interface].
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.place = len(*q)
	*q = append(*q, e)
}

// Pop implements [heap.Interface].
func (q *queue) Pop() any {
	old := *q
	n := len(old) - 1
	e := old[n]
	old[n] = nil
	*q = old[:n]
	return e
}

// add makes e live. The caller holds the mutex.
func (r *Registry) add(e *entry) {
	r.entries[e.id] = e
	heap.Push(&r.queue, e)
	r.unclosed++
	if e.place == 0 {
		r.schedule()
	}
}

// remove ends e's life, and does not close its state. The caller holds the mutex.
func (r *Registry) remove(e *entry) {
	if e.ended {
		return
	}
	e.ended = true
	delete(r.entries, e.id)
	heap.Remove(&r.queue, e.place)
	if len(r.queue) == 0 {
		r.timer.Stop()
	}
}

// take waits for e's turn. It reports false, and has not taken it, when done is
// closed before.
func (e *entry) take(done <-chan struct{}) bool {
	select {
	case e.turn <- struct{}{}:
		return true
	case <-done:
		return false
	}
}

// takeNow takes e's turn if nobody has it.
func (e *entry) takeNow() bool {
	select {
	case e.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

// release gives e's turn to who is next, after closing the state of a session
// that has ended meanwhile. Only who has the turn may call it.
func (r *Registry) release(e *entry) {
	r.mu.Lock()
	if !e.ended {
		// Under the mutex, so that whoever ends the session now either finds the
		// turn free or leaves the closing to its next holder.
		<-e.turn
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	_ = r.closeState(e) // logged there
	<-e.turn
}

// closeState closes the state of e, once. What goes wrong is logged and
// returned. Only who has the turn may call it.
func (r *Registry) closeState(e *entry) (err error) {
	r.mu.Lock()
	if e.closing {
		r.mu.Unlock()
		return nil
	}
	e.closing = true
	r.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("closing the session's state: panic: %v", p)
			r.log.Error("closing a session's state panicked", slog.String("session_id", e.hex),
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.unclosed--
		if r.unclosed == 0 && r.stopped {
			close(r.idle)
		}
	}()
	switch c := e.state.(type) {
	case interface{ Close() error }:
		if err = c.Close(); err != nil {
			err = fmt.Errorf("closing the session's state: %w", err)
			r.log.Warn("closing a session's state failed", slog.String("session_id", e.hex), slog.Any("error", err))
		}
	case interface{ Close() }:
		c.Close()
	}
	return err
}
