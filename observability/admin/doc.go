// Package admin is the listener for those who run a server, apart from the one
// for those who call it: whether it lives and is ready, its figures, its profiles,
// what was built and how it is configured.
//
//	/livez        200 as long as the process answers
//	/readyz       200, or 503 while calls should go elsewhere; ?verbose says why
//	/metrics      figures for Prometheus
//	/buildinfo    what was built of what
//	/config       the configuration, without secrets
//	/loglevel     the least severity of what is logged; PUT changes it
//	/debug/pprof  profiles, as go tool pprof wants them
//
// It is not for callers, and nothing of it belongs on their listener. A [Server]
// refuses to serve an address that others than this machine can reach, unless it
// is told that the network keeps them out ([Options.Public]) or has TLS and a
// token. A page in a browser on this machine does not get through either: the
// name in a request's Host header has to be an IP address, localhost or one of
// [Options.Hosts] (a page that has its own name resolved to 127.0.0.1 cannot
// choose that, nor leave it out), a request that another site has caused is refused, and there is
// no CORS.
//
// The command line of the process, which net/http/pprof shows, is left out: it
// may hold a secret. That package is not linked, because to import it opens
// routes on every server of the process that uses the default mux.
package admin
