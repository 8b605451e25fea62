// Package iroh names callers whose connection comes by an Iroh bridge, which has
// verified the endpoint at its other side (transport-identity-spec.md, "Iroh
// bridge forwarding").
//
// The bridge tells the worker the endpoint in a header of HTTP requests, or ahead
// of a raw connection in a PROXY header, whose TLVs [Endpoint] reads. Either
// counts only from a bridge that is trusted by its address. The package speaks
// no Iroh itself.
package iroh
