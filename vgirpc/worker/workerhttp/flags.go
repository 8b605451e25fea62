package workerhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// given is what flags say that is more than a field of the program's options.
type given struct {
	http, port uint16
	host       string
	noCache    bool
	noUploads  bool
	origins    []string
	keys       []string
	grants     [3]string         // as grantFlags
	domains    []string          // of callers who get them
	sticky     httpserver.Sticky // begins as the program's
	echo       []string
	noSticky   bool
	tokens     string
	json       bool
	gateway    httpserver.JSONGateway // begins as the program's
	tls        httpserver.TLSOptions  // begins as the program's
	proxies    []string
}

// AddFlags declares the flags. Their defaults are what the program set.
func (o *option) AddFlags(flags *pflag.FlagSet) {
	o.flags, o.own = flags, pflag.NewFlagSet("http", pflag.ContinueOnError)
	o.addPlace(o.own)
	o.addLimits(o.own)
	o.addStreams(o.own)
	o.addCallers(o.own)
	o.addPeople(o.own)
	o.addConnections(o.own)
	o.addTLS(o.own)
	o.addProxies(o.own)
	o.own.VisitAll(func(f *pflag.Flag) {
		if f.DefValue != "" && f.DefValue != "0" { // pflag tells the program's own default
			f.Usage, _, _ = strings.Cut(f.Usage, " (default ")
		}
		flags.AddFlag(f)
	})
}

// addPlace is where to serve.
func (o *option) addPlace(flags *pflag.FlagSet) {
	h := &o.opts.Handler
	flags.Uint16Var(&o.http, "http", 0, "serve HTTP, on `PORT` if given")
	worker.OptionalValue(flags, "http", "0")
	flags.StringVar(&o.host, "host", "127.0.0.1", "`ADDRESS` to serve HTTP on")
	flags.Uint16Var(&o.port, "port", 0, "`PORT` to serve HTTP on (default a free one)")
	flags.StringVar(&h.Prefix, "prefix", h.Prefix, "`PATH` in front of every HTTP route")
	flags.BoolVar(&h.RequireProtocolKey, "require-protocol-key", h.RequireProtocolKey,
		"refuse HTTP requests whose metadata does not repeat the protocol of the path")
}

// addLimits are the sizes and numbers that are allowed.
func (o *option) addLimits(flags *pflag.FlagSet) {
	h := &o.opts.Handler
	size := func(into *int64, name, usage string) { flags.Int64Var(into, name, *into, usage) }
	size(&h.MaxRequestBytes, "max-request-bytes", "at most `N` bytes of an HTTP request")
	size(&h.MaxResponseBytes, "max-response-bytes", "at most `N` bytes of an HTTP response")
	size(&h.HostingMaxRequestBytes, "hosting-max-request-bytes", "at most `N` bytes of an HTTP request can get here")
	size(&h.HostingMaxResponseBytes, "hosting-max-response-bytes", "at most `N` bytes of an HTTP response can get away from here")
	size(&h.PreferredResponseBytes, "preferred-response-bytes", "let handlers aim at HTTP responses of `N` bytes")
	size(&h.MaxExternalizedResponseBytes, "max-externalized-response-bytes", "at most `N` bytes that an HTTP response moves to storage")
	flags.IntVar(&h.MaxInFlight, "max-in-flight", h.MaxInFlight, "serve `N` HTTP calls at once, refuse others (default no limit)")
	flags.BoolVar(&h.NoCompression, "no-compression", h.NoCompression, "send HTTP responses uncompressed")
	flags.BoolVar(&h.NoZstd, "no-zstd", h.NoZstd, "know only gzip over HTTP")
	worker.AlsoEnvironment(flags, "no-zstd", envNoZstd)
	flags.BoolVar(&o.noUploads, "no-uploads", false, "hand out no upload URLs over HTTP, though there is storage")
}

// addStreams is what lasts longer than a request.
func (o *option) addStreams(flags *pflag.FlagSet) {
	h := &o.opts.Handler
	flags.StringArrayVar(&o.keys, "token-key", nil,
		"`KEY` in hex or base64 that seals HTTP tokens; further ones, or more after commas, open them")
	worker.Secret(flags, "token-key")
	flags.Var(&seconds{&h.TokenTTL, never}, "token-ttl", "let HTTP streams last for `SECONDS`, 0 for ever (default 3600)")
	flags.IntVar(&h.Replicas, "replicas", h.Replicas, "`N` processes serve the same HTTP callers")
	flags.IntVar(&h.CallCache, "call-state-cache", h.CallCache, "remember `N` open HTTP streams (default 4096)")
	flags.BoolVar(&o.noCache, "no-call-state-cache", false, "open a stream's tokens for every HTTP request")
	if h.Sticky != nil {
		o.sticky = *h.Sticky
	}
	flags.Var(&seconds{&o.sticky.TTL, positive}, "sticky-ttl", "let HTTP sessions live for `SECONDS` in this process")
	flags.IntVar(&o.sticky.MaxSessions, "sticky-max-sessions", o.sticky.MaxSessions, "at most `N` HTTP sessions at once (default 100000)")
	flags.StringArrayVar(&o.echo, "sticky-echo", nil, "header `NAME=VALUE` that HTTP requests of a session have to bring; may be repeated")
	flags.BoolVar(&o.noSticky, "no-sticky", false, "no HTTP sessions in this process")
}

// addCallers is who may call.
func (o *option) addCallers(flags *pflag.FlagSet) {
	h := &o.opts.Handler
	flags.StringVar(&o.tokens, "bearer-tokens", "", "let HTTP callers in whose bearer token is in the file at `PATH`")
	flags.StringVar(&o.grants[0], "grant-keys", "", "mint sealed grants under the first of the `KEYS` in base64, commas between, and let HTTP callers in with them")
	worker.Secret(flags, "grant-keys")
	flags.StringVar(&o.grants[1], "grant-audience", "", "`AUDIENCE` of the grants")
	flags.StringVar(&o.grants[2], "grant-max-ttl-seconds", "", "let grants last for `SECONDS` at most")
	flags.StringArrayVar(&o.domains, "grant-domain", nil, "mint grants for callers of the `DOMAIN` alone, such as the URL of an issuer; may be repeated")
	flags.StringVar(&h.Challenge, "challenge", h.Challenge, "`TEXT` of the WWW-Authenticate header of HTTP refusals")
	flags.StringArrayVar(&h.ProxyAuthHeaders, "proxy-auth-header", h.ProxyAuthHeaders,
		"tell refused HTTP callers that a proxy has to add the header `NAME`; may be repeated")
	flags.StringArrayVar(&o.origins, "cors-origin", nil, "let pages of `ORIGIN` call over HTTP; may be repeated")
}

// addPeople is what browsers and shells get.
func (o *option) addPeople(flags *pflag.FlagSet) {
	h := &o.opts.Handler
	flags.BoolVar(&h.NoPages, "no-pages", h.NoPages, "serve no HTTP pages for people")
	flags.StringVar(&h.RepositoryURL, "repository-url", h.RepositoryURL, "`URL` that the HTTP pages for people link to")
	if h.JSON != nil {
		o.gateway = *h.JSON
	}
	flags.BoolVar(&o.json, "json-gateway", h.JSON != nil, "take calls of unary methods as JSON over HTTP")
	flags.StringArrayVar(&o.gateway.Hosts, "json-host", o.gateway.Hosts,
		"let the JSON gateway be called by the host `NAME`, too, on a loopback address; may be repeated")
	flags.Int64Var(&o.gateway.MaxBodyBytes, "json-max-bytes", o.gateway.MaxBodyBytes, "at most `N` bytes of a call of the JSON gateway (default 1048576)")
}

// addConnections are the limits of connections, and how they end.
func (o *option) addConnections(flags *pflag.FlagSet) {
	s := &o.opts.Serve
	flags.Var(&seconds{&s.ReadHeaderTimeout, positive}, "header-timeout", "cut off who takes longer than `SECONDS` for an HTTP header (default 10)")
	flags.Var(&seconds{&s.ProgressTimeout, never}, "progress-timeout",
		"cut off an HTTP body that stands still for `SECONDS`, 0 for never (default 30)")
	flags.Var(&seconds{&s.IdleTimeout, never}, "keep-alive-timeout",
		"close HTTP connections after `SECONDS` without a request, 0 for never (default 120)")
	flags.IntVar(&s.MaxHeaderBytes, "max-header-bytes", s.MaxHeaderBytes, "at most `N` bytes of an HTTP header (default 65536)")
	flags.BoolVar(&s.NoH2C, "no-h2c", s.NoH2C, "no HTTP/2 without TLS")
	flags.Var(&seconds{&s.SessionGrace, positive}, "session-grace", "`SECONDS` to close HTTP sessions at the end (default 2)")
}

func (o *option) addTLS(flags *pflag.FlagSet) {
	if program := o.opts.Serve.TLS; program != nil {
		o.tls = *program
	}
	flags.StringVar(&o.tls.CertFile, "tls-cert", o.tls.CertFile, "serve HTTPS with the certificate chain at `PATH`")
	flags.StringVar(&o.tls.KeyFile, "tls-key", o.tls.KeyFile, "the private key of --tls-cert is at `PATH`")
	flags.StringVar(&o.tls.ClientCAFile, "tls-client-ca", o.tls.ClientCAFile, "demand certificates of HTTPS clients, signed by those at `PATH`")
	flags.BoolVar(&o.tls.ClientCertOptional, "tls-client-optional", o.tls.ClientCertOptional, "let HTTPS clients in without a certificate, too")
	flags.Var(&seconds{&o.tls.ReloadInterval, positive}, "tls-reload", "look at the files of TLS again after `SECONDS` (default 10)")
}

// checkUnused refuses flags of HTTP that were given without --http. Those that
// launchers pass whatever the transport (conformance/CONTRACT.md sections 1, 2
// and 4) are told of in the log.
func (o *option) checkUnused(setup *worker.Setup) error {
	var refused, unused []string
	o.own.VisitAll(func(f *pflag.Flag) {
		source, _ := worker.OriginOf(o.flags, f.Name)
		switch {
		case !f.Changed:
		case passedAnyway(f.Name), source == worker.Environment: // which is meant for many
			unused = append(unused, "--"+f.Name)
		default:
			refused = append(refused, "--"+f.Name)
		}
	})
	if len(refused) > 0 {
		return fmt.Errorf("%s: only HTTP has that: add --http", strings.Join(refused, ", "))
	}
	if len(unused) > 0 {
		server := setup.Server()
		setup.BeforeServing(func(ctx context.Context) error {
			server.Logger().LogAttrs(ctx, slog.LevelWarn, "flags of HTTP change nothing here: add --http, or leave them out",
				slog.String("flags", strings.Join(unused, " ")))
			return nil
		})
	}
	return nil
}

func passedAnyway(flag string) bool {
	switch flag {
	case "host", "port", "prefix", "max-request-bytes", "max-response-bytes", "max-externalized-response-bytes",
		"no-compression", "no-call-state-cache", "cors-origin", "token-key", "no-sticky", "sticky-ttl":
		return true
	}
	return false
}

// seconds is a flag's duration, as a number of seconds.
type seconds struct {
	into *time.Duration
	zero zeroSeconds
}

// zeroSeconds is what 0 means.
type zeroSeconds int

const (
	positive zeroSeconds = iota // nothing: it is refused
	never                       // no limit, which options have as a negative number
)

// String is empty for the default, which the flag's usage tells.
func (s *seconds) String() string {
	if s.into == nil || *s.into == 0 {
		return ""
	}
	return strconv.FormatFloat(max(0, *s.into).Seconds(), 'f', -1, 64)
}

// Set reads a number of seconds.
func (s *seconds) Set(text string) error {
	const longest = 1e9 // 30 years
	n, err := strconv.ParseFloat(text, 64)
	d := time.Duration(0)
	if err == nil && n > 0 && n <= longest {
		d = max(1, time.Duration(n*float64(time.Second)))
	}
	switch {
	case err != nil || math.IsNaN(n) || n < 0 || n > longest:
		return fmt.Errorf("want a number of seconds, at most %d", int64(longest))
	case d == 0 && s.zero == positive:
		return errors.New("want a positive number of seconds")
	case d == 0 && s.zero == never:
		d = -1
	}
	*s.into = d
	return nil
}

// Type names the value in messages.
func (s *seconds) Type() string { return "SECONDS" }
