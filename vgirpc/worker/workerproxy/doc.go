// Package workerproxy lets a worker be reached through load balancers that send
// PROXY headers, over byte streams and HTTP alike: its option goes to
// [worker.Main].
//
//	worker.Main(server, workerhttp.Option(httpserver.Options{}), workerproxy.Option())
//
// Such a worker understands, besides the flags of package worker:
//
//	--proxy-protocol        every connection begins with a PROXY header of version 2
//	--trusted-proxy ADDR    the exact address of a proxy, or unix for whoever
//	                        connects over a Unix socket; may be repeated; shared
//	                        with other options that believe proxies
//	--proxy-timeout SECONDS for the header, 5 by default
//	--proxy-local           take headers of connections that are a proxy's own, as
//	                        those of its health checks are
//
// Nobody but the proxies may connect then. See package auth/proxyproto for what
// follows from a header, and what does not.
package workerproxy
