// Package typetoken gives a protocol its fingerprint: the type tokens, the
// canonical JSON and the protocol hash of WIRE_PROTOCOL section 14.
//
// A server and a client written in different languages must arrive at the same
// hash for the same protocol, so everything here is a closed vocabulary. A type
// is spelled by its token and by nothing else ([Of], [OfField]); JSON is the
// RFC 8785 form of four kinds of value ([AppendJCS]); and a description is
// hashed over exactly the bytes that [Preimage] returns, so that two ports that
// disagree can compare text and not digests.
//
// The package never guesses. What the section does not name is an error: a
// private spelling would change the hash of one port alone, and show up as a
// mismatch far from its cause.
package typetoken
