package session

import (
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// What a call did to its session, as the access log has it.
const (
	actionNone   = "none"
	actionOpen   = "open"
	actionResume = "resume"
	actionClose  = "close"
)

// Call is one request's part in the sessions: the session that it resumes or
// opens, if any, whose turn it has until [Call.Finish]. It is safe for concurrent
// use.
type Call struct {
	registry *Registry
	who      *vgirpc.Identity
	accept   bool

	mu       sync.Mutex
	entry    *entry // the active session, nil without
	touched  string // name of the session that the call touched last
	action   string // "" is actionNone
	opened   bool   // the active session was opened by this call
	closed   bool
	finished bool
}

// State is what the active session was opened with, or nil.
func (c *Call) State() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entry == nil {
		return nil
	}
	return c.entry.state
}

// ID is the name of the session that the call resumed or opened, of 24 hex
// digits and for logs, also after it was closed; or "".
func (c *Call) ID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.touched
}

// Action is what the call did: "none", "open", "resume" or "close".
func (c *Call) Action() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.action == "" {
		return actionNone
	}
	return c.action
}

// Open makes state a session that ends ttl from now, or after the registry's TTL
// when ttl is zero. State's Close method, if it has one (with or without an
// error), is then called once, when the session ends; if Open fails, state stays
// the caller's.
//
// It fails when the request does not say that it accepts a session, when one is
// active already, on a negative ttl, and after Finish, with the type
// RuntimeError; when the server is draining, with the kind [vgirpc.KindServerDraining]
// and code UNAVAILABLE; and when there are too many sessions, with code
// RESOURCE_EXHAUSTED.
func (c *Call) Open(state any, ttl time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.finished:
		return misuse("the call is over: it cannot open a session")
	case !c.accept:
		return misuse("a session can be opened only for a request with VGI-Session-Accept: true")
	case c.entry != nil:
		return misuse("the call has an active session already")
	case ttl < 0:
		return misuse("the lifetime of a session cannot be negative")
	case ttl == 0:
		ttl = c.registry.ttl
	}
	e, err := c.registry.open(state, ttl, c.who)
	if err != nil {
		return err
	}
	c.entry, c.touched, c.action, c.opened = e, e.hex, actionOpen, true
	return nil
}

// Close ends the active session and closes its state, whose error it returns;
// the session is gone in any case. Without an active session it does nothing.
func (c *Call) Close() error {
	c.mu.Lock()
	e := c.entry
	if e == nil {
		c.mu.Unlock()
		return nil
	}
	c.entry, c.action, c.opened, c.closed = nil, actionClose, false, true
	c.mu.Unlock() // the state may ask the call while it closes

	c.registry.mu.Lock()
	c.registry.remove(e)
	c.registry.mu.Unlock()
	err := c.registry.closeState(e)
	c.registry.release(e)
	return err
}

// Finish ends the call's part and lets the next call of its session go on. It
// returns the token of a session that the call opened and did not close again,
// and whether it closed one: what the response's headers tell the client. Later
// calls return "" and false.
func (c *Call) Finish() (newToken string, closed bool) {
	c.mu.Lock()
	if c.finished {
		c.mu.Unlock()
		return "", false
	}
	e, opened := c.entry, c.opened
	closed = c.closed
	c.entry, c.finished = nil, true
	c.mu.Unlock()
	if e == nil {
		return "", closed
	}
	if opened {
		newToken = c.registry.token(e)
	}
	c.registry.release(e)
	return newToken, closed
}
