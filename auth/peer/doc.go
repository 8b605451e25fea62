// Package peer is what the transport knows of a caller, and what follows from it
// (transport-identity-spec.md).
//
// A [Provider] looks at a [Snapshot] of a request or connection and reports a
// [Status], with identities when it is [Available]: a SPIFFE ID from a
// certificate (package auth/spiffe), a user or node of a tailnet (package
// auth/tailscale), an Iroh endpoint (package auth/peer/iroh). Together the
// reports are the [Evidence], which never changes. A [Policy] decides what it
// counts for: [Observe], [Require], [Primary], [AnyOf] or [AllOf].
//
// [New] makes an [auth.Authenticator] of providers, a policy and the
// authenticator of the application's own credentials. Whoever it lets in has the
// digest of the evidence in the claim [BindingClaim], which binds state tokens
// and sticky sessions: what was opened by one peer is refused to another.
//
// Evidence that was rejected is never overlooked because something else would
// have been accepted, and an authority that does not answer is an outage (503)
// and no refusal. The package never writes evidence to a log, and its values
// print without their contents.
package peer
