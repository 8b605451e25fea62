// Package otel traces and counts calls with OpenTelemetry: servers, clients, and
// what goes to external storage. It knows the API of OpenTelemetry alone; which
// exporter, sampler and resource there is decides whoever makes the providers.
// Package vgirpc/worker/workerotel makes them of the usual environment variables.
//
// [Observer] is for servers, as an observer of calls and of refusals:
//
//	observer, err := otel.NewObserver(otel.Options{ServerID: server.ID()})
//	…
//	err = server.Configure(func(o *vgirpc.ServerOptions) {
//		o.Observers = append(o.Observers, observer)
//		o.RefusalObservers = append(o.RefusalObservers, observer)
//	})
//
// [ClientObserver] goes to vgirpc.ClientOptions.Observers, and
// [TransferObserver] to external.Options.Observers.
//
// # Spans
//
// A call is a span "vgi_rpc/METHOD" of kind SERVER, and on its caller's side one
// of kind CLIENT. A stream over a byte stream is one span; over HTTP every request
// of it is one, but for a cancellation, which is none. The methods of the
// transport itself, whose names begin with two underscores, have no spans and are
// not counted. A transfer is a span "vgi_rpc.external/upload" or
// "vgi_rpc.external/fetch" of kind CLIENT.
//
// The parent of a server's span is what the metadata of the request names; else
// the span of the context in which the transport runs the call; else what the
// headers of HTTP name. Clients put their span into the metadata, and package
// httpclient repeats it in the headers of every request of the call.
//
// # Metrics
//
//	rpc.server.requests      counter of calls, {request}
//	rpc.server.duration      histogram of their seconds
//	rpc.server.auth_failure  counter of those who were not let in, {failure}
//
// Labels never hold what a caller can choose freely: neither principals nor
// claims.
//
// Nothing of a payload is ever part of a span or a metric. The message of an
// error that a handler returns is, as the caller gets it.
package otel
