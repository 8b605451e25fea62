package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth/ratelimit"
	"github.com/vgirpc/vgirpc-go/observability"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// requestLog are the flags of the request log.
type requestLog struct {
	flags *pflag.FlagSet
	path  string
	rate  int
	file  observability.LogFileOptions
}

// AddFlags declares the flags.
func (o *requestLog) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.path, "request-log", "", "append one JSON line for each request and connection that was refused "+
		"to the file at `PATH`, in the background; {pid} and {server_id} as in --access-log")
	flags.Int64Var(&o.file.MaxBytes, "request-log-max-bytes", 0, "begin a new file before the request log exceeds `N` bytes (default never)")
	flags.IntVar(&o.file.BackupCount, "request-log-backup-count", observability.DefaultBackupCount, "keep `N` old files of the request log")
	flags.IntVar(&o.rate, "request-log-rate", observability.DefaultAddressRate,
		"log `N` refusals per second from each address, and twenty times as many in all; further ones are counted")
}

// Apply makes the request log an observer of refusals.
func (o *requestLog) Apply(_ context.Context, setup *Setup) error {
	if err := o.check(); err != nil || !o.flags.Changed("request-log") {
		return err
	}
	// A connection that is refused keeps its place among --max-connections until
	// this log has taken its record: it must not wait for a disk.
	o.file.Async = true
	opts, err := setup.options()
	if err != nil {
		return err
	}
	log, err := observability.OpenRequestLog(o.path, observability.RequestLogOptions{
		ServerID: opts.ServerID, ServerVersion: opts.Version, Logger: opts.Logger,
		AddressRate: o.rate, Rate: 20 * o.rate, File: o.file,
	})
	if err != nil {
		return fmt.Errorf("--request-log: %w", err)
	}
	setup.OnReload(func(ctx context.Context) error { return reopen(ctx, "request log", log.Reopen) })
	setup.AtExit(log.Shutdown)
	setup.Measure(Measure{
		Name: "request_log_dropped_total", Help: "Records of the request log that were lost.", Counter: true,
		Read: func(report func(string, float64)) { report("", float64(log.Dropped())) },
	}, Measure{
		Name: "request_log_suppressed_total", Help: "Records of the request log that were left out because they were too many.", Counter: true,
		Read: func(report func(string, float64)) { report("", float64(log.Suppressed())) },
	})
	return setup.Server().Configure(func(o *vgirpc.ServerOptions) { o.RefusalObservers = append(o.RefusalObservers, log) })
}

// check names the flag that has an impossible value, or no effect.
func (o *requestLog) check() error {
	switch {
	case o.file.MaxBytes < 0:
		return fmt.Errorf("--request-log-max-bytes %d: want at least 0", o.file.MaxBytes)
	case o.file.BackupCount < 1:
		return fmt.Errorf("--request-log-backup-count %d: want at least 1", o.file.BackupCount)
	case o.rate < 1 || o.rate > 1e6:
		return fmt.Errorf("--request-log-rate %d: want a number from 1 to 1000000", o.rate)
	case !o.flags.Changed("request-log"):
		return nothingWithout(o.flags, "--request-log", "request-log-max-bytes", "request-log-backup-count", "request-log-rate")
	case o.path == "":
		return errors.New("--request-log: want a path")
	case o.file.MaxBytes == 0:
		return nothingWithout(o.flags, "--request-log-max-bytes", "request-log-backup-count")
	}
	return nil
}

// Flags of rates, which options of transports read with [Rate].
const (
	flagAddressRate   = "rate-limit-address"
	flagPrincipalRate = "rate-limit-principal"
)

// rateLimits are the flags of how often is served who. Here they hold for Unix
// sockets and TCP; package workerhttp reads them for HTTP.
type rateLimits struct {
	flags              *pflag.FlagSet
	address, principal string
}

// AddFlags declares the flags.
func (o *rateLimits) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.address, flagAddressRate, "", "serve each address `N[/s|/m|/h][:BURST]` requests over HTTP, or connections over TCP, "+
		"and refuse others (default no limit)")
	flags.StringVar(&o.principal, flagPrincipalRate, "", "serve each authenticated caller `N[/s|/m|/h][:BURST]` requests over HTTP, "+
		"or calls over TCP and Unix sockets, and refuse others (default no limit)")
}

// Apply limits connections and their calls. The limit of addresses comes behind
// the admitters that the program has set, which may read what a proxy says, and
// before those of flags, which cost more.
func (o *rateLimits) Apply(_ context.Context, setup *Setup) error {
	address, limited, err := Rate(o.flags, flagAddressRate)
	if err != nil {
		return err
	}
	var admit []vgirpc.Admitter
	if limited {
		limit, err := ratelimit.NewAddresses(ratelimit.Options{Rate: address})
		if err != nil {
			return fmt.Errorf("--%s: %w", flagAddressRate, err)
		}
		admit = append(admit, limit)
	}
	principal, limited, err := Rate(o.flags, flagPrincipalRate)
	if err != nil {
		return err
	}
	var intercept []vgirpc.Interceptor
	if limited {
		limit, err := ratelimit.NewPrincipals(ratelimit.Options{Rate: principal})
		if err != nil {
			return fmt.Errorf("--%s: %w", flagPrincipalRate, err)
		}
		intercept = append(intercept, limit.Intercept)
	}
	return setup.Server().Configure(func(opts *vgirpc.ServerOptions) {
		opts.Conns.Admit = append(opts.Conns.Admit, admit...)
		opts.Interceptors = append(intercept, opts.Interceptors...)
	})
}

// Rate is the value of a flag of this package that is a rate, and whether it was
// given.
func Rate(flags *pflag.FlagSet, name string) (ratelimit.Rate, bool, error) {
	if !flags.Changed(name) {
		return ratelimit.Rate{}, false, nil
	}
	rate, err := ratelimit.ParseRate(flags.Lookup(name).Value.String())
	if err != nil {
		return rate, false, fmt.Errorf("--%s: %w", name, err)
	}
	return rate, true, nil
}
