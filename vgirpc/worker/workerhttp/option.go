package workerhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/grant"
	"github.com/vgirpc/vgirpc-go/auth/identity"
	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// Environment variables.
const (
	envTokenKey     = "VGI_RPC_TOKEN_KEY"      //nolint:gosec // a name
	envTokenKeyFile = "VGI_RPC_TOKEN_KEY_FILE" //nolint:gosec // a name
	envNoZstd       = "VGI_HTTP_DISABLE_ZSTD"
)

// Options are what a program sets, where a flag says nothing else. The zero
// value works.
type Options struct {
	// Handler configures what is served.
	Handler httpserver.Options
	// Serve configures the connections.
	Serve httpserver.ServeOptions
	// Configure, unless nil, has the last word about Handler: it runs when HTTP
	// is to be served and flags and environment were applied.
	Configure func(ctx context.Context, handler *httpserver.Options) error
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
	opts  Options
	flags *pflag.FlagSet

	http, port    uint16
	host          string
	noCache       bool
	origins       []string
	keys          []string
	keyFile       string
	stickySeconds float64
	noSticky      bool
	tokens        string
	tls           httpserver.TLSOptions
}

// AddFlags declares the flags.
func (o *option) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.Uint16Var(&o.http, "http", 0, "serve HTTP, on `PORT` if given")
	worker.OptionalValue(flags, "http", "0")
	flags.StringVar(&o.host, "host", "127.0.0.1", "`ADDRESS` to serve HTTP on")
	flags.Uint16Var(&o.port, "port", 0, "`PORT` to serve HTTP on (default a free one)")
	h := &o.opts.Handler
	flags.StringVar(&h.Prefix, "prefix", h.Prefix, "`PATH` in front of every HTTP route")
	flags.Int64Var(&h.MaxRequestBytes, "max-request-bytes", h.MaxRequestBytes, "at most `N` bytes of an HTTP request")
	flags.Int64Var(&h.MaxResponseBytes, "max-response-bytes", h.MaxResponseBytes, "at most `N` bytes of an HTTP response")
	flags.Int64Var(&h.MaxExternalizedResponseBytes, "max-externalized-response-bytes", h.MaxExternalizedResponseBytes,
		"at most `N` bytes that an HTTP response moves to storage")
	flags.IntVar(&h.MaxInFlight, "max-in-flight", h.MaxInFlight, "serve `N` HTTP calls at once, refuse others (default no limit)")
	flags.BoolVar(&h.NoCompression, "no-compression", h.NoCompression, "send HTTP responses uncompressed")
	flags.BoolVar(&o.noCache, "no-call-state-cache", false, "open a stream's tokens for every HTTP request")
	flags.StringArrayVar(&o.origins, "cors-origin", nil, "let pages of `ORIGIN` call over HTTP; may be repeated")
	flags.StringArrayVar(&o.keys, "token-key", nil,
		"`KEY` in hex that seals HTTP tokens; further ones, or more after commas, open them (default "+envTokenKey+")")
	flags.StringVar(&o.keyFile, "token-key-file", "", "file at `PATH` with such keys (default "+envTokenKeyFile+")")
	flags.IntVar(&h.Replicas, "replicas", h.Replicas, "`N` processes serve the same HTTP callers")
	flags.Float64Var(&o.stickySeconds, "sticky-ttl", 0, "let HTTP sessions live for `SECONDS` in this process")
	flags.BoolVar(&o.noSticky, "no-sticky", false, "no HTTP sessions in this process")
	flags.StringVar(&o.tokens, "bearer-tokens", "", "let HTTP callers in whose bearer token is in the file at `PATH`")
	flags.StringVar(&o.tls.CertFile, "tls-cert", "", "serve HTTPS with the certificate chain at `PATH`")
	flags.StringVar(&o.tls.KeyFile, "tls-key", "", "and its private key at `PATH`")
	flags.StringVar(&o.tls.ClientCAFile, "tls-client-ca", "", "and demand client certificates signed by those at `PATH`")
}

// Apply makes HTTP the worker's transport when it was asked for.
func (o *option) Apply(_ context.Context, setup *worker.Setup) error {
	if !o.flags.Changed("http") {
		return nil
	}
	t := &transport{address: net.JoinHostPort(o.host, strconv.Itoa(int(o.http)))}
	if o.http == 0 {
		t.address = net.JoinHostPort(o.host, strconv.Itoa(int(o.port)))
	}
	if err := setup.Serve("--http", t); err != nil {
		return err
	}
	// The handler seals the server, whose options others may want to change.
	setup.BeforeServing(func(ctx context.Context) error { return o.build(ctx, setup.Server(), t) })
	return nil
}

// build makes the server of the transport.
func (o *option) build(ctx context.Context, s *vgirpc.Server, t *transport) error {
	handler, serve := o.opts.Handler, o.opts.Serve
	if serve.Logger == nil {
		serve.Logger = s.Logger()
	}
	for _, apply := range []func(*httpserver.Options) error{o.applyFlags, o.applyKeys, applyZstd} {
		if err := apply(&handler); err != nil {
			return err
		}
	}
	if err := o.applyTokens(&handler, serve.Logger); err != nil {
		return err
	}
	if err := applyGrants(s, &handler); err != nil {
		return err
	}
	if storage, ok := s.Offload().(interface{ Uploads() external.UploadURLs }); ok && handler.Uploads == nil {
		handler.Uploads = storage.Uploads()
	}
	if o.opts.Configure != nil {
		if err := o.opts.Configure(ctx, &handler); err != nil {
			return err
		}
	}
	h, err := httpserver.New(s, handler)
	if err != nil {
		return err
	}
	var outermost http.Handler = h
	if o.opts.Wrap != nil {
		outermost = o.opts.Wrap(h)
	}
	if o.tls != (httpserver.TLSOptions{}) {
		serve.TLS = &o.tls
	}
	t.server, err = httpserver.NewServer(outermost, serve)
	return err
}

// applyFlags are the flags that are more than a field.
func (o *option) applyFlags(h *httpserver.Options) error {
	if o.noCache {
		h.CallCache = -1
	}
	if len(o.origins) > 0 {
		h.CORS = &httpserver.CORS{Origins: o.origins}
	}
	if o.flags.Changed("sticky-ttl") {
		const longest = 1e9 // 30 years
		if !(o.stickySeconds > 0 && o.stickySeconds < longest) {
			return fmt.Errorf("--sticky-ttl %v: want a positive number of seconds", o.stickySeconds)
		}
		sticky := httpserver.Sticky{}
		if h.Sticky != nil {
			sticky = *h.Sticky
		}
		sticky.TTL = time.Duration(o.stickySeconds * float64(time.Second))
		h.Sticky = &sticky
	}
	if o.noSticky {
		h.Sticky = nil
	}
	return nil
}

// applyKeys finds the keys: in a flag, else in the environment.
func (o *option) applyKeys(h *httpserver.Options) error {
	for _, from := range []struct{ name, text, fileName, path string }{
		{"--token-key", strings.Join(o.keys, ","), "--token-key-file", o.keyFile},
		{envTokenKey, os.Getenv(envTokenKey), envTokenKeyFile, os.Getenv(envTokenKeyFile)},
	} {
		name, text := from.name, from.text
		switch {
		case text == "" && from.path == "":
			continue
		case text != "" && from.path != "":
			return fmt.Errorf("%s and %s exclude each other", from.name, from.fileName)
		case from.path != "":
			content, err := os.ReadFile(from.path)
			if err != nil {
				return fmt.Errorf("%s: %w", from.fileName, err)
			}
			name, text = from.fileName, string(content)
		}
		keys, err := httpserver.ParseKeyRing(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		h.Keys = keys
		return nil
	}
	return nil
}

// applyGrants mints sealed grants for callers, and lets callers in with them,
// when the environment has the keys.
func applyGrants(s *vgirpc.Server, h *httpserver.Options) error {
	keys, configured, err := grant.FromEnv(os.Getenv)
	if err != nil || !configured {
		return err
	}
	id, err := identity.Host(s, identity.Options{Grants: keys})
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
	if h.Challenge == "" {
		h.Challenge = "Bearer"
	}
	return nil
}

// applyZstd reads the environment's word about zstd.
func applyZstd(h *httpserver.Options) error {
	text := os.Getenv(envNoZstd)
	if text == "" {
		return nil
	}
	off, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("%s=%s: want 1 or 0", envNoZstd, text)
	}
	h.NoZstd = h.NoZstd || off
	return nil
}

// transport is a worker's HTTP.
type transport struct {
	address  string
	server   *httpserver.Server
	listener net.Listener
}

// Listen opens the listener.
func (t *transport) Listen(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", t.address)
	if err != nil {
		return "", fmt.Errorf("--http: %w", err)
	}
	t.listener = l
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return "", err
	}
	return "PORT:" + port, nil
}

// Serve serves requests.
func (t *transport) Serve(ctx context.Context) error { return t.server.Serve(ctx, t.listener) }

// Shutdown drains the server.
func (t *transport) Shutdown(ctx context.Context) error { return t.server.Shutdown(ctx) }
