// Package workerotel traces and counts a worker's calls with OpenTelemetry, on
// every transport: its option goes to [worker.Main], and nothing else of a main
// function changes.
//
//	worker.Main(server, workerotel.Option(workerotel.Options{}), workerhttp.Option(httpserver.Options{}))
//
// Without more, nothing happens and nothing is paid for. Telemetry begins with
// the flag --otel, or with one of the variables of the environment that say where
// it goes:
//
//	OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER   otlp, console, none; prometheus for metrics
//	OTEL_EXPORTER_OTLP_ENDPOINT, and those of the two signals
//
// --otel=false, or OTEL_SDK_DISABLED=true, turns it off whatever they say. All
// other variables of OpenTelemetry hold as usual: OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_PROPAGATORS,
// OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_BSP_…, OTEL_METRIC_EXPORT_INTERVAL. The service
// is named after the primary protocol unless one of them names it.
//
// The option makes the providers global in the process, so that what a handler
// records with them belongs to the trace of its call. Records of the server's
// logger get trace_id and span_id, and so does the access log. Uploads and
// fetches of external storage are spans as well, when the storage comes of an
// option or of the program, whichever is first.
//
// What was not sent yet is sent when the worker ends, for one second at most.
package workerotel
