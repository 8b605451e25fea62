// Package seal makes and opens the opaque tokens that a server gives to its
// clients to keep: the cursor and the call token of a stream, and the token of a
// sticky session (WIRE_PROTOCOL section 10, "State token binary format").
//
// A token is a kind byte, a random nonce of 24 bytes, and the ciphertext of
// XChaCha20-Poly1305 with its tag. Its kind and the identity that it was made for
// are authenticated beside it, so that a token opens only as what it is and only
// for whom it was meant. The payload is compressed inside the seal when that
// makes it smaller: ciphertext does not compress.
//
// The package knows nothing of what a payload says, of its age, or of HTTP.
package seal
