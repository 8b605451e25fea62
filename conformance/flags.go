package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// fixture is what the command line of the conformance worker has beyond that of
// every worker (CONTRACT.md, sections 1 to 5). It is an option of the worker's
// main function.
type fixture struct {
	pipe          bool
	serverID      string
	transportKind bool
	hostedReverse bool

	flags *pflag.FlagSet
}

// missing are the options that ask for what the worker does not do yet. Most
// others of sections 3 to 5 change nothing without them, and are accepted.
var missing = map[string]string{
	"http":         "HTTP is not available yet",
	"http-auth":    "HTTP is not available yet",
	"http-proof":   "HTTP is not available yet",
	"http-pkce":    "HTTP is not available yet",
	"fake-storage": "external storage is not available yet",
	"otel-export":  "OpenTelemetry is not available yet",
}

// readFixture reads the fixture's part of a command line. The worker's main
// function reads all of it again: here other options, bad values of theirs and
// requests for help are passed over. But what is found here decides which
// server there is, and what is missing is told in plain words.
func readFixture(args []string) (*fixture, error) {
	f := new(fixture)
	flags := pflag.NewFlagSet("vgi-worker", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	f.AddFlags(flags)
	if err := flags.Parse(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return nil, err
	}
	return f, f.check()
}

func (f *fixture) check() error {
	var refused []string
	f.flags.Visit(func(flag *pflag.Flag) {
		if why := missing[flag.Name]; why != "" {
			refused = append(refused, "--"+flag.Name+": "+why)
		}
	})
	switch {
	case len(refused) > 0:
		return errors.New(strings.Join(refused, "; "))
	case f.transportKind && f.hostedReverse:
		return errors.New("--transport-kind-probe and --hosted-reverse exclude each other: they host different protocols")
	}
	return nil
}

// hosting is what the worker hosts.
func (f *fixture) hosting() Hosting {
	switch {
	case f.transportKind:
		return HostTransportKind
	case f.hostedReverse:
		return HostReverse
	}
	return HostStandard
}

// AddFlags declares the flags.
func (f *fixture) AddFlags(flags *pflag.FlagSet) {
	f.flags = flags
	flags.BoolVar(&f.pipe, "pipe", false, "serve standard input and output, as without any transport")
	flags.StringVar(&f.serverID, "server-id", "", "the server's `ID`; made at random unless given")
	flags.BoolVar(&f.transportKind, "transport-kind-probe", false, "host only "+TransportKindProbe.Name())
	flags.BoolVar(&f.hostedReverse, "hosted-reverse", false,
		"host "+Zeta.Name()+", "+Secondary.Name()+" and "+Alpha.Name()+", in this order")
	flags.Bool("access-log-debug", false, "log at DEBUG: the same records, for payloads are never logged")
	flags.Bool("describe", false, "does nothing: reflection is always on")
	flags.Bool("threaded", false, "does nothing: connections are always served at once")
	addStorageFlags(flags)
	addHTTPFlags(flags)
	addAuthFlags(flags)
}

// Apply checks what only the whole command line shows.
func (f *fixture) Apply(context.Context, *worker.Setup) error {
	for _, other := range []string{"unix", "tcp"} {
		if f.pipe && f.flags.Changed(other) {
			return fmt.Errorf("--pipe and --%s exclude each other: a worker serves one transport", other)
		}
	}
	return nil
}

// addStorageFlags declares the flags of section 3.
func addStorageFlags(flags *pflag.FlagSet) {
	flags.String("fake-storage", "", "the suite's storage at `URL`: not available yet")
	flags.Int64("externalize-threshold", 4096, "batches of more than `N` bytes leave through storage")
	flags.Var(newChoice("none", "zstd"), "compression", "of externalized objects")
	flags.Int64("max-fetch-bytes", 0, "at most `N` bytes of a fetched object, as stored")
	flags.Int64("max-decompressed-fetch-bytes", 0, "at most `N` bytes of a fetched object, decoded")
	flags.Bool("reject-localhost-redirects", false, "fetch from 127.0.0.1 only")
}

// addHTTPFlags declares the modes of section 2 that serve HTTP, and the flags
// of section 4.
func addHTTPFlags(flags *pflag.FlagSet) {
	for _, mode := range []string{"http", "http-auth", "http-proof"} {
		flags.Uint16(mode, 0, "serve HTTP on `PORT`: not available yet")
		flags.Lookup(mode).NoOptDefVal = "0"
	}
	flags.String("host", "127.0.0.1", "`ADDRESS` to serve HTTP on")
	flags.Uint16("port", 0, "`PORT` to serve HTTP on")
	flags.String("prefix", "", "`PATH` in front of every HTTP route")
	flags.Int64("max-request-bytes", 0, "at most `N` bytes of an HTTP request")
	flags.Int64("max-response-bytes", 0, "at most `N` bytes of an HTTP response")
	flags.Int64("max-externalized-response-bytes", 0, "at most `N` bytes of an externalized HTTP response")
	flags.Bool("no-compression", false, "neither read nor write compressed HTTP bodies")
	flags.Bool("no-call-state-cache", false, "decode the call's state for every HTTP request")
	flags.String("cors-origin", "", "let pages of `ORIGIN` call over HTTP")
	flags.String("token-key", "", "seal HTTP tokens with 32 bytes in `HEX`")
	flags.Bool("no-sticky", false, "no sticky sessions over HTTP")
	flags.Bool("no-sticky-echo", false, "no echo header with sticky sessions")
	flags.Float64("sticky-ttl", 300, "sticky sessions end after so many `SECONDS`")
	flags.Bool("fail-serve-start-once", false, "fail the first start of HTTP")
}

// addAuthFlags declares the flags of section 5.
func addAuthFlags(flags *pflag.FlagSet) {
	flags.Bool("sticky-auth", false, "HTTP callers name themselves in a header")
	flags.Var(newChoice("off", "both", "introspect-only", "grants"), "identity", "policy of the identity protocol over HTTP")
	flags.Var(newChoice("require", "allow", "off"), "proof-mode", "whether --http-proof demands a proof")
	flags.String("proof-origin-id", "conformance-origin", "`ID` of this origin, for --http-proof")
	flags.String("proof-secrets", "", "`KID:HEX,...` for --http-proof")
	flags.Int64("proof-skew", 30, "`SECONDS` of clock skew that --http-proof allows")
	flags.Bool("proof-no-replay-cache", false, "let --http-proof take a proof twice")
	flags.Bool("http-pkce", false, "serve HTTP behind a browser sign-in: not available yet")
	flags.String("idp-url", "", "`URL` of the identity provider of --http-pkce")
	flags.String("resource", "", "`URL` of the resource of --http-pkce")
	flags.String("otel-export", "", "write spans and metrics to `FILE`: not available yet")
}

// choice is the value of a flag that takes one of a few words; the first is its
// default.
type choice struct {
	value string
	of    []string
}

func newChoice(of ...string) *choice { return &choice{of[0], of} }

// Set takes one of the words.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		return fmt.Errorf("want one of %s", strings.Join(c.of, ", "))
	}
	c.value = s
	return nil
}

// String is the word chosen.
func (c *choice) String() string { return c.value }

// Type is how help calls the value.
func (c *choice) Type() string { return strings.Join(c.of, "|") }
