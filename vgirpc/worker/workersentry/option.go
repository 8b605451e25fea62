package workersentry

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	sdk "github.com/getsentry/sentry-go"
	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/observability/sentry"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// Options are what a program sets, where a flag says nothing else. The zero value
// works.
type Options struct {
	// Reporter configures what is reported. Its ServerID and Performance are
	// those of the worker and its flags when they are not set. Its Hub, or else
	// the client that sentry.Init has set up, is used before SENTRY_DSN is, which
	// the SDK reads as well; --sentry-dsn goes before both.
	Reporter sentry.Options
	// Client configures the worker's own client, the one that --sentry-dsn asks
	// for, or SENTRY_DSN where the program has none: what has to be scrubbed
	// from reports belongs into its BeforeSend too.
	Client sdk.ClientOptions
}

// Option adds the reporter to a worker.
func Option(opts Options) worker.Option { return &option{opts: opts} }

// option is the flags.
type option struct {
	opts   Options
	flags  *pflag.FlagSet
	dsn    string
	env    string
	rel    string
	faults float64
	traces float64
}

// AddFlags declares the flags.
func (o *option) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	c := &o.opts.Client
	flags.StringVar(&o.dsn, "sentry-dsn", c.Dsn, "report faults to the Sentry project of `DSN` (environment SENTRY_DSN)")
	worker.Secret(flags, "sentry-dsn")
	worker.AlsoEnvironment(flags, "sentry-dsn", variable)
	flags.StringVar(&o.env, "sentry-environment", c.Environment, "`NAME` of the environment in reports (environment SENTRY_ENVIRONMENT)")
	worker.AlsoEnvironment(flags, "sentry-environment", "SENTRY_ENVIRONMENT")
	flags.StringVar(&o.rel, "sentry-release", c.Release, "`NAME` of the release in reports (environment SENTRY_RELEASE; default the worker's version)")
	worker.AlsoEnvironment(flags, "sentry-release", "SENTRY_RELEASE")
	flags.Float64Var(&o.faults, "sentry-sample-rate", cmp.Or(c.SampleRate, 1), "report this `FRACTION` of the faults, over 0 and up to 1")
	flags.Float64Var(&o.traces, "sentry-traces-sample-rate", c.TracesSampleRate,
		"measure this `FRACTION` of the calls, 0 to 1 (environment SENTRY_TRACES_SAMPLE_RATE)")
	worker.AlsoEnvironment(flags, "sentry-traces-sample-rate", "SENTRY_TRACES_SAMPLE_RATE")
	flags.BoolVar(&o.opts.Reporter.Anonymous, "sentry-anonymous", o.opts.Reporter.Anonymous, "leave out of reports who calls")
}

// Apply observes the server when there is somebody to report to.
func (o *option) Apply(_ context.Context, setup *worker.Setup) error {
	own, programs := o.clients()
	if err := o.check(own, programs); err != nil {
		return err
	}
	r := o.opts.Reporter
	r.ServerID = cmp.Or(r.ServerID, setup.Server().ID())
	if r.TraceOf == nil {
		r.TraceOf = setup.SampledTrace
	}
	switch {
	case own:
		client, err := o.client(setup)
		if err != nil {
			return err
		}
		r.Hub, r.Performance = sdk.NewHub(client, sdk.NewScope()), r.Performance || o.traces > 0
	case r.Hub == nil && !programs:
		return nil
	}
	reporter, err := sentry.New(r)
	if err != nil {
		return err
	}
	if own {
		setup.AtExit(reporter.Shutdown)
	} else {
		setup.AtExit(reporter.Flush) // a client of the program's is the program's to close
	}
	return setup.Server().Configure(func(s *vgirpc.ServerOptions) { s.Observers = append(s.Observers, reporter) })
}

// variable is the DSN's own variable, which sentry.Init reads as well.
const variable = "SENTRY_DSN"

// clients tells whether the worker needs a client of its own, and whether the
// program has one. The program's goes before what the environment says to both of
// them: it may scrub what it sends.
func (o *option) clients() (own, programs bool) {
	hub := cmp.Or(o.opts.Reporter.Hub, sdk.CurrentHub())
	programs = hub.Client().IsEnabled()
	if o.dsn == "" || !programs {
		return o.dsn != "", programs
	}
	source, origin := worker.OriginOf(o.flags, "sentry-dsn")
	if source == worker.Default { // the program has set both
		return o.opts.Reporter.Hub == nil, programs
	}
	return origin != variable, programs
}

// check names the flag that has an impossible value, or no effect.
func (o *option) check(own, programs bool) error {
	switch {
	case !(o.faults > 0 && o.faults <= 1): // NaN as well
		return fmt.Errorf("--sentry-sample-rate %v: want a fraction over 0, up to 1: without a DSN nothing is reported", o.faults)
	case !(o.traces >= 0 && o.traces <= 1):
		return fmt.Errorf("--sentry-traces-sample-rate %v: want a fraction from 0 to 1", o.traces)
	case own:
		return nil
	}
	for _, name := range []string{"sentry-sample-rate", "sentry-traces-sample-rate", "sentry-anonymous"} {
		source, _ := worker.OriginOf(o.flags, name)
		switch {
		case source != worker.CommandLine:
		case !programs:
			return fmt.Errorf("--%s is nothing without --sentry-dsn", name)
		case name != "sentry-anonymous": // the reporter's business
			return fmt.Errorf("--%s is nothing without --sentry-dsn: this program has a client of its own, with rates of its own", name)
		}
	}
	return nil
}

// errDSN is why a DSN is refused. What it says of itself may hold the key.
var errDSN = errors.New("--sentry-dsn: want https://KEY@HOST/PROJECT, as the project's settings in Sentry show it")

// client is a client of the worker's own.
func (o *option) client(setup *worker.Setup) (*sdk.Client, error) {
	c := o.opts.Client
	c.Dsn, c.Environment, c.Release = o.dsn, o.env, cmp.Or(o.rel, setup.Server().Version())
	c.SampleRate, c.TracesSampleRate = o.faults, o.traces
	c.EnableTracing = c.EnableTracing || o.traces > 0
	client, err := sdk.NewClient(c)
	if err != nil {
		return nil, errDSN
	}
	return client, nil
}
