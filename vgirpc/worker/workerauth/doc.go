// Package workerauth lets a worker decide who may come in over raw sockets: its
// option goes to [worker.Main], and nothing else of a main function changes.
//
//	worker.Main(server, workerauth.Option())
//
// Such a worker understands, besides the flags of package worker:
//
//	--tcp-tls-cert, --tcp-tls-key PATH  speak TLS; the files may change
//	--tcp-tls-client-ca PATH            demand certificates of clients
//	--tcp-tls-client-name NAME          what of them is the principal
//	--tcp-tls-trust-domain DOMAIN       whose SPIFFE IDs are; may be repeated
//	--unix-allow-uid UID                let a user in; may be repeated
//	--unix-allow-gid GID                let a primary group in; may be repeated
//	--unix-signed-by PATH               let programs in that the public keys at
//	                                    PATH, in PEM, have signed; see vgi sign
//	--handshake version|hmac|signed     demand a handshake before the first message
//	--handshake-secret-file PATH        secrets of mode hmac; the file may change
//	--one-client                        serve one connection and no other
//	--connections-per-peer N            of one principal, user or address at once
//
// Without flags nothing changes, and a flag that the chosen transport has no use
// for is an error: who sets one believes that it has an effect. Package
// auth/socket says what each of them is worth.
package workerauth
