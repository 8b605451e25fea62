package workerhttp

import (
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/vgirpc/vgirpc-go/auth/ratelimit"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// addProxies is whose word about a client's address counts.
func (o *option) addProxies(flags *pflag.FlagSet) {
	flags.StringArrayVar(&o.proxies, "forwarded-by", nil,
		"believe X-Forwarded-For of HTTP proxies in `NETWORK`, an address or such as 10.0.0.0/8; may be repeated")
}

// applyProxies reads the networks of proxies.
func (o *option) applyProxies(h *httpserver.Options) error {
	if len(o.proxies) > 0 {
		h.TrustedProxies = nil
	}
	for _, text := range o.proxies {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			addr, errAddr := netip.ParseAddr(text)
			if errAddr != nil {
				return fmt.Errorf("--forwarded-by %q: want an address, or a network such as 10.0.0.0/8", text)
			}
			network = netip.PrefixFrom(addr.WithZone(""), addr.BitLen())
		}
		h.TrustedProxies = append(h.TrustedProxies, network)
	}
	return nil
}

// applyRates makes limits of the rates, whose flags are of package worker, for
// whatever listens.
func (o *option) applyRates(h *httpserver.Options) error {
	rate, limited, err := worker.Rate(o.flags, "rate-limit-address")
	if err != nil {
		return err
	}
	if limited {
		if h.AddressLimit, err = ratelimit.NewAddresses(ratelimit.Options{Rate: rate}); err != nil {
			return fmt.Errorf("--rate-limit-address: %w", err)
		}
	}
	rate, limited, err = worker.Rate(o.flags, "rate-limit-principal")
	if err != nil {
		return err
	}
	if limited {
		if h.PrincipalLimit, err = ratelimit.NewPrincipals(ratelimit.Options{Rate: rate}); err != nil {
			return fmt.Errorf("--rate-limit-principal: %w", err)
		}
	}
	return nil
}
