// Package socket decides who may come in over raw sockets, where the protocol
// itself has nothing to say about it. All of it is off unless a server names it,
// and then not a byte differs.
//
// What it has are admitters for vgirpc.ConnOptions.Admit, which asks them in
// their order:
//
//   - [PeerCredentials] looks at the user and group of a Unix socket's peer, as
//     the kernel knows them.
//   - [SignedProcess] looks at the program that runs at the other end of a Unix
//     socket, and demands a signature beside it (Linux).
//   - [Handshake] exchanges a few frames before the first message: with a shared
//     secret both sides prove that they have it.
//   - [ConnectionPolicy] bounds how many connections there are at once, in all
//     and of each peer: one client and no other, for instance.
//
// Package auth/socket/sockettls adds TLS. A sensible order is: what a proxy sends
// ahead, TLS, credentials, signed process, handshake, policy. The policy comes
// last, or somebody who never gets in takes the place of somebody who does.
//
// A peer that is refused is told so with a typed error: in the handshake's own
// frames when it speaks them, and as the answer to its first request when it is
// a client that knows nothing of all this.
//
// # The handshake
//
// Frames are a header of eight bytes and a payload of at most 577, whose length
// is checked against its type before it is read:
//
//	"VGIH" version(1) type(1) length(2, big-endian) payload
//
//	1 hello      C→S  least version(1) greatest version(1) mode(1) nonce(32) length(1) key id
//	2 challenge  S→C  version(1) mode(1) nonce(32)
//	3 proof      C→S  MAC(32)
//	4 welcome    S→C  version(1) mode(1) MAC(32)
//	5 refused    S→C  code(1) length(1) kind, message
//
// Challenge and proof are mode hmac's alone; the welcome of other modes has a MAC
// of zeros. A MAC is HMAC-SHA-256 with the secret over the role of its sender
// ("client" or "server"), the binding of the connection, and all frames so far,
// each behind its length: a frame that somebody else has changed, one of another
// conversation and one that is sent back do not fit. The client demands its mode
// and the server its own; there is none to fall back to. Codes are numbered as in
// gRPC.
//
// The binding is what TLS exports under [ExporterLabel], if there is TLS beneath,
// and else the name of the socket's family. Without TLS somebody between the two
// can pass the handshake on and then take the connection over: a secret over bare
// TCP keeps strangers out, and does not make the network safe.
package socket
