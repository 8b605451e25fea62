// Package oauth signs in to vgi-rpc servers that ask for OAuth 2 over HTTP, and
// keeps the tokens.
//
// A server that wants a token answers 401 with a challenge that names its
// metadata (RFC 9728), and they name who issues its tokens. A [Client] goes that
// way: it signs a person in with a browser of this machine (RFC 8252 with PKCE) or
// with a code that is entered on any device (RFC 8628), or the program itself with
// client credentials; it refreshes tokens 45 seconds before they end, once for all
// who wait; and a request that the server refuses all the same is sent once more
// with another token. [Authorize] puts a client, or another [TokenSource], into
// the HTTP transport.
//
// # What it never does
//
// A token goes to the server for which it was issued, whatever redirects say, and
// a secret to the issuer that the server's own metadata name, over https; plain
// http is for this machine alone. Metadata of another server or issuer than the
// one that was asked are refused. No error, log line or printed value has a token
// or a secret. Redirects are not followed, and what is read of others is bounded.
//
// # Where tokens are kept
//
// A [Store] keeps them: the process's memory, or private files ([FileStore]), or
// the system's keyring (package keyring). Processes that share a store take turns
// at refreshing.
package oauth
