// Package workersentry gives a worker a reporter of faults to Sentry; see package
// observability/sentry.
//
//	worker.Main(server, workersentry.Option(workersentry.Options{}))
//
// The worker then understands:
//
//	--sentry-dsn DSN              report faults there; also SENTRY_DSN
//	--sentry-dsn-file PATH        the same, in a file
//	--sentry-environment NAME     also SENTRY_ENVIRONMENT
//	--sentry-release NAME         also SENTRY_RELEASE; the worker's version by default
//	--sentry-sample-rate N        report this part of the faults, 1 by default
//	--sentry-traces-sample-rate N measure this part of the calls as well, 0 by default;
//	                              also SENTRY_TRACES_SAMPLE_RATE
//	--sentry-anonymous            leave out who calls
//
// Without a DSN nothing is reported, unless the program has initialised the SDK
// itself. Then its client is used, with its environment, release, rates and
// scrubbing, of the flags only --sentry-anonymous has an effect, and SENTRY_DSN is
// the client's business alone. A DSN that is meant for the worker (--sentry-dsn,
// --sentry-dsn-file, VGI_RPC_SENTRY_DSN, the configuration file) makes a client of
// the worker's own instead, which Options.Client scrubs.
//
// What waits to be sent when the worker ends is sent for as long as its share of
// the end is, of 2 seconds in all; the worker then ends in any case.
package workersentry
