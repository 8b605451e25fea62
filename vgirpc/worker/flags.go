package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/observability"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// byteStreams are the flags of the transports of package vgirpc.
type byteStreams struct {
	flags    *pflag.FlagSet
	unix     string
	mode     octal
	tcp      string
	maxConns int
	idle     seconds
}

// AddFlags declares the flags.
func (o *byteStreams) AddFlags(flags *pflag.FlagSet) {
	o.flags, o.mode = flags, 0o600
	flags.StringVar(&o.unix, "unix", "", "listen on a Unix socket at `PATH`")
	flags.Var(&o.mode, "unix-mode", "permissions of the socket, in octal")
	flags.StringVar(&o.tcp, "tcp", "", "listen on TCP at `[HOST:]PORT`: on 127.0.0.1 without a host, at a free port for 0")
	flags.IntVar(&o.maxConns, "max-connections", 0, "serve `N` connections at once, let others wait (default 64)")
	flags.Var(&o.idle, "idle-timeout", "end after so many `SECONDS` without a connection; the first one has at least 60 (default never)")
}

// Apply chooses the transport and sets the limits that were given.
func (o *byteStreams) Apply(_ context.Context, setup *Setup) error {
	if err := o.limit(setup.Server()); err != nil {
		return err
	}
	if o.flags.Changed("unix") {
		if err := o.listenUnix(setup); err != nil {
			return err
		}
	}
	if o.flags.Changed("tcp") {
		return o.listenTCP(setup)
	}
	return nil
}

func (o *byteStreams) limit(s *vgirpc.Server) error {
	if o.flags.Changed("max-connections") && o.maxConns < 1 {
		return fmt.Errorf("--max-connections %d: want at least 1", o.maxConns)
	}
	return s.Configure(func(opts *vgirpc.ServerOptions) {
		if o.flags.Changed("max-connections") {
			opts.Conns.MaxConns = o.maxConns
		}
		if o.flags.Changed("idle-timeout") {
			opts.Conns.QuietTimeout = time.Duration(o.idle)
		}
	})
}

func (o *byteStreams) listenUnix(setup *Setup) error {
	if o.unix == "" {
		return errors.New("--unix: want a path")
	}
	return setup.Serve("--unix", &listening{
		server: setup.Server(), kind: vgirpc.TransportUnix,
		open: func(ctx context.Context) (net.Listener, error) {
			return vgirpc.ListenUnix(ctx, o.unix, vgirpc.UnixOptions{Mode: fs.FileMode(o.mode)})
		},
		announce: func(net.Addr) string { return "UNIX:" + o.unix },
	})
}

func (o *byteStreams) listenTCP(setup *Setup) error {
	host, port, err := net.SplitHostPort(o.tcp)
	if err != nil {
		host, port = "", o.tcp
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("--tcp %q: want [HOST:]PORT, and a port from 0 to 65535", o.tcp)
	}
	return setup.Serve("--tcp", &listening{
		server: setup.Server(), kind: vgirpc.TransportTCP,
		open: func(ctx context.Context) (net.Listener, error) {
			return vgirpc.ListenTCP(ctx, net.JoinHostPort(host, port))
		},
		announce: func(a net.Addr) string { return "TCP:" + a.String() },
	})
}

// accessLog is the flag of the access log.
type accessLog struct {
	flags *pflag.FlagSet
	path  string
}

// AddFlags declares the flag.
func (o *accessLog) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.path, "access-log", "", "append one JSON line for each call to the file at `PATH`; "+
		"{pid} and {server_id} in it stand for this process and server")
}

// Apply makes the access log an observer. It runs after the options that may
// change the server's identifier.
func (o *accessLog) Apply(_ context.Context, setup *Setup) error {
	if !o.flags.Changed("access-log") {
		return nil
	}
	if o.path == "" {
		return errors.New("--access-log: want a path")
	}
	opts, err := setup.options()
	if err != nil {
		return err
	}
	log, err := observability.OpenAccessLog(o.path, observability.AccessLogOptions{
		ServerID: opts.ServerID, ServerVersion: opts.Version, Logger: opts.Logger,
	})
	if err != nil {
		return fmt.Errorf("--access-log: %w", err)
	}
	setup.AtExit(func(context.Context) error { return log.Close() })
	return setup.Server().Configure(func(o *vgirpc.ServerOptions) { o.Observers = append(o.Observers, log) })
}

// seconds is a flag's duration, as a number of seconds.
type seconds time.Duration

// String is empty for the default, which the flag's usage tells.
func (s *seconds) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatFloat(time.Duration(*s).Seconds(), 'f', -1, 64)
}

// Set reads a number of seconds, 0 for never.
func (s *seconds) Set(text string) error {
	const longest = 1e9 // 30 years
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 || n > longest {
		return errors.New("want a number of seconds, or 0 for never")
	}
	*s = seconds(n * float64(time.Second))
	return nil
}

// Type names the value in messages.
func (s *seconds) Type() string { return "SECONDS" }

// octal is a flag's file mode.
type octal fs.FileMode

// String is the mode as Set reads it.
func (m *octal) String() string { return strconv.FormatUint(uint64(*m), 8) }

// Set reads a mode in octal.
func (m *octal) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || fs.FileMode(n)&^fs.ModePerm != 0 {
		return errors.New("want permissions in octal, such as 660")
	}
	*m = octal(n)
	return nil
}

// Type names the value in messages.
func (m *octal) Type() string { return "MODE" }
