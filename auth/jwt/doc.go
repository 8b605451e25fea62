// Package jwt accepts JSON Web Tokens (RFC 7519) as bearer credentials.
//
// An [Authenticator] knows its issuers, and where the keys of each come from:
// OIDC discovery, a JWKS URL, a key set that was given, or a shared secret. A
// token is checked with the keys of the issuer that it names and with no others,
// so that no issuer can speak for another. Signature algorithms are pinned, and
// shared secrets have to be asked for.
//
// Keys are fetched beside the requests: a token whose key is known costs no
// network. One whose key is not known makes the issuer's keys be fetched again,
// once for however many requests ask, so that a rotation is noticed with the
// first token; made-up key ids cannot make that happen often, and those who wait
// for a limited fetch are answered by it. When an issuer cannot be reached, the
// keys that are known stay in use, and whoever needs another one gets an
// [auth.Unavailable] and never a refusal.
//
// Nothing that a token says is logged or told, and no header of a token (jwk,
// jku, x5u) leads to a key.
package jwt
