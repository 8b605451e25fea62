package workerhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/auth/identity"
	"github.com/vgirpc/vgirpc-go/auth/proof"
	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// envNoZstd sets --no-zstd, beside the variable of its name.
const envNoZstd = "VGI_HTTP_DISABLE_ZSTD"

// grantFlags are the flags of the variables that package auth/grant reads.
var grantFlags = map[string]int{grant.EnvKeys: 0, grant.EnvAudience: 1, grant.EnvMaxTTL: 2}

// Options are what a program sets, where a flag says nothing else. The zero
// value works.
type Options struct {
	// Handler configures what is served.
	Handler httpserver.Options
	// Serve configures the connections.
	Serve httpserver.ServeOptions
	// Prepare, unless nil, decides about Auth and OAuth of Handler before the
	// bearer tokens and the grants of flags and environment are put beside that.
	// It runs when HTTP is to be served.
	Prepare func(ctx context.Context, handler *httpserver.Options) error
	// Configure, unless nil, has the last word about Handler: it runs when HTTP
	// is to be served and flags and environment were applied.
	Configure func(ctx context.Context, handler *httpserver.Options) error
	// Connect, unless nil, has the last word about Serve.
	Connect func(ctx context.Context, serve *httpserver.ServeOptions) error
	// Proofs, unless nil, returns the gates of Auth whose figures are reported with
	// the worker's. It runs once, behind Configure.
	Proofs func() []*proof.Gate
	// Wrap, unless nil, returns a handler around h. To be drained, it has to
	// have the methods Drain and Shutdown of h.
	Wrap func(h *httpserver.Handler) http.Handler
}

// Option adds HTTP to a worker. handler is what flags and environment change.
func Option(handler httpserver.Options) worker.Option { return With(Options{Handler: handler}) }

// With is [Option] for a program that has more to say.
func With(opts Options) worker.Option { return &option{opts: opts} }

// option is the flags.
type option struct {
	opts  Options        // which flags change
	flags *pflag.FlagSet // of the worker
	own   *pflag.FlagSet // those of them that are declared here
	given
}

// Apply makes HTTP the worker's transport when it was asked for.
func (o *option) Apply(_ context.Context, setup *worker.Setup) error {
	if !o.flags.Changed("http") {
		return o.checkUnused(setup)
	}
	port := o.http
	switch {
	case port == 0:
		port = o.port
	case o.flags.Changed("port") && o.port != port:
		return fmt.Errorf("--http %d and --port %d: a worker serves HTTP on one port: leave one of them out", port, o.port)
	}
	t := &transport{setup: setup, address: net.JoinHostPort(o.host, strconv.Itoa(int(port)))}
	if err := setup.Serve("--http", t); err != nil {
		return err
	}
	// The handler seals the server, whose options others may want to change.
	setup.BeforeServing(func(ctx context.Context) error { return o.build(ctx, setup.Server(), t) })
	return nil
}

// build makes the server of the transport.
func (o *option) build(ctx context.Context, s *vgirpc.Server, t *transport) error {
	handler, serve, err := o.effective(ctx, s)
	if err != nil {
		return err
	}
	h, err := httpserver.New(s, handler)
	if err != nil {
		return err
	}
	t.handler = h
	var gates []*proof.Gate
	if o.opts.Proofs != nil {
		gates = o.opts.Proofs()
	}
	measure(t.setup, h, gates)
	var outermost http.Handler = h
	if o.opts.Wrap != nil {
		outermost = o.opts.Wrap(h)
	}
	t.door.Handler = outermost
	t.delay, serve.DrainDelay = serve.DrainDelay, 0 // the worker waits
	if _, ok := outermost.(drainable); ok {
		t.server, err = httpserver.NewServer(drainableDoor{&t.door}, serve)
	} else {
		t.server, err = httpserver.NewServer(&t.door, serve)
	}
	return err
}

// effective is the options after flags, environment and program have had their
// say.
func (o *option) effective(ctx context.Context, s *vgirpc.Server) (httpserver.Options, httpserver.ServeOptions, error) {
	handler, serve := o.opts.Handler, o.opts.Serve
	if serve.Logger == nil {
		serve.Logger = s.Logger()
	}
	if serve.Refused == nil && s.WatchesRefusals() {
		serve.Refused = s.ReportRefused
	}
	if storage, ok := s.Offload().(interface{ Uploads() external.UploadURLs }); ok && handler.Uploads == nil {
		handler.Uploads = storage.Uploads()
	}
	for _, apply := range []func() error{
		func() error { return o.applyCache(&handler) },
		func() error { return o.applySwitches(&handler) },
		func() error { return o.applySticky(&handler) },
		func() error { return o.applyKeys(&handler) },
		func() error { return o.prepare(ctx, &handler) },
		func() error { return o.applyTokens(&handler, serve.Logger) },
		func() error { return o.applyGrants(s, &handler) },
		func() error { return o.applyProxies(&handler) },
		func() error { return o.applyRates(&handler) },
		func() error { return o.applyConnections(&serve) },
	} {
		if err := apply(); err != nil {
			return handler, serve, err
		}
	}
	if o.opts.Configure != nil {
		if err := o.opts.Configure(ctx, &handler); err != nil {
			return handler, serve, err
		}
	}
	if o.opts.Connect != nil {
		if err := o.opts.Connect(ctx, &serve); err != nil {
			return handler, serve, err
		}
	}
	return handler, serve, nil
}

// prepare lets the program decide who may call.
func (o *option) prepare(ctx context.Context, h *httpserver.Options) error {
	if o.opts.Prepare == nil {
		return nil
	}
	return o.opts.Prepare(ctx, h)
}

// applyCache is how many streams are remembered.
func (o *option) applyCache(h *httpserver.Options) error {
	const name = "call-state-cache"
	switch {
	case !o.noCache && !o.flags.Changed(name):
	case o.noCache && o.flags.Changed(name):
		return fmt.Errorf("--%s and --no-%[1]s exclude each other", name)
	case o.noCache || h.CallCache == 0:
		h.CallCache = -1
	case h.CallCache < 0:
		return fmt.Errorf("--%s %d: want a number of streams, or 0 for none", name, h.CallCache)
	}
	return nil
}

// applySwitches turns parts of the handler on and off.
func (o *option) applySwitches(h *httpserver.Options) error {
	if len(o.origins) > 0 {
		h.CORS = &httpserver.CORS{Origins: o.origins}
	}
	if o.noUploads {
		h.Uploads = nil
	}
	h.JSON = nil
	if o.json {
		h.JSON = &o.gateway
		return nil
	}
	return o.pointless("there is no JSON gateway: add --json-gateway", "json-host", "json-max-bytes")
}

// pointless refuses flags that depend on something which is off.
func (o *option) pointless(why string, names ...string) error {
	for _, name := range names {
		if o.flags.Changed(name) {
			return fmt.Errorf("--%s: %s", name, why)
		}
	}
	return nil
}

// applySticky is the sessions.
func (o *option) applySticky(h *httpserver.Options) error {
	if h.Sticky == nil && !o.flags.Changed("sticky-ttl") {
		return o.pointless("there are no sticky sessions: add --sticky-ttl", "sticky-max-sessions", "sticky-echo")
	}
	h.Sticky = nil
	if o.noSticky {
		return nil
	}
	sticky := o.sticky
	if len(o.echo) > 0 {
		sticky.EchoHeaders = map[string]string{}
	}
	for _, header := range o.echo {
		name, value, ok := strings.Cut(header, "=")
		if !ok {
			return fmt.Errorf("--sticky-echo %q: want NAME=VALUE", header)
		}
		sticky.EchoHeaders[name] = value
	}
	h.Sticky = &sticky
	return nil
}

// applyConnections is what flags say of the connections.
func (o *option) applyConnections(s *httpserver.ServeOptions) error {
	if o.tls != (httpserver.TLSOptions{}) {
		s.TLS = &o.tls // which goes without the program's own TLSConfig
	}
	// Two flags are of package worker, for whatever listens.
	if o.flags.Changed("max-connections") {
		n, err := o.flags.GetInt("max-connections")
		if err != nil {
			return err
		}
		s.MaxConns = n
	}
	if o.flags.Changed("drain-delay") {
		s.DrainDelay = worker.Seconds(o.flags, "drain-delay")
	}
	return nil
}

// applyKeys reads the keys of tokens.
func (o *option) applyKeys(h *httpserver.Options) error {
	if !o.flags.Changed("token-key") {
		return nil
	}
	keys, err := httpserver.ParseKeyRing(strings.Join(o.keys, ","))
	if err != nil {
		_, origin := worker.OriginOf(o.flags, "token-key")
		return fmt.Errorf("%s: %w", origin, err)
	}
	h.Keys = keys
	return nil
}

// applyGrants mints sealed grants for callers, and lets callers in with them,
// when there are keys.
func (o *option) applyGrants(s *vgirpc.Server, h *httpserver.Options) error {
	keys, configured, err := grant.FromEnv(func(name string) string { return o.grants[grantFlags[name]] })
	if err != nil {
		return err
	}
	if !configured {
		if len(o.domains) > 0 {
			return errors.New("--grant-domain: no grants are minted without --grant-keys")
		}
		return nil
	}
	id, err := identity.Host(s, identity.Options{Grants: keys, Domains: identity.Domains{Grants: o.domains}})
	if err != nil {
		return err
	}
	if h.Auth, err = id.Authenticator(h.Auth); err != nil {
		return fmt.Errorf("%s: %w", grant.EnvKeys, err)
	}
	return nil
}

// applyTokens lets in those whose tokens are in a file, beside whom the program
// lets in.
func (o *option) applyTokens(h *httpserver.Options, log *slog.Logger) error {
	if !o.flags.Changed("bearer-tokens") {
		return nil
	}
	if o.tokens == "" {
		return errors.New("--bearer-tokens: want a path")
	}
	bearer, err := auth.NewBearer(auth.BearerOptions{File: o.tokens, Logger: log})
	if err != nil {
		return fmt.Errorf("--bearer-tokens: %w", err)
	}
	if h.Auth == nil {
		h.Auth = bearer
	} else if h.Auth, err = auth.Any(h.Auth, bearer); err != nil {
		return fmt.Errorf("--bearer-tokens: %w", err)
	}
	if h.Challenge == "" && h.OAuth == nil { // which has its own
		h.Challenge = "Bearer"
	}
	return nil
}

// transport is a worker's HTTP.
type transport struct {
	setup    *worker.Setup
	address  string
	handler  *httpserver.Handler
	door     door
	server   *httpserver.Server
	delay    time.Duration // in which requests are taken after Drain
	listener net.Listener
}

// Listen opens the listener.
func (t *transport) Listen(ctx context.Context) (string, error) {
	l, err := t.setup.Listen(ctx, "tcp", t.address)
	if err != nil {
		return "", fmt.Errorf("--http: %w", err)
	}
	t.listener = t.setup.Around(l)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return "", err
	}
	return "PORT:" + port, nil
}

// Check finds out whether there can be such a listener.
func (t *transport) Check(ctx context.Context) error {
	return worker.CheckAddress(ctx, "tcp", t.address)
}

// Serve serves requests.
func (t *transport) Serve(ctx context.Context) error { return t.server.Serve(ctx, t.listener) }

// Drain turns new sessions away, and lets callers go elsewhere with their next
// request.
func (t *transport) Drain() {
	t.door.closing.Store(true)
	t.door.drain()
}

// DrainDelay is how long requests are taken after Drain.
func (t *transport) DrainDelay() time.Duration { return t.delay }

// Shutdown drains the server.
func (t *transport) Shutdown(ctx context.Context) error { return t.server.Shutdown(ctx) }

// InProgress is how many requests are being answered.
func (t *transport) InProgress() int { return int(t.door.inside.Load()) }

// Sessions is how many sticky sessions are open.
func (t *transport) Sessions() int { return t.handler.Stats().Sessions }
