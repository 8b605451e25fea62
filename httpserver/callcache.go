package httpserver

import (
	"sync"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// callID names an open stream. It is random, and travels sealed.
type callID [16]byte

// storedCall is what stays the same for the life of a stream: the content of
// its call token.
type storedCall struct {
	id      callID
	created int64 // Unix seconds
	limit   int64 // of a response, as the stream was opened with; 0 for none
	bound   string
	snap    vgirpc.Snapshot // without its state
}

// callCache remembers the streams that were used last, so that their call tokens
// need not be opened. A name gets here only out of a token that was opened for
// the very caller. It keeps two generations and drops the older one whole.
type callCache struct {
	mu          sync.Mutex
	size        int // of one generation
	young, aged map[callID]*storedCall
}

func newCallCache(size int) *callCache {
	return &callCache{size: max(size/2, 1), young: map[callID]*storedCall{}}
}

// get returns a stream that was opened with the same binding to its caller, or
// nil. It may be called on nil.
func (c *callCache) get(id callID, bound []byte) *storedCall {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.young[id]
	if call == nil {
		if call = c.aged[id]; call == nil {
			return nil
		}
		c.add(call)
	}
	if call.bound != string(bound) {
		return nil
	}
	return call
}

// put remembers a stream. It may be called on nil.
func (c *callCache) put(call *storedCall) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(call)
}

func (c *callCache) add(call *storedCall) {
	if len(c.young) >= c.size {
		c.aged, c.young = c.young, make(map[callID]*storedCall, c.size)
	}
	c.young[call.id] = call
}

// drop forgets a stream that has ended. It may be called on nil.
func (c *callCache) drop(id callID) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, id)
	delete(c.aged, id)
}
