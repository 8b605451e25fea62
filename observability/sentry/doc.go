// Package sentry reports a server's faults to Sentry, with the SDK of
// github.com/getsentry/sentry-go.
//
//	err := sdk.Init(sdk.ClientOptions{Dsn: dsn})
//	reporter, err := sentry.New(sentry.Options{})
//	server, err := vgirpc.NewServer(vgirpc.ServerOptions{Observers: []vgirpc.Observer{reporter}}, Greeter)
//	defer sdk.Flush(2 * time.Second)
//
// # Errors
//
// A call that fails with UNKNOWN, INTERNAL or DATA_LOSS is an event: what the
// caller has done wrong, and what passes by itself, is expected and none
// ([Options.IgnoreCodes]). The event has the method's name as its transaction
// ("rpc add"), the tags rpc.method, rpc.method_type, rpc.code, auth.domain and
// auth.authenticated, the context "rpc" and the caller as its user. What a
// handler captures itself by the hub of its context has the same tags.
//
// # Performance
//
// With [Options.Performance] each call is a span: a child of the span that its
// context has, or else a transaction "vgi_rpc/add" of its own, which goes on with
// the trace that the request's traceparent names. How many are sent is up to the
// SDK's TracesSampleRate or TracesSampler: what the caller has decided for itself
// does not count.
//
// # What is never sent
//
// Parameters, results, stream states and metadata; no option changes that. An
// error's message and the messages of its causes are sent, as they are the fault.
// Identifiers that a handler wants to find events by go through [TagID], which
// sends 12 digits of their hash.
//
// A call that succeeds costs one allocation as long as performance is off.
package sentry
