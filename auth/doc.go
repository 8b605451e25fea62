// Package auth decides who is calling over HTTP.
//
// An [Authenticator] looks at a request and names the caller, or says why it
// does not. Authenticators are values that compose: [Any] tries alternative
// credentials in order, [All] puts a [Gate] in front of one. A gate answers
// another question, whether the request may be served at all, and has another
// type, so that it cannot be offered as one alternative among several.
//
// What went wrong is told apart by the type of the error (unauthorized-spec.md):
// a [Failure] refuses the caller (401), [Unavailable] says that nobody could
// tell (503, never 401), and anything else is a fault of the server (500).
// [ReasonOf] is that rule in one place.
//
// The package never writes a response and never logs or returns a credential;
// the HTTP server does the former. Schemes that need libraries of their own live
// in packages below this one.
package auth
