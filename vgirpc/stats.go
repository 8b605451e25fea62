package vgirpc

// ConnStats counts a server's connections over byte streams. Those that were not
// admitted are for a [RefusalObserver] to count.
type ConnStats struct {
	Open   int   // being served
	Served int64 // since the server was made, those that are open included
}

// ConnStats returns the counts as they are now.
func (s *Server) ConnStats() ConnStats {
	t := &s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	return ConnStats{Open: len(t.conns), Served: t.served}
}
