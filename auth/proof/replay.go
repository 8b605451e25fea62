package proof

import "sync"

// replays remembers the nonces of verified proofs for as long as the proofs
// could verify again, and never more than a fixed number of them (section 10).
//
// A nonce is kept for the skew, counted from the proof's own timestamp when that
// is ahead of the clock: counted from its arrival, a proof of a proxy whose clock
// runs ahead would outlive the memory of it.
type replays struct {
	skew     int64 // seconds
	capacity int

	mu      sync.Mutex
	seen    map[nonce]remembered
	queue   []slot // in order of arrival, from head on
	head    int
	next    uint64 // number of the next arrival
	evicted uint64
}

type nonce [nonceText]byte

type remembered struct {
	expires int64  // the last second in which the proof may verify
	arrival uint64 // of the slot that stands for it
}

type slot struct {
	nonce   nonce
	arrival uint64
}

func newReplays(skew int64, capacity int) *replays {
	return &replays{skew: skew, capacity: capacity, seen: map[nonce]remembered{}}
}

// first reports whether a nonce is new, and remembers it. Asking and remembering
// are one step, or two copies of a proof at once would both be new.
func (c *replays) first(text string, now, ts int64) bool {
	var n nonce
	copy(n[:], text)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep(now)
	if r, known := c.seen[n]; known {
		if now <= r.expires {
			return false
		}
		delete(c.seen, n) // its slot, behind a longer-lived one, is void now
	}
	for len(c.seen) >= c.capacity {
		if c.pop() {
			c.evicted++
		}
	}
	c.seen[n] = remembered{expires: max(now, ts) + c.skew, arrival: c.next}
	c.queue = append(c.queue, slot{n, c.next})
	c.next++
	return true
}

// sweep forgets what has expired at the head of the queue. What expires behind a
// longer-lived head waits for it, one skew at most.
func (c *replays) sweep(now int64) {
	for c.head < len(c.queue) {
		s := c.queue[c.head]
		if r, known := c.seen[s.nonce]; known && r.arrival == s.arrival && now <= r.expires {
			return
		}
		c.pop()
	}
}

// pop takes the oldest slot from the queue and reports whether a nonce went with
// it, which it did not if the slot was void.
func (c *replays) pop() bool {
	s := c.queue[c.head]
	c.head++
	if c.head*2 >= len(c.queue) {
		n := copy(c.queue, c.queue[c.head:])
		c.queue, c.head = c.queue[:n], 0
	}
	r, known := c.seen[s.nonce]
	if !known || r.arrival != s.arrival {
		return false
	}
	delete(c.seen, s.nonce)
	return true
}

// counts are the nonces remembered and those evicted before their time.
func (c *replays) counts() (size int, evicted uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen), c.evicted
}
