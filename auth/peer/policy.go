package peer

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vgirpc/vgirpc-go/auth"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// The claims that belong to this package; no credential can set them.
const (
	// BindingClaim is the digest of the evidence that a caller was let in by, in
	// 64 hexadecimal digits.
	BindingClaim = "peer_evidence_binding"
	// EvidenceClaim is the [*Evidence]; [EvidenceOf] takes it out.
	EvidenceClaim = "peer_evidence"
)

// Policy decides what evidence counts for.
type Policy interface {
	// Decide names the caller. Application is whom the application's own
	// credential names, the zero identity when there was none. It fails in the
	// terms of [auth.Authenticator]. It must not change application's claims;
	// many calls may run at once.
	Decide(e *Evidence, application vgirpc.Identity) (vgirpc.Identity, error)
	// Providers are the names of the providers that it needs.
	Providers() []string
}

// fresh is what a policy implements whose identities have claims of their own,
// which need not be copied.
type fresh interface{ fresh() }

// Observe lets the evidence be seen and changes nothing else.
func Observe() Policy { return observe{} }

type observe struct{}

func (observe) Providers() []string { return nil }

func (observe) Decide(_ *Evidence, application vgirpc.Identity) (vgirpc.Identity, error) {
	return application, nil
}

// Require lets in whoever has evidence of the provider, with or without a
// subject, and the application's credential as before: with none, whoever it
// would let in without one.
//
// An outage is [*auth.Unavailable]; evidence that was rejected, or is missing,
// refuses the caller.
func Require(provider string) Policy { return require{provider} }

type require struct{ provider string }

func (require) fresh() {}

func (p require) Providers() []string { return []string{p.provider} }

func (p require) Decide(e *Evidence, application vgirpc.Identity) (vgirpc.Identity, error) {
	if err := e.usable(p.provider); err != nil {
		return vgirpc.Identity{}, err
	}
	application.Claims = maps.Clone(application.Claims)
	if application.Claims == nil {
		application.Claims = map[string]any{}
	}
	application.Claims[BindingClaim] = e.Binding(p.Providers(), nil)
	return application, nil
}

// Primary names the caller by the one subject of the provider that is verified
// and stable: the principal is [Identity.Principal], and the domain the
// provider's name. It fails as [Require] does, and when there is no such subject
// or more than one.
func Primary(provider string) Policy { return primary{provider} }

type primary struct{ provider string }

func (primary) fresh() {}

func (p primary) Providers() []string { return []string{p.provider} }

func (p primary) Decide(e *Evidence, _ vgirpc.Identity) (vgirpc.Identity, error) {
	subject, err := e.Subject(p.provider)
	if err != nil {
		return vgirpc.Identity{}, err
	}
	return named(&subject, e.Binding(p.Providers(), nil)), nil
}

// named is the caller that a subject stands for.
func named(i *Identity, binding string) vgirpc.Identity {
	return vgirpc.Identity{
		Principal: i.Principal(), Domain: i.Provider, Authenticated: true,
		Claims: map[string]any{
			"issuer": i.Issuer, "subject": i.Subject, "subject_kind": string(i.Kind),
			"assurance": string(i.Assurance), "evidence_source": i.Source, BindingClaim: binding,
		},
	}
}

// AnyOf lets in whom the application's credential names, or else the first of
// the providers that has one subject that is verified and stable, as [Primary]
// does. Evidence of any of them that was rejected, or names several subjects,
// refuses the caller even so. It is an error to name no provider, or one twice.
//
// Whom the application's credential names is bound to no evidence: it is there to
// be observed, and nothing may be permitted because of it.
func AnyOf(providers ...string) (Policy, error) {
	if err := distinct(providers); err != nil {
		return nil, fmt.Errorf("peer: AnyOf: %w", err)
	}
	return anyOf{slices.Clone(providers)}, nil
}

func distinct(providers []string) error {
	if len(providers) == 0 {
		return errors.New("no providers")
	}
	for i, name := range providers {
		if name == "" || slices.Contains(providers[:i], name) {
			return fmt.Errorf("the provider %q is empty or occurs twice", name)
		}
	}
	return nil
}

type anyOf struct{ providers []string }

func (p anyOf) Providers() []string { return slices.Clone(p.providers) }

func (p anyOf) Decide(e *Evidence, application vgirpc.Identity) (vgirpc.Identity, error) {
	for _, provider := range p.providers {
		if e.Status(provider).rejected() {
			return vgirpc.Identity{}, e.rejection(provider)
		}
		if len(e.eligible(provider)) > 1 {
			return vgirpc.Identity{}, ambiguous(provider)
		}
	}
	if application.Authenticated {
		return application, nil
	}
	for _, provider := range p.providers {
		if len(e.eligible(provider)) == 1 {
			return primary{provider}.Decide(e, application)
		}
	}
	for _, provider := range p.providers {
		if e.Status(provider).outage() {
			return vgirpc.Identity{}, e.usable(provider)
		}
	}
	return vgirpc.Identity{}, &auth.Failure{
		Reason: auth.MissingCredential, Err: errors.New("peer: no provider names a subject that is verified and stable"),
	}
}

// AllOfOptions configure [AllOf].
type AllOfOptions struct {
	// Providers have to name a subject each.
	Providers []string
	// Principal is the provider whose subject is the principal; the first when
	// empty.
	Principal string
	// Link says whether the application's identity and the subjects, by their
	// providers, are the same somebody. An error refuses the caller, unless it is
	// [*auth.Unavailable]. It must not change what it is given, nor put any of it
	// into the error.
	Link func(application vgirpc.Identity, subjects map[string]Identity) error
}

// AllOf lets in who has the application's credential and a subject that is
// verified and stable of every provider, when they are linked. The principal is
// that of one provider, the application's domain and principal are the claims
// application_domain and application_principal, and all of it is bound. It is an
// error to name no providers, or one twice, or to have no Link.
func AllOf(opts AllOfOptions) (Policy, error) {
	if err := distinct(opts.Providers); err != nil {
		return nil, fmt.Errorf("peer: AllOf: %w", err)
	}
	if opts.Principal == "" {
		opts.Principal = opts.Providers[0]
	}
	switch {
	case !slices.Contains(opts.Providers, opts.Principal):
		return nil, fmt.Errorf("peer: AllOf: %q is none of the providers", opts.Principal)
	case opts.Link == nil:
		return nil, errors.New("peer: AllOf: no Link, which refuses identities that do not belong together")
	}
	opts.Providers = slices.Clone(opts.Providers)
	return &allOf{opts}, nil
}

type allOf struct{ opts AllOfOptions }

func (*allOf) fresh() {}

func (p *allOf) Providers() []string { return slices.Clone(p.opts.Providers) }

func (p *allOf) Decide(e *Evidence, application vgirpc.Identity) (vgirpc.Identity, error) {
	if !application.Authenticated {
		return vgirpc.Identity{}, &auth.Failure{
			Reason: auth.MissingCredential, Final: true, Err: errors.New("peer: no credential of the application"),
		}
	}
	subjects := make(map[string]Identity, len(p.opts.Providers))
	for _, provider := range p.opts.Providers {
		subject, err := e.Subject(provider)
		if err != nil {
			return vgirpc.Identity{}, err
		}
		subjects[provider] = subject
	}
	if err := p.opts.Link(application, subjects); err != nil {
		if _, outage := errors.AsType[*auth.Unavailable](err); outage {
			return vgirpc.Identity{}, err
		}
		return vgirpc.Identity{}, &auth.Failure{
			Reason: auth.InvalidCredential, Final: true, Err: fmt.Errorf("peer: the identities do not belong together: %w", err),
		}
	}
	subject := subjects[p.opts.Principal]
	id := named(&subject, e.Binding(p.opts.Providers, &application))
	id.Claims["application_domain"], id.Claims["application_principal"] = application.Domain, application.Principal
	return id, nil
}

// EvidenceOf is the evidence behind a caller that [Authenticator] has let in, nil
// behind any other.
func EvidenceOf(id vgirpc.Identity) *Evidence {
	e, _ := id.Claims[EvidenceClaim].(*Evidence)
	return e
}
