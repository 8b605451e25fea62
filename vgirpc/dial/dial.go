package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/proxy"

	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

// Options configure [Dial]. The zero value works.
type Options struct {
	// Client is for every transport.
	Client vgirpc.ClientOptions
	// Process is for stdio, and its Env and Dir for launch. The URL gives the
	// Command.
	Process subprocess.Options
	// HTTP is for http and https.
	HTTP httpclient.Options
	// TLS is for tcp+tls and https; nil trusts the system's authorities.
	TLS *tls.Config
	// Handshake is what a server of unix, tcp or tcp+tls demands before the
	// first message, and what proves who it is. None when nil.
	Handshake *socket.Client
	// Proxy is a SOCKS5 proxy for tcp, tcp+tls, http and https:
	// socks5h://[user:password@]host:port, which looks names up at the proxy,
	// or socks5:// for here. "" connects directly, HTTP by way of the proxy
	// that the environment names.
	Proxy string
	// Servers are the servers of this process that inproc can name.
	Servers map[string]*vgirpc.Server
}

// Schemes of the URLs.
const (
	schemeStdio  = "stdio"
	schemeLaunch = "launch"
	schemeUnix   = "unix"
	schemeTCP    = "tcp"
	schemeTLS    = "tcp+tls"
	schemeHTTP   = "http"
	schemeHTTPS  = "https"
	schemeInproc = "inproc"
)

// Dial connects to the server at target:
//
//	stdio:COMMAND [ARGUMENT]…  a worker process, see below
//	launch:COMMAND …           the warm worker of a command, which package launch
//	                           finds or starts
//	unix:PATH                  a Unix socket
//	tcp:HOST:PORT              raw TCP
//	tcp+tls:HOST:PORT          TLS over TCP
//	http://…, https://…        HTTP, with the server's prefix
//	inproc:NAME                a server of this process
//
// Two slashes may follow the colon of each. A command is split at spaces as a shell does it, with single and double quotes and backslashes, and
// nothing is expanded; no shell runs. ctx bounds the connecting alone.
//
// A target that makes no sense is an INVALID_ARGUMENT error, a server that
// cannot be reached an UNAVAILABLE one.
func Dial(ctx context.Context, target string, opts Options) (*vgirpc.Client, error) {
	scheme, rest, ok := strings.Cut(target, ":")
	if !ok {
		return nil, unknown(target)
	}
	if err := opts.checkHandshake(scheme); err != nil {
		return nil, err
	}
	if scheme == schemeHTTP || scheme == schemeHTTPS {
		return dialHTTP(ctx, target, &opts)
	}
	rest = strings.TrimPrefix(rest, "//")
	if rest == "" {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "dial: target %q names nothing behind the colon", target)
	}
	switch scheme {
	case schemeStdio, schemeLaunch:
		argv, err := Split(rest)
		if err != nil {
			return nil, err
		}
		if scheme == schemeLaunch {
			return dialLaunched(ctx, argv, &opts)
		}
		opts.Process.Command = argv
		return subprocess.New(ctx, opts.Process, opts.Client)
	case schemeUnix:
		if opts.Handshake != nil {
			return dialUnix(ctx, rest, &opts)
		}
		return vgirpc.DialUnix(ctx, rest, opts.Client)
	case schemeTCP, schemeTLS:
		return dialTCP(ctx, rest, scheme == schemeTLS, &opts)
	case schemeInproc:
		return dialServer(ctx, rest, &opts)
	}
	return nil, unknown(target)
}

func unknown(target string) error {
	scheme, _, _ := strings.Cut(target, ":") // what follows may hold a secret
	return vgirpc.Errorf(vgirpc.InvalidArgument,
		"dial: %.32q is no transport: want stdio:, launch:, unix:, tcp:, tcp+tls:, http://, https:// or inproc:", scheme)
}

// CallOnce connects to target, calls one method and closes the connection.
func CallOnce[P, R any](ctx context.Context, target string, opts Options, m *vgirpc.Unary[P, R], params P) (result R, err error) {
	c, err := Dial(ctx, target, opts)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, c.Close()) }() // a panic of OnLog as well
	return m.Call(ctx, c, params)
}

func dialServer(ctx context.Context, name string, opts *Options) (*vgirpc.Client, error) {
	s := opts.Servers[name]
	if s == nil {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "dial: Options.Servers has no server %q", name)
	}
	return vgirpc.DialServer(ctx, s, opts.Client)
}

func dialTCP(ctx context.Context, address string, secure bool, opts *Options) (*vgirpc.Client, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "dial: address %q: want HOST:PORT", address)
	}
	d, err := opts.dialer()
	if err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if !secure {
		if err := opts.shake(ctx, conn); err != nil {
			return nil, err
		}
		return vgirpc.NewClient(conn, opts.Client), nil
	}
	config := opts.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	t := tls.Client(conn, config)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, unreachable(ctx, err)
	}
	if err := opts.shake(ctx, t); err != nil {
		return nil, err
	}
	return vgirpc.NewClient(t, opts.Client), nil
}

func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return vgirpc.ContextError(ctx)
	}
	return &vgirpc.Error{Code: vgirpc.Unavailable, Type: "ConnectionFailed", Message: "dial: " + err.Error(), Cause: err}
}

// dialer is what connects to TCP.
func (o *Options) dialer() (proxy.ContextDialer, error) {
	direct := new(net.Dialer)
	if o.Proxy == "" {
		return direct, nil
	}
	u, err := url.Parse(o.Proxy)
	if err != nil || (u.Scheme != "socks5" && u.Scheme != "socks5h") || u.Host == "" {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "dial: Options.Proxy: want socks5h://host:port")
	}
	d, err := proxy.FromURL(u, direct)
	if err != nil {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "dial: Options.Proxy: %w", err)
	}
	through, ok := d.(proxy.ContextDialer)
	if !ok {
		return nil, vgirpc.Errorf(vgirpc.Internal, "dial: the proxy's dialer ignores contexts")
	}
	return through, nil
}

func dialHTTP(ctx context.Context, target string, opts *Options) (*vgirpc.Client, error) {
	h := opts.HTTP
	if h.TLS == nil && h.Transport == nil {
		h.TLS = opts.TLS
	}
	if opts.Proxy != "" {
		if h.Transport != nil {
			return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "dial: Options.Proxy is for the client's own connections: a given HTTP.Transport has its own")
		}
		d, err := opts.dialer()
		if err != nil {
			return nil, err
		}
		h.DialContext = d.DialContext
	}
	return httpclient.Dial(ctx, target, h, opts.Client)
}
