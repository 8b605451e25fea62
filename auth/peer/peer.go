package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Provider looks for evidence of one kind.
type Provider interface {
	// Name is the same as in the identities that it reports, and never changes.
	Name() string
	// Resolve reports what is to be seen in s. Whoever it has to ask, it stops
	// asking when ctx ends. What goes wrong is a status; nothing of the evidence
	// may get into a log. Many calls may run at once.
	Resolve(ctx context.Context, s *Snapshot) Result
}

// Local is what a [Provider] implements that asks nobody: it is called without a
// goroutine of its own, and must not wait.
type Local interface{ Local() }

// Options configure [New].
type Options struct {
	// Providers are asked about every request; at least one, and no name twice.
	Providers []Provider
	// Policy is [Observe] when nil.
	Policy Policy
	// Inner reads the application's own credential; nil lets everybody in as an
	// anonymous caller. Whoever presents a bad one is refused, whatever the
	// evidence. A [auth.Gate] belongs outside: auth.All(gate, authenticator).
	Inner auth.Authenticator
	// Timeout is for all providers together. 5 s when 0.
	Timeout time.Duration
	// Concurrency is how many providers, but for those that are [Local], may be at
	// work at once for all requests; one that finds no place is [Unavailable]. 64
	// when 0.
	Concurrency int
	// Service is the name that the operator has given the service.
	Service string
}

const (
	defaultTimeout     = 5 * time.Second
	defaultConcurrency = 64
)

// Authenticator lets callers in by evidence and the application's credential. It
// is an [auth.Authenticator].
type Authenticator struct {
	opts    Options
	places  chan struct{}
	headers []string
	waits   bool // for a provider that is not [Local]
}

// New returns an authenticator. It is an error when there is no provider, a name
// is empty or occurs twice, the policy needs a provider that is not there, or a
// number is negative or too small for one request.
func New(opts Options) (*Authenticator, error) {
	if opts.Policy == nil {
		opts.Policy = Observe()
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	if opts.Concurrency == 0 {
		opts.Concurrency = defaultConcurrency
	}
	opts.Providers = slices.Clone(opts.Providers)
	names := make([]string, 0, len(opts.Providers))
	for i, p := range opts.Providers {
		if p == nil {
			return nil, fmt.Errorf("peer: provider %d is nil", i)
		}
		names = append(names, p.Name())
	}
	if err := distinct(names); err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	for _, name := range opts.Policy.Providers() {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("peer: the policy needs the provider %q, and there is none", name)
		}
	}
	switch {
	case opts.Timeout < 0:
		return nil, fmt.Errorf("peer: Timeout %v: want a positive time", opts.Timeout)
	case opts.Concurrency < len(opts.Providers):
		return nil, fmt.Errorf("peer: Concurrency %d is less than the %d providers of one request", opts.Concurrency, len(opts.Providers))
	}
	a := &Authenticator{opts: opts, places: make(chan struct{}, opts.Concurrency)}
	a.headers = proxyHeaders(opts)
	a.waits = slices.ContainsFunc(opts.Providers, func(p Provider) bool {
		_, local := p.(Local)
		return !local
	})
	return a, nil
}

// proxyHeaders are those of the credential and of the providers that the policy
// needs.
func proxyHeaders(opts Options) []string {
	var out []string
	add := func(names []string) {
		for _, name := range names {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	if opts.Inner != nil {
		add(auth.ProxyHeaders(opts.Inner))
	}
	for _, p := range opts.Providers {
		if d, ok := p.(auth.ProxyDependent); ok && slices.Contains(opts.Policy.Providers(), p.Name()) {
			add(d.ProxyHeaders())
		}
	}
	return out
}

// ProxyHeaders are the headers that a proxy has to set.
func (a *Authenticator) ProxyHeaders() []string { return slices.Clone(a.headers) }

// Authenticate reads the application's credential, asks the providers, and does
// what the policy says. A caller without a credential may be let in by evidence;
// one with a bad credential is not, nor one that something in front of the
// credential has refused.
func (a *Authenticator) Authenticate(r *http.Request) (vgirpc.Identity, error) {
	var (
		application vgirpc.Identity
		missing     error
	)
	if a.opts.Inner != nil {
		var err error
		if application, err = a.opts.Inner.Authenticate(r); err != nil {
			if !nothingPresented(err) {
				return vgirpc.Identity{}, err
			}
			application, missing = vgirpc.Identity{}, err
		}
	}
	s, err := FromRequest(r, a.opts.Service)
	if err != nil {
		return vgirpc.Identity{}, &auth.Failure{Reason: auth.InvalidCredential, Final: true, Err: err}
	}
	id, err := a.decide(r.Context(), s, application)
	if err == nil && missing != nil && !id.Authenticated {
		return vgirpc.Identity{}, missing
	}
	return id, err
}

// nothingPresented reports whether a credential was missing, and nothing else
// was wrong.
func nothingPresented(err error) bool {
	if reason, refused := auth.ReasonOf(err); !refused || reason != auth.MissingCredential {
		return false
	}
	for f, ok := errors.AsType[*auth.Failure](err); ok; f, ok = errors.AsType[*auth.Failure](f.Err) {
		if f.Final {
			return false
		}
	}
	return true
}

// Identify is for transports whose connections keep their peer: it asks the
// providers about a connection and does what the policy says, without a
// credential of the application. What it returns holds for every call on the
// connection, which should not outlast what it was let in by.
func (a *Authenticator) Identify(ctx context.Context, s *Snapshot) (vgirpc.Identity, error) {
	return a.decide(ctx, s, vgirpc.Identity{})
}

func (a *Authenticator) decide(ctx context.Context, s *Snapshot, application vgirpc.Identity) (vgirpc.Identity, error) {
	evidence, err := a.resolve(ctx, s)
	if err != nil {
		return vgirpc.Identity{}, err
	}
	id, err := a.opts.Policy.Decide(evidence, clean(application))
	if err != nil {
		return vgirpc.Identity{}, err
	}
	if _, own := a.opts.Policy.(fresh); !own {
		claims := make(map[string]any, len(id.Claims)+1)
		maps.Copy(claims, id.Claims)
		id.Claims = claims
	}
	id.Claims[EvidenceClaim] = evidence
	return id, nil
}

// clean is id without claims that belong to this package: a credential may have
// brought them along.
func clean(id vgirpc.Identity) vgirpc.Identity {
	_, binding := id.Claims[BindingClaim]
	_, evidence := id.Claims[EvidenceClaim]
	if binding || evidence {
		id.Claims = maps.Clone(id.Claims)
		delete(id.Claims, BindingClaim)
		delete(id.Claims, EvidenceClaim)
	}
	return id
}
