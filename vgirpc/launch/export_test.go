package launch

import "time"

// GiveEnding is how long the launcher bears that one worker closes its connections.
func GiveEnding(l *Launcher, d time.Duration) { l.ending = d }
