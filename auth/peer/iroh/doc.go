// Package iroh names callers whose connection comes by an Iroh bridge, which has
// verified the endpoint at its other side (transport-identity-spec.md, "Iroh
// bridge forwarding").
//
// The bridge tells the worker the endpoint in a header of HTTP requests, which it
// takes away from clients. For a raw connection it sends a PROXY header ahead,
// whose TLVs [Endpoint] reads; neither package auth/proxyproto nor
// peer.FromAdmission does that, so it takes a listener of one's own, which puts the
// endpoint into peer.Snapshot.IrohEndpoint and asks peer.Authenticator.Identify.
// Either counts only from a bridge that is trusted by its address, and a request
// that names another endpoint than its connection is refused. The package speaks no
// Iroh itself.
package iroh
