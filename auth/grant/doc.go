// Package grant makes and opens sealed grants: standing credentials that a
// server mints for a caller, and that automation presents later as an ordinary
// bearer token (WIRE_PROTOCOL section 16, IDENTITY_V2_SPEC section 9).
//
// A grant says all there is to know of it, so nothing is stored:
//
//	token    = "vgig1." base64url(kid || envelope)      without padding
//	envelope = 0x01 || nonce (24) || XChaCha20-Poly1305(payload) || tag (16)
//	kid      = SHA-256("vgi_rpc.grant.kid.v1" 0x00 || key), its first 8 bytes
//	aad      = "vgi_rpc.grant.v1" 0x00 || kid || audience
//
// The payload is a fixed record of integers and strings. Every implementation
// of the protocol makes the same bytes of the same grant.
//
// Grants cannot be revoked one by one. They live shortly, and a key that is
// taken away takes all its grants with it.
//
// The package knows nothing of HTTP, and its errors never hold a token, a key
// or what a grant says. Package identity hosts the method that mints grants and
// accepts them from callers.
package grant
