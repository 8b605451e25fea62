// Package proof lets a service refuse requests that did not come through a
// trusted proxy (proxy-proof-spec.md).
//
// The proxy stamps each request with a proof: an HMAC-SHA256 over a timestamp, a
// nonce and the name of the service, under a secret that only the two share.
// [Gate] verifies it and goes in front of whatever names the caller; [Signer]
// mints it. A proof says which proxy forwarded a request and nothing about who
// sent it, nor about its method, path or body.
//
// A caller who is refused learns that a proxy is required and never why its
// proof failed: it chooses what is in the header, so a reason would be an
// oracle. Reasons go to [Gate.Stats], to the cause of the failure and, under
// debug, to the log.
package proof
