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
//	--require-protocol-key      metadata has to repeat the protocol of the path
//
// Limits, in bytes unless it is said otherwise:
//
//	--max-request-bytes N       of a request's body
//	--max-response-bytes N      of a response
//	--hosting-max-request-bytes N, --hosting-max-response-bytes N
//	                            what the place allows where the worker runs
//	--preferred-response-bytes N  that handlers aim at
//	--max-externalized-response-bytes N  that a response moves to storage
//	--max-in-flight N           calls at once; others are refused
//	--no-compression            send responses as they are
//	--no-zstd                   know gzip alone
//	--no-uploads                hand out no upload URLs, though there is storage
//
// Streams and sessions:
//
//	--token-key KEY[,KEY...]    keys of stream and session tokens; may be repeated
//	--token-key-file PATH       a file of them, to keep them out of lists of processes
//	--token-ttl SECONDS         of a token, and so of a stream; 0 for ever
//	--replicas N                processes that serve the same callers
//	--call-state-cache N        streams remembered, 4096 by default
//	--no-call-state-cache       open every stream's token at every turn
//	--sticky-ttl SECONDS        have sticky sessions, which live so long
//	--sticky-max-sessions N     at once
//	--sticky-echo NAME=VALUE    a header that their requests bring; may be repeated
//	--no-sticky                 have none
//
// Callers, and what people see:
//
//	--bearer-tokens PATH        a file of those who may call
//	--grant-keys KEYS           mint sealed grants (package auth/grant), and let
//	                            callers in with them
//	--grant-keys-file PATH      a file of those keys
//	--grant-audience AUDIENCE, --grant-max-ttl-seconds SECONDS  of the grants
//	--grant-domain DOMAIN       whose callers alone get them; may be repeated
//	--challenge TEXT            of the WWW-Authenticate header of refusals
//	--proxy-auth-header NAME    that a proxy has to add; may be repeated
//	--forwarded-by NETWORK      of proxies whose X-Forwarded-For is believed; may be repeated
//	--cors-origin ORIGIN        lets pages of it call; may be repeated
//	--no-pages                  no pages for people
//	--repository-url URL        that they link to
//	--json-gateway              take unary calls as JSON
//	--json-host NAME            for this host, too, on a loopback address; may be repeated
//	--json-max-bytes N          of such a call
//
// How often each address and each caller is served is bounded by
// --rate-limit-address and --rate-limit-principal of package worker.
//
// Connections, whose number --max-connections of package worker bounds, and which
// are told to go elsewhere during its --drain-delay:
//
//	--header-timeout SECONDS    for the header of a request
//	--progress-timeout SECONDS  that a body may stand still; 0 for ever
//	--keep-alive-timeout SECONDS  between two requests; 0 for ever
//	--max-header-bytes N        of a request
//	--no-h2c                    no HTTP/2 without TLS
//	--session-grace SECONDS     to close sessions at the end
//	--tls-cert, --tls-key PATH  speak TLS; the files may change
//	--tls-client-ca PATH        demand certificates of clients
//	--tls-client-optional       and let clients in without one
//	--tls-reload SECONDS        after which the files are looked at again
//
// Every field of [httpserver.Options] and [httpserver.ServeOptions] has a flag,
// but for these:
//
//	Options.OAuth               a program's, which makes it with package auth/oauth
//	ServeOptions.Refused        reports to the observers of refusals, as --request-log
//	                            adds one
//	ServeOptions.Logger         a program's; --log-level of package worker sets its level
//	ServeOptions.TLSConfig      a program's, which makes it with package auth/spiffe,
//	                            or lets package workeridentity do so
//
// A flag of these without --http is refused; those of the conformance worker
// (conformance/CONTRACT.md), and variables of the environment, change nothing
// then, and the log says so.
//
// As with every flag there is an environment variable for each of them, such as
// VGI_RPC_TOKEN_KEY_FILE, and a setting of the configuration file (package
// worker). VGI_HTTP_DISABLE_ZSTD=1 is --no-zstd as well.
//
// The first signal ends such a worker in good order, as it does any other: no
// session is opened any more, calls in progress finish, and the states of
// sessions are closed.
package workerhttp
