package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
	"github.com/vgirpc/vgirpc-go/wire"
)

// connection is what the flags say of the way to a server.
type connection struct {
	headers            []string
	bearer, bearerFile string
	metadata           []string
	timeout            time.Duration
	connectTimeout     time.Duration
	proxy              string
	caCert, cert, key  string
	serverName         string
	insecure           bool
	maxResponse        size
	noResponseLimit    bool
	fetchOrigins       []string
	verbose            bool
	logLevel           string
	noLogin            bool
	shake              handshake
}

func (c *connection) register(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&c.headers, "header", "H", nil, "HTTP header to send with every request, as `'Name: value'`; may be repeated")
	fs.StringVar(&c.bearer, "bearer", "", "bearer `TOKEN` to send over HTTP (others can see command lines: prefer --bearer-file)")
	fs.StringVar(&c.bearerFile, "bearer-file", "", "`FILE` with the bearer token to send over HTTP")
	fs.BoolVar(&c.noLogin, "no-login", false, "do not send the token that 'vgi login' has stored")
	fs.StringArrayVar(&c.metadata, "metadata", nil, "`KEY=VALUE` to send in the metadata of every request; may be repeated")
	fs.DurationVar(&c.timeout, "timeout", 0, "give up after this `DURATION`, such as 5s; the server is told (default none)")
	fs.DurationVar(&c.connectTimeout, "connect-timeout", 10*time.Second, "`DURATION` that connecting may take")
	fs.StringVar(&c.proxy, "proxy", "", "`URL` of a SOCKS proxy, socks5h://[USER:PASSWORD@]HOST:PORT")
	fs.StringVar(&c.caCert, "cacert", "", "`FILE` with the certificates of the authorities to trust, in PEM (default those of the system)")
	fs.StringVar(&c.cert, "cert", "", "`FILE` with the client's certificate, in PEM")
	fs.StringVar(&c.key, "key", "", "`FILE` with its private key, in PEM")
	c.shake.register(fs)
	fs.StringVar(&c.serverName, "server-name", "", "`NAME` that the server's certificate must have (default that of the URL)")
	fs.BoolVarP(&c.insecure, "insecure", "k", false, "do not check the server's certificate")
	fs.Var(&c.maxResponse, "max-response-bytes", "most bytes to take of one answer, such as 64MiB (default 256MiB)")
	fs.BoolVar(&c.noResponseLimit, "no-response-limit", false, "call HTTP servers that know no response limit, or whose gateway drops it")
	fs.StringArrayVar(&c.fetchOrigins, "fetch-origin", nil, "`ORIGIN` that results may be fetched from; may be repeated (default any public https one)")
	fs.BoolVarP(&c.verbose, "verbose", "v", false, "show the server's log messages and tracebacks, and a worker's standard error")
	fs.StringVar(&c.logLevel, "log-level", "", "least `LEVEL` of the server's log messages to show: trace, debug, info, warn or error (default none, debug with -v)")
}

// registerLogin registers what logging in has in common with calling.
func (c *connection) registerLogin(fs *pflag.FlagSet) {
	fs.DurationVar(&c.timeout, "timeout", 0, "give up after this `DURATION`, such as 2m (default 5m for a login)")
	fs.StringVar(&c.caCert, "cacert", "", "`FILE` with the certificates of the authorities to trust, in PEM (default those of the system)")
}

// size is a number of bytes with a unit.
type size int64

// String is the number.
func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type is the name of the flag's value in help.
func (s *size) Type() string { return "BYTES" }

// Set reads "1048576", "64MiB", "64M" or "64MB"; units are powers of 1024.
func (s *size) Set(text string) error {
	digits := strings.TrimRight(text, "KMGTiBkmgtb")
	unit := strings.ToUpper(strings.TrimRight(text[len(digits):], "iBb"))
	shift := slices.Index([]string{"", "K", "M", "G", "T"}, unit)
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || shift < 0 || n < 1 || n > 1<<(62-10*shift) {
		return fmt.Errorf("%q: want a number of bytes above 0, such as 64MiB", text)
	}
	*s = size(n << (10 * shift))
	return nil
}

// isHTTP reports whether a target is called over HTTP.
func isHTTP(target string) bool {
	return strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://")
}

// isTLS reports whether the way to a target is encrypted.
func isTLS(target string) bool {
	return strings.HasPrefix(target, "https://") || strings.HasPrefix(target, "tcp+tls:")
}

// check refuses flags that mean nothing for the target: who sets one believes
// that it has an effect.
func (c *connection) check(target string) error {
	for _, f := range []struct {
		name  string
		given bool
		fits  bool
		want  string
	}{
		{"--header", len(c.headers) > 0, isHTTP(target), "HTTP"},
		{"--bearer", c.bearer != "", isHTTP(target), "HTTP"},
		{"--bearer-file", c.bearerFile != "", isHTTP(target), "HTTP"},
		{"--no-response-limit", c.noResponseLimit, isHTTP(target), "HTTP"},
		{"--no-login", c.noLogin, isHTTP(target), "HTTP"},
		{"--cacert", c.caCert != "", isTLS(target), "https and tcp+tls"},
		{"--cert", c.cert != "", isTLS(target), "https and tcp+tls"},
		{"--server-name", c.serverName != "", isTLS(target), "https and tcp+tls"},
		{"--insecure", c.insecure, isTLS(target), "https and tcp+tls"},
		{"--proxy", c.proxy != "", isHTTP(target) || strings.HasPrefix(target, "tcp"), "HTTP and TCP"},
	} {
		if f.given && !f.fits {
			return usagef("%s is for %s alone", f.name, f.want)
		}
	}
	if err := c.shake.check(target); err != nil {
		return err
	}
	switch {
	case c.connectTimeout <= 0:
		return usagef("--connect-timeout %v: want more than nothing", c.connectTimeout)
	case c.bearer != "" && c.bearerFile != "":
		return usagef("--bearer and --bearer-file: want one of them")
	case (c.cert == "") != (c.key == ""):
		return usagef("--cert and --key: want both of them")
	case c.noResponseLimit && c.maxResponse != 0:
		return usagef("--no-response-limit and --max-response-bytes: want one of them")
	}
	return nil
}

// options are the flags as package dial wants them. Messages of the server and of
// the worker go to w.
func (c *connection) options(target string, w io.Writer) (dial.Options, error) {
	var opts dial.Options
	if err := c.check(target); err != nil {
		return opts, err
	}
	onLog, err := c.onLog(w)
	if err != nil {
		return opts, err
	}
	offload, err := external.New(external.Options{AllowedOrigins: c.fetchOrigins})
	if err != nil {
		return opts, usagef("--fetch-origin: %w", err)
	}
	opts.Client = vgirpc.ClientOptions{OnLog: onLog, Offload: offload}
	opts.Client.Limits = wire.Limits{MaxMessageBytes: int64(c.maxResponse)}
	opts.Proxy = c.proxy
	if opts.Handshake, err = c.shake.client(); err != nil {
		return opts, err
	}
	if c.verbose {
		opts.Process.Stderr = w
	}
	if isTLS(target) {
		if opts.TLS, err = c.tls(); err != nil {
			return opts, err
		}
	}
	if !isHTTP(target) {
		return opts, nil
	}
	opts.HTTP.MaxResponseBytes = int64(c.maxResponse)
	if c.noResponseLimit {
		opts.HTTP.MaxResponseBytes = -1
	}
	if opts.HTTP.Header, err = c.header(); err != nil {
		return opts, err
	}
	opts.HTTP.Wrap, err = c.stored(target, opts.HTTP.Header)
	return opts, err
}

// header is what every HTTP request carries.
func (c *connection) header() (http.Header, error) {
	h := http.Header{}
	for _, line := range c.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, usagef("--header %q: want 'Name: value'", line)
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	token := c.bearer
	if c.bearerFile != "" {
		data, err := os.ReadFile(c.bearerFile)
		if err != nil {
			return nil, fmt.Errorf("--bearer-file: %w", err)
		}
		if token = strings.TrimSpace(string(data)); token == "" {
			return nil, fmt.Errorf("--bearer-file: %s is empty", c.bearerFile)
		}
	}
	if token != "" {
		if h.Get("Authorization") != "" {
			return nil, usagef("--bearer and --header 'Authorization: …': want one of them")
		}
		h.Set("Authorization", "Bearer "+token)
	}
	return h, nil
}

func (c *connection) tls() (*tls.Config, error) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: c.serverName,
		InsecureSkipVerify: c.insecure, //nolint:gosec // that is what the flag is for
	}
	if c.caCert != "" {
		pem, err := os.ReadFile(c.caCert)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--cacert: %s has no certificate in PEM", c.caCert)
		}
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("--cert and --key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// levels are those of log messages, from the least severe.
func levels() []vgirpc.Level {
	return []vgirpc.Level{vgirpc.LevelTrace, vgirpc.LevelDebug, vgirpc.LevelInfo, vgirpc.LevelWarn, vgirpc.LevelError}
}

// onLog writes the server's messages from the wanted level on; nil without one.
func (c *connection) onLog(w io.Writer) (func(context.Context, vgirpc.LogMessage), error) {
	name := c.logLevel
	if name == "" && c.verbose {
		name = "debug"
	}
	if name == "" {
		return nil, nil //nolint:nilnil // nobody listens
	}
	least := slices.Index(levels(), vgirpc.Level(strings.ToUpper(name)))
	if least < 0 {
		return nil, usagef("--log-level %q: want trace, debug, info, warn or error", name)
	}
	return func(_ context.Context, m vgirpc.LogMessage) {
		if at := slices.Index(levels(), m.Level); at >= 0 && at < least {
			return
		}
		text := "[" + string(m.Level) + "] " + m.Message
		if len(m.Extra) > 0 {
			text += " " + string(m.Extra)
		}
		fmt.Fprintln(w, clean(text))
	}, nil
}

// context is ctx with the deadline and the metadata of the flags.
func (c *connection) context(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if c.timeout < 0 {
		return nil, nil, usagef("--timeout %v: want more than nothing", c.timeout)
	}
	var pairs []wire.Pair
	for _, m := range c.metadata {
		key, value, ok := strings.Cut(m, "=")
		if !ok || key == "" {
			return nil, nil, usagef("--metadata %q: want KEY=VALUE", m)
		}
		pairs = append(pairs, wire.Pair{Key: key, Value: value})
	}
	if len(pairs) > 0 {
		ctx = vgirpc.WithMetadata(ctx, pairs...)
	}
	if c.timeout == 0 {
		return ctx, func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	return ctx, cancel, nil
}

// dial connects to target.
func (c *connection) dial(ctx context.Context, target string, opts dial.Options) (*vgirpc.Client, error) {
	within, cancel := context.WithTimeout(ctx, c.connectTimeout)
	defer cancel()
	client, err := dial.Dial(within, target, opts)
	switch {
	case err == nil:
		return client, nil
	case ctx.Err() == nil && within.Err() != nil:
		return nil, &failure{exitUnreachable, fmt.Errorf("not connected within %v: %w", c.connectTimeout, err)}
	}
	if _, typed := errors.AsType[*vgirpc.Error](err); !typed && within.Err() == nil {
		return nil, &failure{exitUsage, err} // options that a transport refuses
	}
	return nil, unreachable(err)
}

// locked is a writer for several goroutines.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
