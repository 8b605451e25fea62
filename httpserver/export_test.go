package httpserver

import "time"

// SetClock makes the handler read another clock.
func (h *Handler) SetClock(now func() time.Time) { h.now = now }
