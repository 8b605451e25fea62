package session

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/seal"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// newEntry returns a session that is in no registry yet.
func newEntry(state any, expires time.Time, who *vgirpc.Identity) *entry {
	e := &entry{
		caller: seal.AppendIdentity(nil, who, seal.ServerScope),
		state:  state, expires: expires, turn: make(chan struct{}, 1),
	}
	_, _ = rand.Read(e.id[:]) // never fails
	e.hex = hex.EncodeToString(e.id[:])
	return e
}

// token is e's token: its name, then the server's. When it ends is not in there,
// because a server that still knows the name knows that, too.
func (r *Registry) token(e *entry) string {
	var buf [64]byte
	inside := append(append(buf[:0], e.id[:]...), r.server...)
	return r.keys.SealText(seal.KindSession, e.caller, inside)
}

// find is the session that token names, or nil. Only what the seal vouches for
// is looked at: it is opened for the caller first, then the server has to be this
// one, and then there has to be such a session, opened by the same caller.
func (r *Registry) find(token string, who *vgirpc.Identity) *entry {
	var callerBuf, buf [128]byte
	caller := seal.AppendIdentity(callerBuf[:0], who, seal.ServerScope)
	inside, err := r.keys.OpenText(buf[:0], seal.KindSession, caller, token)
	if err != nil || len(inside) < idSize || string(inside[idSize:]) != r.server {
		return nil
	}
	r.mu.Lock()
	e := r.entries[id(inside[:idSize])]
	r.mu.Unlock()
	if e == nil || subtle.ConstantTimeCompare(e.caller, caller) == 0 {
		return nil
	}
	return e
}
