package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// limits are the flags of what bounds messages and connections. They come before
// those of other options, which may want to know the limits.
type limits struct {
	flags      *pflag.FlagSet
	message    size
	schema     size
	discard    size
	inFlight   size
	validation validation
	traces     bool

	maxConns  int
	maxFiles  int
	firstByte seconds
	progress  seconds
	connIdle  seconds
	quiet     seconds
	admit     seconds
	drain     seconds
	delay     seconds
	exit      seconds
}

// AddFlags declares the flags.
func (o *limits) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.Var(&o.message, "max-message-bytes", "at most `N` bytes of the body of a message, decompressed (default 256 MiB)")
	flags.Var(&o.schema, "max-schema-bytes", "at most `N` bytes of a message's schema or header (default 16 MiB)")
	flags.Var(&o.discard, "max-discard-bytes", "skip `N` bytes of a stream that is refused, then hang up (default 4 GiB)")
	flags.Var(&o.inFlight, "max-bytes-in-flight", "hold bodies of `N` bytes for all connections together (default 1 GiB)")
	flags.Var(&o.validation, "ipc-validation", "how thoroughly received batches are checked: none, standard or full (default full)")
	flags.BoolVar(&o.traces, "omit-tracebacks", false, "keep the stack traces of errors in the process")

	flags.IntVar(&o.maxConns, "max-connections", 0,
		"serve `N` connections at once, let others wait (default 64; 16384 over HTTP, where many are idle)")
	flags.IntVar(&o.maxFiles, "max-files", 0, "take `N` files with a call on a Unix socket, 0 for none (default 16)")
	flags.Var(&o.firstByte, "first-byte-timeout", "close a connection that is silent from its beginning for `SECONDS`, 0 for never (default 60)")
	flags.Var(&o.progress, "message-progress-timeout",
		"close a connection, not one of HTTP, whose message stands still for `SECONDS`, 0 for never (default 30)")
	flags.Var(&o.connIdle, "connection-idle-timeout", "close a connection, not one of HTTP, that waits `SECONDS` between two calls (default never)")
	flags.Var(&o.quiet, "idle-timeout", "end after so many `SECONDS` without a connection; the first one has at least 60 (default never)")
	flags.Var(&o.admit, "admit-timeout", "let `SECONDS` pass until a connection is admitted, 0 for no limit (default 10)")
	flags.Var(&o.drain, "drain-timeout", "let calls in progress go on for `SECONDS` at the end, 0 for no limit (default 8)")
	flags.Var(&o.delay, "drain-delay", "take calls for `SECONDS` after the signal to end, being not ready (default 0)")
	flags.Var(&o.exit, "exit-timeout", "give logs and telemetry `SECONDS` to be written at the end, 0 for no limit (default 2)")
}

// Apply sets the limits that were given.
func (o *limits) Apply(_ context.Context, setup *Setup) error {
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"max-message-bytes", int64(o.message), 1},
		{"max-schema-bytes", int64(o.schema), 1},
		{"max-discard-bytes", int64(o.discard), 1},
		{"max-bytes-in-flight", int64(o.inFlight), 1},
		{"max-connections", int64(o.maxConns), 1},
		{"max-files", int64(o.maxFiles), 0},
	} {
		if o.flags.Changed(f.name) && f.value < f.least {
			return fmt.Errorf("--%s %d: want at least %d", f.name, f.value, f.least)
		}
	}
	if o.flags.Changed("drain-delay") {
		setup.drainDelay = time.Duration(o.delay)
	}
	if o.flags.Changed("exit-timeout") {
		setup.exitTimeout = time.Duration(o.exit)
	}
	return setup.Server().Configure(func(opts *vgirpc.ServerOptions) {
		o.bytes(opts)
		o.connections(&opts.Conns)
	})
}

// bytes are the limits of messages.
func (o *limits) bytes(opts *vgirpc.ServerOptions) {
	for into, value := range map[*int64]size{
		&opts.Limits.MaxMessageBytes: o.message,
		&opts.Limits.MaxSchemaBytes:  o.schema,
		&opts.Limits.MaxDiscardBytes: o.discard,
	} {
		if value != 0 {
			*into = int64(value)
		}
	}
	if o.inFlight != 0 {
		opts.Limits.Budget = wire.NewBudget(int64(o.inFlight))
	}
	if o.flags.Changed("ipc-validation") {
		opts.Limits.Validation = wire.Validation(o.validation)
	}
	if o.flags.Changed("omit-tracebacks") {
		opts.OmitTracebacks = o.traces
	}
}

// connections are the limits of connections.
func (o *limits) connections(c *vgirpc.ConnOptions) {
	if o.maxConns != 0 {
		c.MaxConns = o.maxConns
	}
	if o.flags.Changed("max-files") {
		if c.MaxFiles = o.maxFiles; o.maxFiles == 0 {
			c.MaxFiles = -1
		}
	}
	for _, f := range []struct {
		name  string
		value seconds
		into  *time.Duration
	}{
		{"first-byte-timeout", o.firstByte, &c.FirstByteTimeout},
		{"message-progress-timeout", o.progress, &c.ProgressTimeout},
		{"connection-idle-timeout", o.connIdle, &c.IdleTimeout},
		{"idle-timeout", o.quiet, &c.QuietTimeout},
		{"admit-timeout", o.admit, &c.AdmitTimeout},
		{"drain-timeout", o.drain, &c.DrainTimeout},
	} {
		if o.flags.Changed(f.name) {
			if *f.into = time.Duration(f.value); f.value == 0 {
				*f.into = -1
			}
		}
	}
}

// limitsOf are the limits that a program has set, as their flags have them.
func limitsOf(o *vgirpc.ServerOptions) map[string]string {
	out := map[string]string{}
	for name, n := range map[string]int64{
		"max-message-bytes": o.Limits.MaxMessageBytes,
		"max-schema-bytes":  o.Limits.MaxSchemaBytes,
		"max-discard-bytes": o.Limits.MaxDiscardBytes,
		"max-connections":   int64(o.Conns.MaxConns),
		"max-files":         int64(o.Conns.MaxFiles),
	} {
		if n != 0 {
			out[name] = strconv.FormatInt(max(0, n), 10)
		}
	}
	for name, d := range map[string]time.Duration{
		"first-byte-timeout":       o.Conns.FirstByteTimeout,
		"message-progress-timeout": o.Conns.ProgressTimeout,
		"connection-idle-timeout":  o.Conns.IdleTimeout,
		"idle-timeout":             o.Conns.QuietTimeout,
		"admit-timeout":            o.Conns.AdmitTimeout,
		"drain-timeout":            o.Conns.DrainTimeout,
	} {
		if d != 0 {
			out[name] = strconv.FormatFloat(max(0, d.Seconds()), 'f', -1, 64)
		}
	}
	if level := validation(o.Limits.Validation); level.String() != "" {
		out["ipc-validation"] = level.String()
	}
	if o.OmitTracebacks {
		out["omit-tracebacks"] = "true"
	}
	return out
}

// size is a flag's number of bytes.
type size int64

// String is empty for the default, which the flag's usage tells.
func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Set reads a number of bytes, or of KiB, MiB or GiB.
func (s *size) Set(text string) error {
	number, shift := text, 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if before, ok := strings.CutSuffix(text, unit); ok {
			number, shift = strings.TrimRight(before, " "), 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return errors.New("want a number of bytes, such as 1048576 or 1 MiB")
	}
	*s = size(n << shift)
	return nil
}

// Type names the value in messages.
func (s *size) Type() string { return "N" }

// validation is a flag's level of validation.
type validation wire.Validation

// String is empty for the default, which the flag's usage tells.
func (v *validation) String() string {
	for _, name := range []string{"standard", "none"} {
		if level, err := wire.ParseValidation(name); err == nil && level == wire.Validation(*v) {
			return name
		}
	}
	return ""
}

// Set reads a level's name.
func (v *validation) Set(text string) error {
	level, err := wire.ParseValidation(text)
	if err != nil {
		return errors.New("want none, standard or full")
	}
	*v = validation(level)
	return nil
}

// Type names the value in messages.
func (v *validation) Type() string { return "LEVEL" }
