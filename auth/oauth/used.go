package oauth

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxUsed bounds the sign-ins that are remembered as finished.
const maxUsed = 16384

// used remembers which sign-ins are finished, until they could not be finished
// anyway, so that an answer of the authorization server is good for one time at
// this process. At another replica it is the authorization server that refuses
// a code for the second time.
type used struct {
	mu    sync.Mutex
	seen  map[[sha256.Size]byte]bool
	queue []usedEntry // in the order of their expiry: all live equally long
}

type usedEntry struct {
	key     [sha256.Size]byte
	expires time.Time
}

// first reports whether state is seen for the first time, and remembers it. The
// oldest is forgotten when there are too many.
func (u *used) first(state string, now time.Time, lifetime time.Duration) bool {
	key := sha256.Sum256([]byte(state))
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.queue) > 0 && !now.Before(u.queue[0].expires) {
		u.forgetOldest()
	}
	if u.seen[key] {
		return false
	}
	if len(u.queue) >= maxUsed {
		u.forgetOldest()
	}
	if u.seen == nil {
		u.seen = map[[sha256.Size]byte]bool{}
	}
	u.seen[key] = true
	u.queue = append(u.queue, usedEntry{key, now.Add(lifetime)})
	return true
}

func (u *used) forgetOldest() {
	delete(u.seen, u.queue[0].key)
	u.queue = u.queue[1:]
}
