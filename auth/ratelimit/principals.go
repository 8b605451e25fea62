package ratelimit

import (
	"context"
	"crypto/sha256"

	"github.com/vgirpc/vgirpc-go/internal/bucket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Principals limits what each authenticated caller does. It is safe for
// concurrent use.
type Principals struct {
	opts  Options
	table *bucket.Table[principal]
}

// principal is who an identity is of.
type principal struct{ domain, name string }

// NewPrincipals returns limits that nobody has used up. It fails when an option
// makes no sense.
func NewPrincipals(opts Options) (*Principals, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	table, err := newTable[principal](opts)
	if err != nil {
		return nil, err
	}
	return &Principals{opts: opts, table: table}, nil
}

// longName is what a key may take of a name, in bytes, as it is.
const longName = 128

// short is a name as a part of a key.
func short(name string) string {
	if len(name) <= longName {
		return name
	}
	digest := sha256.Sum256([]byte(name))
	return string(digest[:])
}

// Take counts a call of id. It returns nil, or a *vgirpc.Error with
// RESOURCE_EXHAUSTED and a [vgirpc.RetryInfo]. Anonymous callers have no limit
// of their own: [Addresses] is for them.
func (p *Principals) Take(id *vgirpc.Identity) error {
	if !id.Authenticated {
		return nil
	}
	if wait := p.table.Take(principal{short(id.Domain), short(id.Principal)}, 1); wait > 0 {
		return tooMany("calls of this caller", p.opts.Rate, wait)
	}
	return nil
}

// Intercept counts a call on a raw socket, whose peer was authenticated with its
// connection: an entry of vgirpc.ServerOptions.Interceptors. The turns of a
// stream are not counted, and calls over HTTP neither, where package httpserver
// counts each request.
func (p *Principals) Intercept(ctx context.Context, call *vgirpc.Call, next func(context.Context) error) error {
	peer := call.Peer()
	if peer != nil && peer.Kind != vgirpc.TransportHTTP && begins(call.Phase()) {
		if err := p.Take(&peer.Identity); err != nil {
			return err
		}
	}
	return next(ctx)
}

// begins reports whether a call begins with a phase.
func begins(phase vgirpc.Phase) bool { return phase == vgirpc.PhaseCall || phase == vgirpc.PhaseOpen }
