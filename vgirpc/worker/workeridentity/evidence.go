package workeridentity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/auth/spiffe"
	"github.com/vgirpc/vgirpc-go/auth/tailscale"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// weigh puts evidence around the credentials of a handler, if there is any to
// look for.
func (o *Option) weigh(_ context.Context, handler *httpserver.Options) error {
	providers := slices.Clone(o.opts.Providers)
	for _, part := range []func() (peer.Provider, error){o.workloads, o.tailnets} {
		p, err := part()
		if err != nil {
			return err
		}
		if p != nil {
			providers = append(providers, p)
		}
	}
	if len(providers) == 0 {
		return nil
	}
	policy, err := o.parsePolicy()
	if err != nil {
		return err
	}
	a, err := peer.New(peer.Options{Providers: providers, Policy: policy, Inner: handler.Auth})
	if err != nil {
		return fmt.Errorf("--peer-policy: %w", err)
	}
	handler.Auth = a
	return nil
}

// workloads looks for SPIFFE IDs, nil for not.
func (o *Option) workloads() (peer.Provider, error) {
	form := o.spiffe
	if o.workload != "" {
		if form != "" && form != "direct" {
			return nil, fmt.Errorf("--spiffe %s and --spiffe-workload-api exclude each other: certificates come from a proxy, or from clients themselves", form)
		}
		form = "direct"
	}
	if form == "" {
		return nil, nil //nolint:nilnil // as documented
	}
	proxies, err := worker.TrustedProxiesOf(o.flags)
	if err != nil {
		return nil, err
	}
	proxy := spiffe.ProxyOptions{TrustDomains: o.trustDomains, Proxies: proxies}
	var p peer.Provider
	switch form {
	case "direct":
		direct := spiffe.DirectOptions{TrustDomains: o.trustDomains}
		if o.sources.x509 != nil {
			direct.Bundles = o.sources.x509
		} else {
			o.sources.wantsVerified = true
		}
		p, err = spiffe.Direct(direct)
	case "envoy":
		p, err = spiffe.Envoy(spiffe.EnvoyOptions{ProxyOptions: proxy})
	case "nginx":
		p, err = spiffe.Nginx(spiffe.CertificateOptions{ProxyOptions: proxy})
	case "alb":
		p, err = spiffe.ALB(spiffe.CertificateOptions{ProxyOptions: proxy})
	case "google":
		p, err = spiffe.GoogleLoadBalancer(spiffe.GoogleOptions{ProxyOptions: proxy})
	case "azure":
		p, err = spiffe.ApplicationGateway(spiffe.CertificateOptions{ProxyOptions: proxy})
	default:
		return nil, fmt.Errorf("--spiffe %q: want direct, envoy, nginx, alb, google or azure", form)
	}
	if err != nil {
		return nil, fmt.Errorf("--spiffe %s (with --spiffe-trust-domain and --trusted-proxy): %w", form, err)
	}
	return p, nil
}

// tailnets looks for who calls over a tailnet, nil for not.
func (o *Option) tailnets() (p peer.Provider, err error) {
	switch o.tailscale {
	case "":
		return nil, nil //nolint:nilnil // as documented
	case "serve":
		var proxies []string
		if proxies, err = worker.TrustedProxiesOf(o.flags); err == nil {
			p, err = tailscale.Serve(tailscale.ServeOptions{Issuer: o.tailnet, Proxies: proxies})
		}
	case "local":
		p, err = tailscale.LocalAPI(tailscale.LocalAPIOptions{Issuer: o.tailnet, Socket: o.socket})
	default:
		return nil, fmt.Errorf("--tailscale %q: want serve or local", o.tailscale)
	}
	if err != nil {
		return nil, fmt.Errorf("--tailscale (with --tailscale-issuer): %w", err)
	}
	return p, nil
}

// parsePolicy reads --peer-policy.
func (o *Option) parsePolicy() (peer.Policy, error) {
	kind, list, _ := strings.Cut(o.policy, ":")
	var names []string
	if list != "" {
		names = strings.Split(list, ",")
	}
	var p peer.Policy
	var err error
	switch {
	case kind == "observe" && len(names) == 0:
		p = peer.Observe()
	case kind == "require" && len(names) == 1:
		p = peer.Require(names[0])
	case kind == "primary" && len(names) == 1:
		p = peer.Primary(names[0])
	case kind == "any":
		p, err = peer.AnyOf(names...)
	case kind == "all" && o.opts.Link == nil:
		err = errors.New("this program does not say which credentials and subjects are the same caller (Options.Link)")
	case kind == "all":
		p, err = peer.AllOf(peer.AllOfOptions{Providers: names, Link: o.opts.Link})
	default:
		err = errors.New("want observe, require:NAME, primary:NAME, any:NAME,… or all:NAME,… of spiffe and tailscale")
	}
	if err != nil {
		return nil, fmt.Errorf("--peer-policy %q: %w", o.policy, err)
	}
	return o.allow(p)
}

// allow is p for the workloads of --spiffe-allow-id alone.
func (o *Option) allow(p peer.Policy) (peer.Policy, error) {
	if len(o.allowIDs) == 0 {
		return p, nil
	}
	for _, id := range o.allowIDs {
		if _, err := spiffeid.FromString(id); err != nil {
			return nil, fmt.Errorf("--spiffe-allow-id %q: %w", id, err)
		}
	}
	if !slices.Contains(p.Providers(), spiffe.ProviderName) {
		return nil, fmt.Errorf("--spiffe-allow-id wants a --peer-policy that SPIFFE IDs count for, such as primary:%s", spiffe.ProviderName)
	}
	return allowed{p, o.allowIDs}, nil
}

// allowed is a policy that knows all workloads and lets some in.
type allowed struct {
	peer.Policy

	ids []string
}

// Decide refuses those who show another ID than the allowed ones.
func (a allowed) Decide(e *peer.Evidence, application vgirpc.Identity) (vgirpc.Identity, error) {
	id, err := a.Policy.Decide(e, application)
	if err != nil {
		return id, err
	}
	for _, i := range e.Identities(spiffe.ProviderName) {
		if !slices.Contains(a.ids, i.Subject) {
			return vgirpc.Identity{}, &auth.Failure{
				Reason: auth.InsufficientScope, Final: true, Err: errors.New("the SPIFFE ID is none of --spiffe-allow-id"),
			}
		}
	}
	return id, nil
}
