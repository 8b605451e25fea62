// Package bucket counts how often something happens for each of many keys, with
// a token bucket for each, in memory that has a bound. It never starts a
// goroutine, and never waits.
//
// A bucket is one number: the time at which it will be full again (the generic
// cell rate algorithm). A full one says nothing, and is forgotten. When there is
// no room for another key, the bucket that is nearest to full gives way, and what
// it lacked is taken from every key that is not known from then on, until it
// would have been refilled. So nobody gets a fuller bucket by being forgotten,
// however many other keys come. A flood of keys costs newcomers what it takes from
// the fullest buckets: together they get what the table's keys may have at most.
package bucket

import (
	"container/heap"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// Rate is how fast a bucket is filled, and how much goes into it.
type Rate struct {
	Every time.Duration // for one token
	Burst int           // tokens in a full bucket
}

// longest is how long a bucket may take to be filled.
const longest = 365 * 24 * time.Hour

// Table has a bucket for each key. It is safe for concurrent use.
type Table[K comparable] struct {
	every, full int64 // nanoseconds: of a token, of a full bucket
	seed        maphash.Seed
	shards      []shard[K]
	began       time.Time
}

// A shard has at least that many keys, and there are not more shards than that.
const (
	leastKeys  = 512
	mostShards = 16
)

// New returns a table of at most keys buckets, all full. It is an error when a
// number makes no sense.
func New[K comparable](rate Rate, keys int) (*Table[K], error) {
	switch {
	case rate.Every <= 0:
		return nil, fmt.Errorf("one token every %v: want a positive time", rate.Every)
	case rate.Burst < 1:
		return nil, fmt.Errorf("a burst of %d: want at least 1", rate.Burst)
	case int64(rate.Every) > int64(longest)/int64(rate.Burst):
		return nil, fmt.Errorf("a burst of %d, one every %v: want what is refilled in %v", rate.Burst, rate.Every, longest)
	case keys < 1:
		return nil, fmt.Errorf("%d keys: want at least 1", keys)
	}
	t := &Table[K]{
		every: int64(rate.Every), full: int64(rate.Every) * int64(rate.Burst), seed: maphash.MakeSeed(),
		shards: make([]shard[K], max(1, min(keys/leastKeys, mostShards))), began: time.Now(),
	}
	for i := range t.shards {
		t.shards[i].keys, t.shards[i].room = map[K]*entry[K]{}, keys/len(t.shards)
	}
	return t, nil
}

// Take takes cost tokens of a key's bucket. When they are not there it takes
// none, and returns how long it is until they would be; 0 is success. A cost beyond
// the burst never succeeds.
func (t *Table[K]) Take(key K, cost int) time.Duration {
	now := t.now()
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.due(key, now) + t.price(cost)
	if wait := due - now - t.full; wait > 0 {
		return time.Duration(wait)
	}
	s.set(key, due, now)
	return 0
}

// Charge takes cost tokens, there or not: a bucket may lack as much as it holds.
func (t *Table[K]) Charge(key K, cost int) {
	now := t.now()
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.due(key, now)
	s.set(key, max(before, min(before+t.price(cost), now+2*t.full)), now)
}

// Len is how many keys are known whose buckets are perhaps not full.
func (t *Table[K]) Len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.order)
		s.mu.Unlock()
	}
	return n
}

func (t *Table[K]) now() int64 { return int64(time.Since(t.began)) }

// price is how long cost tokens take to be refilled.
func (t *Table[K]) price(cost int) int64 {
	if int64(cost) > int64(longest)/t.every {
		return int64(longest)
	}
	return int64(cost) * t.every
}

func (t *Table[K]) shard(key K) *shard[K] {
	if len(t.shards) == 1 {
		return &t.shards[0]
	}
	return &t.shards[maphash.Comparable(t.seed, key)%uint64(len(t.shards))]
}

// shard is a part of the keys. Times are nanoseconds since the table began.
type shard[K comparable] struct {
	mu    sync.Mutex
	room  int
	keys  map[K]*entry[K]
	order order[K]
	floor int64 // no bucket that is not known is full before
	spare *entry[K]
}

// entry is one bucket.
type entry[K comparable] struct {
	key K
	due int64 // when it is full again
	at  int   // its place in the order
}

// due is when a key's bucket will be full, at least now.
func (s *shard[K]) due(key K, now int64) int64 {
	if e := s.keys[key]; e != nil {
		return max(e.due, now)
	}
	return max(s.floor, now)
}

// set says when a key's bucket will be full.
func (s *shard[K]) set(key K, due, now int64) {
	if e := s.keys[key]; e != nil {
		e.due = due
		heap.Fix(&s.order, e.at)
		return
	}
	// Two for each that comes: so those that are full go away in time.
	for range 2 {
		if len(s.order) > 0 && s.order[0].due <= now {
			s.forget()
		}
	}
	if len(s.order) == s.room {
		least := s.order[0].due
		s.floor = max(s.floor, min(due, least))
		if due <= least { // it is the one that gives way
			return
		}
		s.forget()
	}
	e := s.spare
	if e == nil {
		e = new(entry[K])
	}
	s.spare = nil
	e.key, e.due = key, due
	s.keys[key] = e
	heap.Push(&s.order, e)
}

// forget drops the bucket that is nearest to full.
func (s *shard[K]) forget() {
	e, _ := heap.Pop(&s.order).(*entry[K])
	delete(s.keys, e.key)
	s.spare = e
}

// order is a heap of buckets, the one that is first full on top.
type order[K comparable] []*entry[K]

// Len is how many there are.
func (o order[K]) Len() int { return len(o) }

// Less reports whether one is full before another.
func (o order[K]) Less(i, j int) bool { return o[i].due < o[j].due }

// Swap exchanges two.
func (o order[K]) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].at, o[j].at = i, j
}

// Push adds one at the end.
func (o *order[K]) Push(x any) {
	e, _ := x.(*entry[K])
	e.at = len(*o)
	*o = append(*o, e)
}

// Pop takes the last one away.
func (o *order[K]) Pop() any {
	last := len(*o) - 1
	e := (*o)[last]
	(*o)[last] = nil
	*o = (*o)[:last]
	return e
}

// Per is the rate of events per time, with burst at once. A rate that is none is
// for [New] to refuse.
func Per(events float64, per time.Duration, burst int) Rate {
	every := float64(per) / events
	if math.IsNaN(every) || every > float64(longest) || every < 0 {
		return Rate{}
	}
	return Rate{Every: max(1, time.Duration(math.Round(every))), Burst: burst}
}
