package httpserver

import "sync/atomic"

// Stats are a handler's figures. What it refused is for a
// vgirpc.RefusalObserver to count.
type Stats struct {
	// InFlight is how many calls and turns of streams are being answered.
	InFlight int
	// Sessions is how many sticky sessions are open.
	Sessions int
	// CallCacheHits are turns of streams whose call token need not be opened,
	// because the stream was remembered; CallCacheMisses are the others.
	CallCacheHits, CallCacheMisses int64
	// ReceivedBytes and SentBytes are the bodies of calls, as they travelled,
	// those that were refused included.
	ReceivedBytes, SentBytes int64
}

// stats are the figures that nothing else keeps.
type stats struct {
	hits, misses   atomic.Int64
	received, sent atomic.Int64
}

// looked counts a look into the cache of calls.
func (s *stats) looked(found bool) {
	if found {
		s.hits.Add(1)
	} else {
		s.misses.Add(1)
	}
}

// moved counts the bodies of a request and of its answer.
func (s *stats) moved(received, sent int64) {
	s.received.Add(received)
	s.sent.Add(sent)
}

// Stats returns the figures as they are now.
func (h *Handler) Stats() Stats {
	s := Stats{
		InFlight:      int(h.inFlight.Load()),
		CallCacheHits: h.stats.hits.Load(), CallCacheMisses: h.stats.misses.Load(),
		ReceivedBytes: h.stats.received.Load(), SentBytes: h.stats.sent.Load(),
	}
	if h.sessions != nil {
		s.Sessions = h.sessions.Len()
	}
	return s
}
