package worker

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Option adds something to a worker: a transport, an observer, a limit with a
// flag. The package that implements the thing provides the option.
type Option interface {
	// AddFlags declares the option's flags. A flag that is there already makes
	// it panic, as in package flag.
	AddFlags(flags *pflag.FlagSet)
	// Apply runs once, after the command line was read and before the server
	// serves. It changes the server with Server.Configure. An error is the
	// fault of the command line or the environment: it goes to standard error,
	// and the worker exits with status 2.
	Apply(ctx context.Context, setup *Setup) error
}

// Setup is a worker that is being put together, as an [Option] sees it. Options
// may keep it: what it tells of the worker's life holds to the end.
type Setup struct {
	server        *vgirpc.Server
	config        *configuration
	transport     Transport
	chosenBy      string
	beforeServing []func(context.Context) error
	atExit        []func(context.Context) error
	drainDelay    time.Duration
	exitTimeout   time.Duration // 0: no limit
	life          life
	logs          logs
	level         LogLevel
	measures      measures
	sockets       sockets
	around        []func(net.Listener) net.Listener
}

// Server is what the worker serves. It is not sealed yet.
func (s *Setup) Server() *vgirpc.Server { return s.server }

// Serve makes the worker serve t instead of standard input and output. flag
// is the flag that asked for it, "--http" for instance. A worker serves one
// transport. The one counts that the command line asks for, then one of the
// environment, then one of the configuration file; two that are asked for in the
// same place are an error, for Apply to return.
func (s *Setup) Serve(flag string, t Transport) error {
	if s.transport != nil {
		before, now := s.sourceOf(s.chosenBy), s.sourceOf(flag)
		switch {
		case before == now:
			return fmt.Errorf("%s and %s exclude each other: a worker serves one transport", s.chosenBy, flag)
		case before > now:
			return nil
		}
	}
	s.transport, s.chosenBy = t, flag
	return nil
}

// sourceOf is the source of a flag with its hyphens.
func (s *Setup) sourceOf(flag string) Source {
	name := strings.TrimPrefix(flag, "--")
	if s.config.flags.Lookup(name) == nil {
		return CommandLine
	}
	source, _ := OriginOf(s.config.flags, name)
	return source
}

// BeforeServing makes the worker call f when every option was applied, the first
// one first: the server's options are as they will be, and f may seal it. An
// error is that of an Apply.
func (s *Setup) BeforeServing(f func(context.Context) error) {
	s.beforeServing = append(s.beforeServing, f)
}

// AroundListeners makes f put something around the listener of a [Transport] that
// is not the server's own, and so has no vgirpc.ConnOptions.Admit: the last one
// comes outermost.
func (s *Setup) AroundListeners(f func(net.Listener) net.Listener) { s.around = append(s.around, f) }

// Around is l with everything that AroundListeners was given, for a [Transport] to
// accept connections from.
func (s *Setup) Around(l net.Listener) net.Listener {
	for _, f := range s.around {
		l = f(l)
	}
	return l
}

// AtExit makes the worker call f when it has stopped serving, the last one
// first. All of them have --exit-timeout, 2 seconds by default: the context of each
// ends after an equal share of what is left, and what one does not take is there for
// the others.
func (s *Setup) AtExit(f func(context.Context) error) { s.atExit = append(s.atExit, f) }

// options are the server's options as they stand.
func (s *Setup) options() (vgirpc.ServerOptions, error) {
	var opts vgirpc.ServerOptions
	err := s.server.Configure(func(o *vgirpc.ServerOptions) { opts = *o })
	return opts, err
}

// Transport is one way in which a worker is reached.
type Transport interface {
	// Listen makes the transport ready and returns the line that announces it
	// on standard output, "" for none.
	Listen(ctx context.Context) (announcement string, err error)
	// Serve serves until there is nothing more to serve or Shutdown was
	// called, both of which are no errors. When ctx ends, it drops what it
	// does.
	Serve(ctx context.Context) error
	// Shutdown takes no further calls and waits for those in progress. When
	// ctx ends first, it cuts them off and returns ctx's error. Serve returns
	// then, as far as the calls' handlers let it.
	Shutdown(ctx context.Context) error
}

// Drainer is a [Transport] that can do something about its end beforehand. Drain
// is called once when the worker is not ready any more and still takes calls:
// the transport may turn new sessions away, and tell its callers to go elsewhere.
type Drainer interface{ Drain() }

// Delayer is a [Transport] that says itself how long it takes calls after Drain,
// in place of --drain-delay.
type Delayer interface{ DrainDelay() time.Duration }

// Counter is a [Transport] that knows how many calls it serves right now. It may
// be asked at any time.
type Counter interface{ InProgress() int }

// SessionCounter is a [Transport] that knows how many sessions are open, which
// end with the worker. It may be asked at any time.
type SessionCounter interface{ Sessions() int }

// Checker is a [Transport] that can find out without listening whether its
// address makes sense, for --check.
type Checker interface {
	Check(ctx context.Context) error
}
