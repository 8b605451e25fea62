package identity

import (
	"errors"
	"slices"
)

// Domains bound by whose word a caller has to be known who gets a grant or
// introspects. A domain is Domain of a vgirpc.Identity: the issuer of a JSON Web
// Token, "mtls" of a client certificate, "bearer" of a static token, unless the
// authenticator has been given another name for it.
//
// Without them principals are compared without their domain. That is as it
// should be where only one authenticator names callers, or where a principal is
// the same caller whoever names it. It is not where two issuers name callers as
// they like: a token of the second one with the subject "gateway" is as good as
// the certificate of that name, and a grant for "1234" says nothing of which
// issuer's 1234 it is for.
type Domains struct {
	// Grants are the domains whose callers may be issued grants. Any when empty.
	Grants []string
	// Introspectors are the domains in which the principals of
	// [Options].Introspectors count. Any when empty.
	Introspectors []string
}

// check refuses a domain that no caller should have.
func (d *Domains) check() error {
	if slices.Contains(d.Grants, "") || slices.Contains(d.Introspectors, "") {
		return errors.New("identity: option Domains: a domain is empty")
	}
	return nil
}

// within reports whether a domain is one of some, or there are none.
func within(domains []string, domain string) bool {
	return len(domains) == 0 || slices.Contains(domains, domain)
}
