package workeradmin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/observability/admin"
	"github.com/vgirpc/vgirpc-go/observability/prom"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// Options are what a program sets, where a flag says nothing else. The zero value
// works.
type Options struct {
	// Metrics configures what is counted. Its Version and TraceOf are the
	// worker's when they are not set.
	Metrics prom.Options
	// Register, unless nil, adds the program's own figures.
	Register func(*prom.Metrics) error
	// Hosts are names by which the listener may be called, beside localhost and
	// IP addresses.
	Hosts []string
}

// Option adds the listener to a worker.
func Option(opts Options) worker.Option { return &option{opts: opts} }

// option is the flags.
type option struct {
	opts   Options
	flags  *pflag.FlagSet
	addr   string
	unix   string
	public bool
	cert   string
	key    string
	token  string
	native bool
}

// AddFlags declares the flags.
func (o *option) AddFlags(flags *pflag.FlagSet) {
	o.flags, o.native = flags, o.opts.Metrics.NativeHistograms
	flags.StringVar(&o.addr, "admin", "", "answer those who run the worker at `[HOST:]PORT`: /livez, /readyz, /metrics, /buildinfo, /config, "+
		"/loglevel, /debug/pprof; on 127.0.0.1 without a host, at a free port for 0")
	flags.StringVar(&o.unix, "admin-unix", "", "answer them on a Unix socket at `PATH`, in place of --admin")
	flags.BoolVar(&o.public, "admin-public", false, "let --admin be an address that others than this machine can reach, "+
		"because the network keeps them out")
	flags.StringVar(&o.cert, "admin-tls-cert", "", "speak TLS at --admin, with the certificates in the file at `PATH`")
	flags.StringVar(&o.key, "admin-tls-key", "", "private key of the certificate, in the file at `PATH`")
	flags.StringVar(&o.token, "admin-token", "", "want this `TOKEN` at --admin, as \"Authorization: Bearer TOKEN\", but for /livez and /readyz")
	flags.StringArrayVar(&o.opts.Hosts, "admin-host", o.opts.Hosts, "`NAME` by which --admin may be called, beside localhost and IP addresses; may be repeated")
	flags.BoolVar(&o.native, "admin-native-histograms", o.native, "count durations in fine classes as well, "+
		"for a Prometheus with native histograms")
	worker.Secret(flags, "admin-token")
}

// Apply makes the listener when it was asked for.
func (o *option) Apply(ctx context.Context, setup *worker.Setup) error {
	switch {
	case o.addr != "" && o.unix != "":
		return errors.New("--admin and --admin-unix exclude each other")
	case o.addr == "" && o.unix == "":
		return o.unused()
	case (o.cert == "") != (o.key == ""):
		return errors.New("--admin-tls-cert and --admin-tls-key go together")
	}
	metrics, err := o.measure(setup)
	if err != nil {
		return err
	}
	a := admin.Options{
		Hosts: o.opts.Hosts, Public: o.public, Token: o.token,
		State: func() error { return ready(setup.State()) }, Checks: checks(setup),
		Metrics: metrics.Handler(), Config: func() any { return configuration(setup) }, Level: setup.LogLevel(),
		ServerID: setup.Server().ID(), Version: setup.Server().Version(), Logger: setup.Server().Logger(),
	}
	if o.cert != "" {
		if a.TLS, err = o.tls(setup); err != nil {
			return err
		}
	}
	server, err := admin.New(a)
	if err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	return o.listen(ctx, setup, server)
}

// unused refuses flags that say something of a listener that there is not.
func (o *option) unused() error {
	for _, name := range []string{"admin-public", "admin-tls-cert", "admin-tls-key", "admin-token", "admin-host", "admin-native-histograms"} {
		if o.flags.Changed(name) {
			return fmt.Errorf("--%s is nothing without --admin", name)
		}
	}
	return nil
}

// measure observes the server.
func (o *option) measure(setup *worker.Setup) (*prom.Metrics, error) {
	opts := o.opts.Metrics
	opts.NativeHistograms = o.native
	if opts.Version == "" {
		opts.Version = setup.Server().Version()
	}
	if opts.TraceOf == nil {
		opts.TraceOf = setup.SampledTrace
	}
	metrics, err := prom.New(opts)
	if err != nil {
		return nil, err
	}
	own := figures(setup)
	transfers := &transfers{}
	own = append(own, transfers.figures()...)
	for _, f := range own {
		if err := metrics.Add(f); err != nil {
			return nil, err
		}
	}
	if o.opts.Register != nil {
		if err := o.opts.Register(metrics); err != nil {
			return nil, err
		}
	}
	setup.BeforeServing(func(context.Context) error {
		if storage, ok := setup.Server().Offload().(interface{ Observe(o external.Observer) }); ok {
			storage.Observe(transfers)
		}
		return nil
	})
	// Other options report their figures until the worker serves.
	setup.OnState(func(s worker.State) {
		if s == worker.Serving {
			addMeasures(setup, metrics)
		}
	})
	return metrics, setup.Server().Configure(func(s *vgirpc.ServerOptions) {
		s.Observers = append(s.Observers, metrics)
		s.RefusalObservers = append(s.RefusalObservers, metrics)
	})
}

// addMeasures adds what other options have reported.
func addMeasures(setup *worker.Setup, metrics *prom.Metrics) {
	for _, m := range setup.Measures() {
		if err := metrics.Add(prom.Figure(m)); err != nil {
			setup.Server().Logger().LogAttrs(context.Background(), slog.LevelWarn, "a figure cannot be shown", slog.Any("error", err))
		}
	}
}

// listen opens the listener and serves until the worker ends. When only the
// configuration is checked, it looks at the address alone.
func (o *option) listen(ctx context.Context, setup *worker.Setup, server *admin.Server) error {
	flag, network, address := "--admin-unix", "unix", o.unix
	if o.addr != "" {
		var err error
		if address, err = tcpAddress(o.addr); err != nil {
			return err
		}
		flag, network = "--admin", "tcp"
	}
	if checking, err := o.flags.GetBool("check"); err == nil && checking {
		if err := worker.CheckAddress(ctx, network, address); err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
		if network == "unix" {
			return nil
		}
		addr, err := net.ResolveTCPAddr(network, address)
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
		return allowed(server, flag, addr)
	}
	name := address
	if strings.HasSuffix(address, ":0") {
		// A service manager's socket for the worker is not meant by any port.
		name = "admin/" + address
	}
	l, err := setup.ListenOr(ctx, network, name, func(ctx context.Context) (net.Listener, error) {
		if network == "unix" {
			return vgirpc.ListenUnix(ctx, address, vgirpc.UnixOptions{Mode: 0o600})
		}
		return new(net.ListenConfig).Listen(ctx, network, address)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if err := allowed(server, flag, l.Addr()); err != nil {
		_ = l.Close()
		return err
	}
	log := setup.Server().Logger()
	log.LogAttrs(ctx, slog.LevelInfo, "admin listener", slog.String("address", l.Addr().String()))
	done := make(chan error, 1)
	serve := sync.OnceFunc(func() { go func() { done <- server.Serve(l) }() })
	if l.Inherited() { // until then the predecessor answers
		setup.OnState(func(worker.State) { serve() })
	} else {
		serve()
	}
	setup.AtExit(func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		serve()       // which ends at once if it has not begun
		_ = l.Close() // it may have been handed over, and waits for this
		return errors.Join(err, <-done)
	})
	return nil
}

// allowed refuses an address that others than this machine reach, naming the flags
// that would allow it.
func allowed(server *admin.Server, flag string, addr net.Addr) error {
	if err := server.Allows(addr); err != nil {
		return fmt.Errorf("%s %s: %w: --admin-public, or --admin-tls-cert, --admin-tls-key and --admin-token", flag, addr, err)
	}
	return nil
}

// tcpAddress is an address with a host, which is loopback unless it is named.
func tcpAddress(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = "127.0.0.1", text
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("--admin %q: want [HOST:]PORT, and a port from 0 to 65535", text)
	}
	if host == "" && err == nil {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// tls reads the certificate, and reads it again on SIGHUP.
func (o *option) tls(setup *worker.Setup) (*tls.Config, error) {
	var current atomic.Pointer[tls.Certificate]
	load := func(context.Context) error {
		c, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return fmt.Errorf("--admin-tls-cert: %w", err)
		}
		current.Store(&c)
		return nil
	}
	if err := load(context.Background()); err != nil {
		return nil, err
	}
	setup.OnReload(load)
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
	}, nil
}
