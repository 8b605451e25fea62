// Package mtls names callers by their client certificates.
//
// An [Authenticator] has one [Source] of evidence: the TLS connection itself, or
// a header in which a reverse proxy that terminates TLS says what it has
// verified: Envoy's X-Forwarded-Client-Cert, an escaped PEM certificate (nginx,
// AWS), the Client-Cert field of RFC 9440, a fingerprint, a subject, or Google's
// SPIFFE headers (cloud-and-proxy-identity.md).
//
// Headers count only when the connection comes from a proxy that is configured
// by its address. Even so that proxy must replace what clients send under these
// names: a header that comes twice is refused, as is anything that is not
// exactly of its form, because a second reading of it would be somebody else.
//
// The package never verifies a chain of certificates: the TLS stack or the proxy
// has, and a request that does not say so is refused. Nor does it decide what a
// caller may do, beyond an allow-list.
package mtls
