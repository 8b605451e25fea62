package pool

import (
	"context"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// A Dial opens a connection. ctx is that of the call that needs it, and bounds
// the opening alone. Each connection carries one call at a time.
type Dial func(ctx context.Context) (vgirpc.Transport, error)

// Options configure a [Pool]. The zero value works; a negative duration turns
// its option off.
type Options struct {
	// Max is how many connections there are at once, those included that are
	// being opened. Further calls wait, and are served in their order. 8 when
	// 0.
	Max int
	// Reuse says which idle connection the next call gets.
	Reuse Reuse
	// IdleTimeout is how long a connection may be idle before it is closed. 60
	// s when 0.
	IdleTimeout time.Duration
	// MinIdle is how many idle connections IdleTimeout leaves. None is opened
	// ahead of time.
	MinIdle int
	// MaxAge is how long a connection is used, without any call being cut
	// off. Each one's age is shortened at random by up to AgeJitter, so that
	// those opened together do not end together. Off when 0.
	MaxAge time.Duration
	// AgeJitter is a part of MaxAge, from 0 to 1. A tenth when 0; negative is
	// no jitter.
	AgeJitter float64
	// CheckAfter is how long a connection may be idle before it is checked
	// when a call wants it. It is checked in any case when another
	// connection was lost meanwhile. 30 s when 0; negative checks nothing.
	CheckAfter time.Duration
	// Check asks a connection for a sign of life. [Ping] when nil.
	Check func(ctx context.Context, t vgirpc.Transport) error
	// CheckTimeout bounds Check. 5 s when 0.
	CheckTimeout time.Duration

	// OnOpen is told of each attempt to open a connection: how long it took,
	// and the error of one that failed.
	OnOpen func(took time.Duration, err error)
	// OnDiscard is told of each connection that is given up: why, and the
	// error of a call, or of a check, that led to it. Both functions may run
	// on any goroutine, and several at once; they must not use the pool.
	OnDiscard func(why Reason, err error)
}

// Reuse is an order of idle connections.
type Reuse int

// Orders of idle connections.
const (
	// LeastRecent spreads the calls over all connections: the next call gets
	// the one that was idle for longest.
	LeastRecent Reuse = iota
	// MostRecent keeps few connections busy, so that IdleTimeout closes those
	// that a peak has left behind.
	MostRecent
)

// Reason says why a connection was given up.
type Reason int

// Reasons to give a connection up.
const (
	// Broken: a call failed on it, and not by the server's refusal.
	Broken Reason = iota
	// Unhealthy: it gave no sign of life when it was checked.
	Unhealthy
	// Idle: nobody has used it for IdleTimeout.
	Idle
	// Aged: it has reached its MaxAge.
	Aged
	// Closed: the pool was closed.
	Closed
	reasons // how many there are
)

// String is the reason in lower case, for labels of metrics.
func (r Reason) String() string {
	if r < 0 || r >= reasons {
		return "unknown"
	}
	return [reasons]string{"broken", "unhealthy", "idle", "aged", "closed"}[r]
}

// Defaults of [Options].
const (
	defaultMax          = 8
	defaultIdleTimeout  = 60 * time.Second
	defaultAgeJitter    = 0.1
	defaultCheckAfter   = 30 * time.Second
	defaultCheckTimeout = 5 * time.Second
)

// valid is o with its defaults, or an INVALID_ARGUMENT error. A duration that is
// off is 0.
func (o Options) valid() (Options, error) {
	switch {
	case o.Max < 0:
		return o, vgirpc.Errorf(vgirpc.InvalidArgument, "pool: Options.Max is %d: want at least 1, or 0 for the default", o.Max)
	case o.MinIdle < 0:
		return o, vgirpc.Errorf(vgirpc.InvalidArgument, "pool: Options.MinIdle is %d: want 0 or more", o.MinIdle)
	case !(o.AgeJitter <= 1): // NaN is refused as well
		return o, vgirpc.Errorf(vgirpc.InvalidArgument, "pool: Options.AgeJitter is %v: want a part of MaxAge, at most 1", o.AgeJitter)
	case o.Reuse != LeastRecent && o.Reuse != MostRecent:
		return o, vgirpc.Errorf(vgirpc.InvalidArgument, "pool: Options.Reuse is %d: want LeastRecent or MostRecent", o.Reuse)
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&o.IdleTimeout, defaultIdleTimeout},
		{&o.MaxAge, 0},
		{&o.CheckAfter, defaultCheckAfter},
		{&o.CheckTimeout, defaultCheckTimeout},
	} {
		switch {
		case *d.value == 0:
			*d.value = d.standard
		case *d.value < 0:
			*d.value = 0
		}
	}
	switch {
	case o.AgeJitter == 0:
		o.AgeJitter = defaultAgeJitter
	case o.AgeJitter < 0:
		o.AgeJitter = 0
	}
	if o.Max == 0 {
		o.Max = defaultMax
	}
	if o.Check == nil {
		o.Check = Ping
	}
	return o, nil
}

// Stats are the state of a pool and its counters since [New].
type Stats struct {
	// Open connections: those idle, those that calls have, and those that are
	// being checked.
	Open  int
	Idle  int
	InUse int
	// Dialing is how many connections are being opened.
	Dialing int
	// Waiting is how many calls wait for a connection.
	Waiting int

	Dials      uint64 // connections opened
	DialErrors uint64 // attempts to open one that failed
	Reuses     uint64 // calls that got a connection that was there
	Waits      uint64 // calls that had to wait, whether or not they got one
	WaitTime   time.Duration
	Discards   Discards
}

// Discards are connections given up, by reason.
type Discards struct{ Broken, Unhealthy, Idle, Aged, Closed uint64 }
