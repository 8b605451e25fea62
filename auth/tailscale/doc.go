// Package tailscale is evidence of who calls over a tailnet (tailscale-identity.md).
//
// [Serve] reads the headers of Tailscale Serve in front of the service. They name
// a login, which may pass to somebody else and is therefore no principal, and
// capabilities. [LocalAPI] asks the daemon on this machine who is behind the
// address of a connection: a user by the number of the account, or a tagged node
// by its stable ID, and what the tailnet's policy grants them.
//
// The package never starts Tailscale or its commands, and remembers no answer:
// every request, or connection that keeps its peer, is asked about anew. What a
// grant means is for the application to say.
package tailscale
