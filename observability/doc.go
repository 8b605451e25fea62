// Package observability holds what watches a server and never changes what it
// does: observers of calls, to be listed in vgirpc.ServerOptions.Observers.
//
// [AccessLog] writes one JSON line for each call to the canonical schema of
// vgi-rpc (access-log-spec.md), the same on every transport. It never writes a
// parameter, a result or a stream's state, in whatever form: a log outlives the
// call, and only the application knows which values are secret.
//
// [RequestLog] is a log of its own for what never became a call: requests and
// connections that were refused. It is a vgirpc.RefusalObserver, and writes so
// many records in a second and no more.
//
// [LogFile] is the file below it: it renames itself by size or time, is opened
// anew when another tool has renamed it, may be written in the background, and
// survives full disks. What is lost is counted and said.
//
// Observers that need a library of their own live in packages below this one,
// so that a worker links only what it uses.
package observability
