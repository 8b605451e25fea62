// Package workerhttp lets a worker serve HTTP: its option goes to
// [worker.Main], and nothing else of a main function changes.
//
//	worker.Main(server, workerhttp.Option(httpserver.Options{}))
//
// Such a worker understands, besides the flags of package worker:
//
//	--http[=PORT]               serve HTTP, announced as "PORT:N", N as bound
//	--host ADDRESS              to listen on, 127.0.0.1 by default
//	--port PORT                 to listen on, a free one by default
//	--prefix PATH               in front of every route
//	--max-request-bytes N       of a request's body
//	--max-response-bytes N      of a response
//	--max-externalized-response-bytes N  that a response moves to storage
//	--max-in-flight N           calls at once; others are refused
//	--no-compression            send responses as they are
//	--no-call-state-cache       open every stream's token at every turn
//	--cors-origin ORIGIN        lets pages of it call; may be repeated
//	--token-key KEY[,KEY...]    keys of stream and session tokens; may be repeated
//	--token-key-file PATH       a file of them
//	--replicas N                processes that serve the same callers
//	--sticky-ttl SECONDS        have sticky sessions, which live so long
//	--no-sticky                 have none
//	--bearer-tokens PATH        a file of those who may call
//	--tls-cert, --tls-key PATH  speak TLS; the files may change
//	--tls-client-ca PATH        demand certificates of clients
//
// The environment has VGI_RPC_TOKEN_KEY and VGI_RPC_TOKEN_KEY_FILE, for keys that
// should not be seen in a list of processes, VGI_RPC_GRANT_KEYS and its kin, which
// let callers in with sealed grants (package auth/grant), and
// VGI_HTTP_DISABLE_ZSTD=1. Flags
// go before the environment, and both before what the program set.
//
// The first signal ends such a worker in good order, as it does any other: no
// session is opened any more, calls in progress finish, and the states of
// sessions are closed.
package workerhttp
