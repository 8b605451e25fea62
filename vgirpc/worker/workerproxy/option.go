package workerproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth/proxyproto"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// Option adds the flags to a worker. What they ask for comes before every other
// admitter.
func Option() worker.Option { return &option{} }

// option is the flags.
type option struct {
	flags   *pflag.FlagSet
	on      bool
	local   bool
	proxies []string
	timeout float64
}

// maxTimeout is the greatest --proxy-timeout, in seconds.
const maxTimeout = 3600

// AddFlags declares the flags.
func (o *option) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.BoolVar(&o.on, "proxy-protocol", false, "demand a PROXY header of version 2 of every connection, by --trusted-proxy")
	worker.TrustedProxies(flags, "proxy-protocol")
	flags.Float64Var(&o.timeout, "proxy-timeout", 0, "wait `SECONDS` for a PROXY header (default 5)")
	flags.BoolVar(&o.local, "proxy-local", false, "let proxies connect for themselves, too, to check the worker's health")
}

// Apply makes the worker's transport read the headers.
func (o *option) Apply(_ context.Context, setup *worker.Setup) error {
	if err := o.check(); err != nil || !o.on {
		return err
	}
	receiver, err := proxyproto.New(proxyproto.Options{
		Proxies: o.proxies, Timeout: time.Duration(o.timeout * float64(time.Second)), Local: o.local,
		Logger: setup.Server().Logger(), Refused: setup.Server().ReportRefused,
	})
	if err != nil {
		return fmt.Errorf("--trusted-proxy: %w", err)
	}
	setup.AroundListeners(receiver.Listener)
	return setup.Server().Configure(func(opts *vgirpc.ServerOptions) {
		opts.Conns.Admit = slices.Insert(slices.Clone(opts.Conns.Admit), 0, vgirpc.Admitter(receiver))
	})
}

// check refuses flags that have no effect.
func (o *option) check() (err error) {
	if o.proxies, err = worker.TrustedProxiesOf(o.flags); err != nil {
		return err
	}
	if !o.on {
		for _, name := range []string{"proxy-timeout", "proxy-local"} {
			if o.flags.Changed(name) {
				return fmt.Errorf("--%s is nothing without --proxy-protocol", name)
			}
		}
		return nil
	}
	served := func(name string) bool { return o.flags.Lookup(name) != nil && o.flags.Changed(name) }
	switch {
	case !served("tcp") && !served("unix") && !served("http"):
		return errors.New("--proxy-protocol is nothing without --tcp, --unix or --http")
	case len(o.proxies) == 0:
		return errors.New("--proxy-protocol wants --trusted-proxy: anybody could send a header")
	case o.flags.Changed("proxy-timeout") && !(o.timeout >= 0.001 && o.timeout <= maxTimeout): // NaN is neither
		return fmt.Errorf("--proxy-timeout %v: want from 0.001 to %d seconds", o.timeout, maxTimeout)
	}
	return nil
}
