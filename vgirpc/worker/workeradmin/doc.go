// Package workeradmin gives a worker a listener for those who run it: liveness,
// readiness, figures for Prometheus, profiles, what was built, the configuration
// and the log level. See packages observability/admin and observability/prom.
//
//	worker.Main(server, workerhttp.Option(httpserver.Options{}), workeradmin.Option(workeradmin.Options{}))
//
// The worker then understands:
//
//	--admin [HOST:]PORT     listen there: on 127.0.0.1 without a host
//	--admin-unix PATH       listen on a Unix socket, for its owner alone
//	--admin-public          the network keeps others out: HOST may be any
//	--admin-tls-cert, --admin-tls-key PATH  speak TLS; read again on SIGHUP
//	--admin-token TOKEN     want it with a request, but for the probes
//	--admin-host NAME       further name by which it may be called
//	--admin-native-histograms  durations in fine classes as well
//
// Without the first two nothing is counted, and nothing listens. The address is
// logged, and not written to standard output.
//
// # Figures
//
// Beside those of package prom: vgi_rpc_worker_state with the label state,
// connections over byte streams (vgi_rpc_connections_open,
// vgi_rpc_connections_total), bytes of messages in memory
// (vgi_rpc_memory_bytes), lost records of the access log
// (vgi_rpc_access_log_dropped_total), records that the request log left out
// (vgi_rpc_request_log_suppressed_total), transfers to and from external storage
// (vgi_rpc_external_uploads_total and vgi_rpc_external_fetches_total with the
// label result, "ok" or "failed", vgi_rpc_external_uploaded_bytes_total,
// vgi_rpc_external_fetched_bytes_total), and what other options report (worker.Measure):
// of HTTP, vgi_rpc_http_in_flight, vgi_rpc_http_sessions,
// vgi_rpc_http_received_bytes_total, vgi_rpc_http_sent_bytes_total,
// vgi_rpc_http_call_cache_total, and those of proofs.
//
// # Readiness
//
// /readyz answers 200 while the worker serves and all that its options cannot do
// without is there (worker.Setup.Ready). From the first SIGTERM on it answers
// 503. While another process takes over (SIGUSR2), that one answers.
package workeradmin
