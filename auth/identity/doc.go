// Package identity hosts vgi_rpc.Identity.v2 (WIRE_PROTOCOL section 16,
// IDENTITY_V2_SPEC): a trusted proxy asks who an opaque token stands for, and a
// user who has just signed in gets a grant for automation to use later.
//
// [Host] adds the protocol to a server. The package owns the guards, which are
// the same everywhere; what a token stands for and who gets a grant is decided
// by functions of the application, or by sealed grants (package grant). A method
// whose function is missing is not hosted, and without any the protocol is not
// either: clients learn from reflection what a server can do.
//
// Over HTTP the circle closes: [Identity.Authenticator] accepts sealed grants,
// and tokens that the application resolves, as bearer tokens.
//
// The package never logs a token, nor puts one or what is made of it into an
// error. When an error of the application's own functions quotes the token that
// it was called with, the token is cut out.
package identity
