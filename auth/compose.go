package auth

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Gate is a precondition: may this request be served at all, whoever sent it?
// It is no credential and yields no identity, and it is no [Authenticator], so
// that [Any] cannot be given one, where the next alternative would go around it.
// [All] combines it with whatever names the caller (proxy-proof-spec.md section
// 8).
type Gate interface {
	// Admit lets a request pass or returns why not, in the terms of
	// [Authenticator]. What it returns is merged into the caller's claims under
	// ClaimKey; nil merges nothing. Many calls may run at once.
	Admit(r *http.Request) (map[string]string, error)
	// ClaimKey is the claim that belongs to the gate. No credential can set it.
	ClaimKey() string
}

// gated is what has a gate inside: an alternative to it would go around the gate.
type gated interface{ gates() []string }

// Any accepts whoever the first of several authenticators knows, in order.
//
// The next one is tried when a credential was missing or bad, and when the one
// before lets the caller in as anonymous: who is anonymous to one may have a
// credential for another. Who is known to none is let in as the first such one
// says, if all others miss a credential: one that is refused for any other reason
// never makes its caller anonymous. An [*Unavailable], a known caller who is not
// permitted, a final [Failure] and a fault of the server end the search at once.
// The reason of a refusal is [MissingCredential] if all that refuse agree on it,
// else the first other one (unauthorized-spec.md section 3.1).
//
// It is an error to name no authenticator, a nil one, a [Gate], or one that
// [All] put a gate in front of: callers would go around that gate by any other
// alternative. Put the gate outside: All(gate, Any(a, b)).
func Any(authenticators ...Authenticator) (Authenticator, error) {
	if len(authenticators) == 0 {
		return nil, errors.New("auth: Any needs at least one authenticator")
	}
	for i, a := range authenticators {
		if isNil(a) {
			return nil, fmt.Errorf("auth: Any: authenticator %d is nil", i)
		}
		if g, ok := a.(Gate); ok {
			return nil, fmt.Errorf("auth: Any: authenticator %d is the gate %q: a gate is a requirement and no alternative; use All(gate, Any(...))",
				i, g.ClaimKey())
		}
		if g, ok := a.(gated); ok {
			return nil, fmt.Errorf("auth: Any: authenticator %d is guarded by the gate %q, which any other alternative goes around; use All(gate, Any(...))",
				i, g.gates()[0])
		}
	}
	sources := make([]any, len(authenticators))
	for i, a := range authenticators {
		sources[i] = a
	}
	return &anyOf{members: slices.Clone(authenticators), headers: proxyHeaders(sources...)}, nil
}

// isNil also sees a nil Func, which is the likely way to name nothing.
func isNil(a Authenticator) bool {
	f, isFunc := a.(Func)
	return a == nil || (isFunc && f == nil)
}

type anyOf struct {
	members []Authenticator
	headers []string
}

func (a *anyOf) ProxyHeaders() []string { return slices.Clone(a.headers) }

func (a *anyOf) Authenticate(r *http.Request) (vgirpc.Identity, error) {
	var (
		failures  []error
		anonymous vgirpc.Identity
		open      bool // to anonymous callers
		rejected  bool // for another reason than that a credential is missing
	)
	for _, m := range a.members {
		id, err := m.Authenticate(r)
		switch {
		case err == nil && id.Authenticated:
			return id, nil
		case err == nil:
			if !open {
				anonymous, open = id, true
			}
			continue
		case !triesNext(err):
			return vgirpc.Identity{}, err
		}
		if reason, _ := ReasonOf(err); reason != MissingCredential {
			rejected = true
		}
		failures = append(failures, err)
	}
	if open && !rejected {
		return anonymous, nil
	}
	return vgirpc.Identity{}, together(failures)
}

// together is the one failure that stands for those of all alternatives.
func together(failures []error) error {
	if len(failures) == 1 {
		return failures[0]
	}
	telling := failures[0]
	for _, err := range failures {
		if reason, _ := ReasonOf(err); reason != MissingCredential {
			telling = err
			break
		}
	}
	reason, _ := ReasonOf(telling)
	out := &Failure{Reason: reason, Err: errors.Join(failures...)}
	if f, ok := errors.AsType[*Failure](telling); ok {
		out.Detail = f.Detail
	}
	return out
}

// All puts a gate in front of an authenticator: the gate runs first, and when it
// refuses, inner is not asked. Otherwise the identity is inner's, with the
// gate's claims merged under the gate's key; whatever inner's credential claims
// under that key is dropped. A nil inner leaves the caller anonymous: who calls
// is then decided upstream of the gate.
//
// It is an error to name no gate, a gate without a claim key, or one whose key
// belongs to a gate inside inner.
func All(gate Gate, inner Authenticator) (Authenticator, error) {
	if gate == nil {
		return nil, errors.New("auth: All needs a gate")
	}
	if gate.ClaimKey() == "" {
		return nil, errors.New("auth: All: the gate has no claim key")
	}
	if inner != nil && isNil(inner) {
		return nil, errors.New("auth: All: the authenticator is a nil Func; pass nil for none")
	}
	keys := []string{gate.ClaimKey()}
	if g, ok := inner.(gated); ok {
		if slices.Contains(g.gates(), gate.ClaimKey()) {
			return nil, fmt.Errorf("auth: All: two gates share the claim key %q", gate.ClaimKey())
		}
		keys = append(keys, g.gates()...)
	}
	return &allOf{gate: gate, inner: inner, keys: keys, headers: proxyHeaders(gate, inner)}, nil
}

type allOf struct {
	gate    Gate
	inner   Authenticator // nil for none
	keys    []string      // claim keys, the own gate's first
	headers []string
}

func (a *allOf) ProxyHeaders() []string { return slices.Clone(a.headers) }

func (a *allOf) gates() []string { return a.keys }

func (a *allOf) Authenticate(r *http.Request) (vgirpc.Identity, error) {
	claims, err := a.gate.Admit(r)
	if err != nil {
		return vgirpc.Identity{}, final(err)
	}
	var id vgirpc.Identity
	if a.inner != nil {
		if id, err = a.inner.Authenticate(r); err != nil {
			return vgirpc.Identity{}, err
		}
	}
	key := a.keys[0]
	if _, forged := id.Claims[key]; claims == nil && !forged {
		return id, nil
	}
	// A copy: an authenticator may hand the same map to many requests.
	merged := make(map[string]any, len(id.Claims)+1)
	maps.Copy(merged, id.Claims)
	delete(merged, key)
	if claims != nil {
		merged[key] = claims
	}
	id.Claims = merged
	return id, nil
}
