package admin

import "time"

// GiveFirst is how long connections have for their first request when the server
// ends.
func GiveFirst(s *Server, d time.Duration) { s.first = d }
