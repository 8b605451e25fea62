// Package accept says what to do about an accept that failed: one rule for all who
// listen.
package accept

import "time"

// Backoff is the pause after an error that [Passes].
const Backoff = 50 * time.Millisecond
