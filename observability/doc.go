// Package observability holds what watches a server and never changes what it
// does: observers of calls, to be listed in vgirpc.ServerOptions.Observers.
//
// [AccessLog] writes one JSON line for each call to the canonical schema of
// vgi-rpc (access-log-spec.md), the same on every transport. It never writes a
// parameter, a result or a stream's state, in whatever form: a log outlives the
// call, and only the application knows which values are secret.
//
// [LogFile] is the file below it: it renames itself by size or time, is opened
// anew when another tool has renamed it, may be written in the background, and
// survives full disks. What is lost is counted and said.
//
// Observers that need a library of their own live in packages below this one,
// so that a worker links only what it uses.
package observability
