package worker

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// logging is the flag of the server's own log.
type logging struct {
	flags *pflag.FlagSet
	level level
}

// AddFlags declares the flag.
func (o *logging) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.Var(&o.level, "log-level", "least severity of what is logged: debug, info, warn or error")
}

// Apply gives a server without a logger one that writes to standard error, and
// sets the level of either when it was asked for.
func (o *logging) Apply(_ context.Context, setup *Setup) error {
	level := setup.LogLevel()
	level.least.Set(slog.Level(o.level))
	return setup.Server().Configure(func(opts *vgirpc.ServerOptions) {
		if opts.Logger == nil {
			opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: &level.least}))
			return
		}
		level.own = opts.Logger.Handler()
		level.set.Store(o.flags.Changed("log-level"))
		opts.Logger = slog.New(leveled{level.own, level})
	})
}

// leveled is a handler with another level than its own, as soon as there is one.
type leveled struct {
	slog.Handler
	level *LogLevel
}

// Enabled reports whether the level is logged.
func (h leveled) Enabled(ctx context.Context, l slog.Level) bool {
	if h.level.set.Load() {
		return l >= h.level.least.Level()
	}
	return h.Handler.Enabled(ctx, l)
}

// WithAttrs keeps the level.
func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(attrs), h.level}
}

// WithGroup keeps the level.
func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.Handler.WithGroup(name), h.level}
}

// level is a flag's log level.
type level slog.Level

// String is the level's name on the command line.
func (l *level) String() string {
	for name, known := range levels {
		if known == slog.Level(*l) {
			return name
		}
	}
	return slog.Level(*l).String()
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// Set reads a level's name.
func (l *level) Set(text string) error {
	known, ok := levels[text]
	if !ok {
		return errors.New("want debug, info, warn or error")
	}
	*l = level(known)
	return nil
}

// Type names the value in messages.
func (l *level) Type() string { return "LEVEL" }
