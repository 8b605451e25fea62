package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth/identity"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// fixture is what the command line of the conformance worker has beyond that of
// every worker (CONTRACT.md, sections 1 to 5). It is an option of the worker's
// main function.
type fixture struct {
	pipe          bool
	transportKind bool
	hostedReverse bool

	failStartOnce  bool
	noStickyEcho   bool
	stickyAuth     bool
	identity       *choice
	proofMode      *choice
	proofOrigin    string
	proofSecrets   string
	proofSkew      int64
	proofNoReplays bool
	idpURL         string
	resource       string
	otelExport     string

	storage storageFlags

	flags *pflag.FlagSet
}

// readFixture reads the fixture's part of a command line. The worker's main
// function reads all of it again: here other options, bad values of theirs and
// requests for help are passed over. But what is found here decides which
// server there is.
func readFixture(args []string) (*fixture, error) {
	f := new(fixture)
	flags := pflag.NewFlagSet("vgi-worker", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	f.AddFlags(flags)
	if err := flags.Parse(worker.JoinOptionalValues(flags, args)); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return nil, err
	}
	return f, f.check()
}

func (f *fixture) check() error {
	switch {
	case f.transportKind && f.hostedReverse:
		return errors.New("--transport-kind-probe and --hosted-reverse exclude each other: they host different protocols")
	case f.identity.value != identityOff && slices.ContainsFunc(httpModes, f.flags.Changed):
		return errors.New("--identity has an authenticator of its own, and excludes --" + strings.Join(httpModes, ", --"))
	case f.flags.Changed("http-pkce") && (f.idpURL == "" || f.resource == ""):
		return errors.New("--http-pkce needs --idp-url and --resource")
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
	flags.BoolVar(&f.transportKind, "transport-kind-probe", false, "host only "+TransportKindProbe.Name())
	flags.BoolVar(&f.hostedReverse, "hosted-reverse", false,
		"host "+Zeta.Name()+", "+Secondary.Name()+" and "+Alpha.Name()+", in this order")
	flags.Bool("access-log-debug", false, "log at DEBUG: the same records, for payloads are never logged")
	flags.Bool("describe", false, "does nothing: reflection is always on")
	flags.Bool("threaded", false, "does nothing: connections are always served at once")
	f.storage.addFlags(flags)
	f.addHTTPFlags(flags)
	f.addAuthFlags(flags)
}

// httpModes are the flags that ask for HTTP behind an authenticator.
var httpModes = []string{"http-auth", "http-proof", "http-pkce"}

// Apply checks what only the whole command line shows, and asks for HTTP where
// one of its modes was chosen. It runs before the option of package workerhttp.
func (f *fixture) Apply(_ context.Context, setup *worker.Setup) error {
	if err := f.export(setup); err != nil {
		return err
	}
	for _, other := range []string{"unix", "tcp", "http", "http-auth", "http-proof", "http-pkce"} {
		if f.pipe && f.flags.Changed(other) {
			return fmt.Errorf("--pipe and --%s exclude each other: a worker serves one transport", other)
		}
	}
	for _, mode := range httpModes {
		if !f.flags.Changed(mode) {
			continue
		}
		if f.flags.Changed("http") {
			return fmt.Errorf("--%s excludes the other modes of HTTP", mode)
		}
		if err := f.flags.Set("http", f.flags.Lookup(mode).Value.String()); err != nil {
			return err
		}
		if mode == "http-pkce" {
			if err := f.flags.Set("prefix", pkcePrefix); err != nil {
				return err
			}
		}
	}
	return nil
}

// addHTTPFlags declares the modes of section 2 that have an authenticator, and
// what package workerhttp does not have of section 4.
func (f *fixture) addHTTPFlags(flags *pflag.FlagSet) {
	flags.Uint16("http-auth", 0, "serve HTTP, on `PORT` if given, and refuse every call")
	flags.Uint16("http-proof", 0, "serve HTTP, on `PORT` if given, to a proxy that proves itself")
	flags.Uint16("http-pkce", 0, "serve HTTP, on `PORT` if given and below "+pkcePrefix+", behind a browser sign-in; refuse every call")
	for _, mode := range httpModes {
		worker.OptionalValue(flags, mode, "0")
	}
	flags.BoolVar(&f.noStickyEcho, "no-sticky-echo", false, "no echo header with sticky sessions")
	flags.BoolVar(&f.failStartOnce, "fail-serve-start-once", false, "fail the first start of a transport")
}

// addAuthFlags declares the flags of section 5.
func (f *fixture) addAuthFlags(flags *pflag.FlagSet) {
	f.identity = newChoice(identityOff, identityBoth, identityIntrospectOnly, identityGrants)
	f.proofMode = newChoice("require", "allow", "off")
	flags.BoolVar(&f.stickyAuth, "sticky-auth", false, "HTTP callers name themselves in a header")
	flags.Var(f.identity, "identity", "host "+identity.Name+" with the fixture's policy; HTTP callers name themselves in a header")
	flags.Var(f.proofMode, "proof-mode", "whether --http-proof demands a proof")
	flags.StringVar(&f.proofOrigin, "proof-origin-id", "conformance-origin", "`ID` of this origin, for --http-proof")
	flags.StringVar(&f.proofSecrets, "proof-secrets", "", "`KID:HEX,...` for --http-proof")
	flags.Int64Var(&f.proofSkew, "proof-skew", 30, "`SECONDS` of clock skew that --http-proof allows")
	flags.BoolVar(&f.proofNoReplays, "proof-no-replay-cache", false, "let --http-proof take a proof twice")
	flags.StringVar(&f.idpURL, "idp-url", "", "`URL` of the identity provider of --http-pkce")
	flags.StringVar(&f.resource, "resource", "", "`URL` of the resource of --http-pkce")
	flags.StringVar(&f.otelExport, exportFlag, "", "write spans and metrics to `FILE`")
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
