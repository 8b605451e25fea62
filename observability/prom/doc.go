// Package prom keeps a server's figures for Prometheus: an observer that counts
// calls, and gauges and counters that are read from the server's parts when
// somebody asks.
//
//	metrics, err := prom.New(prom.Options{})
//	server, err := vgirpc.NewServer(vgirpc.ServerOptions{
//		Observers:        []vgirpc.Observer{metrics},
//		RefusalObservers: []vgirpc.RefusalObserver{metrics},
//	}, Greeter)
//	http.Handle("/metrics", metrics.Handler())
//
// What it counts, with the protocol, the method and its type ("unary" or
// "stream") as labels:
//
//	vgi_rpc_calls_total                 calls that are over, by code, "OK" among them
//	vgi_rpc_call_duration_seconds       how long they took
//	vgi_rpc_calls_in_flight             calls that are in progress
//	vgi_rpc_call_received_bytes_total   what travelled to the server
//	vgi_rpc_call_sent_bytes_total       and back, compressed where it was
//	vgi_rpc_call_externalized_bytes_total  what was uploaded instead
//
// and, without a method:
//
//	vgi_rpc_refused_total               requests that never became calls, and connections
//	                                    that were not served, by transport, reason and code
//	vgi_rpc_build_info                  1, with the versions as labels
//
// beside those of the Go runtime and of the process, and whatever [Metrics.Add]
// was given. A call is what an observer sees as one: over HTTP each turn of a
// stream.
//
// The labels are bounded by what the server hosts: a call of an unknown method is
// none, and there is no label that a caller can choose. Who calls is not among
// them. A successful call allocates nothing.
//
// An observation has the identifiers of its span as an exemplar, where there is
// one; see [Options.TraceOf]. They are part of the OpenMetrics format, which
// Prometheus asks for when it is started with --enable-feature=exemplar-storage.
package prom
