package jwt

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// maxVerified bounds the tokens that are remembered; beyond it, all are
// forgotten.
const maxVerified = 4096

// cache remembers tokens that were accepted, by their SHA-256: a client sends
// the same token with each request. One is accepted again, to the bit, until it
// expires or the keys of its issuer are fetched again.
type cache struct {
	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]*verified
}

// verified is a token that was accepted.
type verified struct {
	identity vgirpc.Identity
	from     *issuer
	keys     *keySet   // that it was verified with; nil for a secret
	until    time.Time // with the leeway
}

// find returns the identity of a token that would be accepted again.
func (c *cache) find(digest [sha256.Size]byte, now time.Time) (vgirpc.Identity, bool) {
	c.mu.RLock()
	v := c.tokens[digest]
	c.mu.RUnlock()
	if v == nil || !now.Before(v.until) || v.keys != v.from.keys() {
		return vgirpc.Identity{}, false
	}
	return v.identity.Clone(), true
}

func (c *cache) put(digest [sha256.Size]byte, v *verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tokens) >= maxVerified {
		clear(c.tokens)
	}
	c.tokens[digest] = v
}
