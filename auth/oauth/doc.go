// Package oauth is the server's side of OAuth 2: it tells clients where to get a
// token for this service (RFC 9728), signs people in who come with a browser
// (authorization code with PKCE, RFC 7636; OpenID Connect where the identity
// provider speaks it), and passes token requests on for pages that cannot keep a
// client secret.
//
// A [Server] has these routes, which package httpserver serves when it is given
// one:
//
//	GET  /.well-known/oauth-protected-resource{prefix}  the metadata
//	GET  {prefix}/_oauth/callback                       where a sign-in ends
//	GET  {prefix}/_oauth/logout                         signs out
//	POST {prefix}/_oauth/token                          the token proxy
//
// It decides nothing about who may call: the token that a sign-in ends with goes
// to the service's authenticator, as any bearer token does, and a sign-in whose
// token the authenticator refuses has failed. The token is a credential for
// pages alone. Calls take no cookie for one: a page of this origin that wants to
// call reads the cookie and sends the token in a header, which no page of
// another origin can.
//
// What a sign-in has to remember is sealed into a cookie of the browser, so that
// any replica with the same keys can finish it. Whatever comes back is checked
// against that: state, nonce, issuer (RFC 9207), the browser, the time, and that
// the answer is used once.
//
// No token, code, secret or claim is logged or told.
package oauth
