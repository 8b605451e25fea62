package jwt

import (
	"crypto/sha256"
	"maps"
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
	nested   []claim // of the identity
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
	return v.copy(), true
}

func (c *cache) put(digest [sha256.Size]byte, v *verified) {
	v.nested = nestedOf(v.identity.Claims) // before anybody else sees it
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tokens) >= maxVerified {
		clear(c.tokens)
	}
	c.tokens[digest] = v
}

// copy is an identity whose claims belong to the caller, lists and objects within
// them included.
func (v *verified) copy() vgirpc.Identity {
	id := v.identity
	id.Claims = maps.Clone(id.Claims)
	for _, c := range v.nested {
		id.Claims[c.name] = deepCopy(c.value)
	}
	return id
}

// A claim is one that is a list or an object.
type claim struct {
	name  string
	value any
}

// nestedOf are the claims that a shallow copy would share.
func nestedOf(claims map[string]any) (nested []claim) {
	for name, value := range claims {
		if isNested(value) {
			nested = append(nested, claim{name, value})
		}
	}
	return nested
}

// isNested reports whether a value, as [decodeObject] makes them, is a list or an
// object.
func isNested(value any) bool {
	switch value.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}

// deepCopy is a copy of a list or an object, down to maxDepth at most.
func deepCopy(nested any) any {
	switch v := nested.(type) {
	case []any:
		out := make([]any, len(v))
		copy(out, v)
		for i, item := range out {
			if isNested(item) {
				out[i] = deepCopy(item)
			}
		}
		return out
	case map[string]any:
		out := maps.Clone(v)
		for name, item := range v {
			if isNested(item) {
				out[name] = deepCopy(item)
			}
		}
		return out
	}
	return nested
}
