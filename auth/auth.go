package auth

import (
	"net/http"
	"slices"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Authenticator says who sent a request.
//
// It returns the caller's identity; the zero identity with a nil error accepts
// an anonymous caller. A refusal is a [*Failure], an outage of whoever must be
// asked is [*Unavailable]; see [ReasonOf] for the rest. Authenticate runs before
// the method is looked up and the body is read: it must not read r.Body, and
// many calls may run at once. The identity's claims belong to the caller of
// Authenticate.
type Authenticator interface {
	Authenticate(r *http.Request) (vgirpc.Identity, error)
}

// Func is a function as an [Authenticator].
type Func func(r *http.Request) (vgirpc.Identity, error)

// Authenticate calls f.
func (f Func) Authenticate(r *http.Request) (vgirpc.Identity, error) { return f(r) }

// ProxyDependent is what an [Authenticator] or a [Gate] implements when it can
// accept only requests that a reverse proxy has stamped. Every 401 of the
// service then says so (unauthorized-spec.md section 5).
type ProxyDependent interface {
	// ProxyHeaders names the headers that the proxy must set. The answer
	// follows from configuration alone and never changes.
	ProxyHeaders() []string
}

// ProxyHeaders are the headers that a depends on a proxy to set, in the order of
// its parts and each once; nil when a declares none. [Any] and [All] carry the
// declarations of what they are made of.
func ProxyHeaders(a Authenticator) []string { return proxyHeaders(a) }

// proxyHeaders collects the declarations of authenticators and gates.
func proxyHeaders(sources ...any) []string {
	var names []string
	for _, s := range sources {
		d, ok := s.(ProxyDependent)
		if !ok {
			continue
		}
		for _, name := range d.ProxyHeaders() {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
