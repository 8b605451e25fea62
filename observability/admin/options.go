package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Options configure a [Server]. The zero value works, and answers /livez,
// /readyz, /buildinfo and /debug/pprof.
type Options struct {
	// Hosts are names by which the server may be called, beside localhost and
	// IP addresses.
	Hosts []string
	// Public lets the server listen where others than this machine can reach
	// it: the network has to keep out who has no business there.
	Public bool
	// TLS makes the server speak TLS.
	TLS *tls.Config
	// Token has to come with a request as "Authorization: Bearer TOKEN", but
	// for /livez, and /readyz without its reasons. At least 16 characters;
	// nobody is asked for one when empty.
	Token string

	// State returns why no calls should be sent, nil when they should. It is
	// asked for each request, and must not block.
	State func() error
	// Checks ask for what the server cannot do without. They are asked at most
	// once in a second, however many ask here. Their errors must hold no
	// credential.
	Checks func(context.Context) []Check
	// CheckTimeout is how long all checks may take together; when it is over,
	// the server is not ready. 2 s when 0.
	CheckTimeout time.Duration

	// Metrics answers /metrics; 404 when nil.
	Metrics http.Handler
	// Config returns what /config shows as JSON, without secrets; 404 when nil.
	Config func() any
	// Level is the least severity of what is logged, [slog.LevelVar] for
	// instance; 404 when nil.
	Level Level
	// ServerID and Version are shown by /buildinfo.
	ServerID, Version string
	// Logger is told of errors, and of a level that is changed. Nobody is when
	// nil.
	Logger *slog.Logger
}

// Check is whether one of the things is there that a server cannot do without.
type Check struct {
	Name string
	Err  error // nil when it is there
}

// Level is the least severity of what is logged, and can be changed.
type Level interface {
	slog.Leveler
	Set(level slog.Level)
}

const (
	defaultCheckTimeout = 2 * time.Second
	leastToken          = 16
)

// complete fills in the defaults, or names an option that makes no sense.
func (o *Options) complete() error {
	switch {
	case o.Token != "" && len(o.Token) < leastToken:
		return fmt.Errorf("admin: option Token: want at least %d characters: it is all that keeps people out", leastToken)
	case strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("admin: option Token: want printable ASCII without spaces: it is sent in a header")
	case o.CheckTimeout < 0:
		return fmt.Errorf("admin: option CheckTimeout is %v: want a positive time, or 0 for %v", o.CheckTimeout, defaultCheckTimeout)
	}
	for _, host := range o.Hosts {
		if host == "" || strings.ContainsAny(host, ":/@ *") {
			return fmt.Errorf("admin: option Hosts: %q: want the name of a host, without a port", host)
		}
	}
	if o.CheckTimeout == 0 {
		o.CheckTimeout = defaultCheckTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
