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

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// byteStreams are the flags of the transports of package vgirpc.
type byteStreams struct {
	flags *pflag.FlagSet
	unix  string
	mode  octal
	tcp   string
}

// AddFlags declares the flags.
func (o *byteStreams) AddFlags(flags *pflag.FlagSet) {
	o.flags, o.mode = flags, 0o600
	flags.StringVar(&o.unix, "unix", "", "listen on a Unix socket at `PATH`")
	flags.Var(&o.mode, "unix-mode", "permissions of the socket, in octal")
	flags.StringVar(&o.tcp, "tcp", "", "listen on TCP at `[HOST:]PORT`: on 127.0.0.1 without a host, at a free port for 0")
}

// Apply chooses the transport.
func (o *byteStreams) Apply(_ context.Context, setup *Setup) error {
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

func (o *byteStreams) listenUnix(setup *Setup) error {
	if o.unix == "" {
		return errors.New("--unix: want a path")
	}
	return setup.Serve("--unix", &listening{
		setup: setup, kind: vgirpc.TransportUnix, network: "unix", address: o.unix,
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
	if host == "" {
		host = "127.0.0.1"
	}
	address := net.JoinHostPort(host, port)
	return setup.Serve("--tcp", &listening{
		setup: setup, kind: vgirpc.TransportTCP, network: "tcp", address: address,
		open:     func(ctx context.Context) (net.Listener, error) { return vgirpc.ListenTCP(ctx, address) },
		announce: func(a net.Addr) string { return "TCP:" + a.String() },
	})
}

// Seconds is the value of a flag of this package that is a number of seconds; 0
// when it was not given.
func Seconds(flags *pflag.FlagSet, name string) time.Duration {
	n, err := strconv.ParseFloat(flags.Lookup(name).Value.String(), 64)
	if err != nil {
		return 0 // seconds.String of 0
	}
	return time.Duration(n * float64(time.Second))
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
	if text == "never" {
		text = "0"
	}
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
