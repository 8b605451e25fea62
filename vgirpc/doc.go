// Package vgirpc is a runtime for vgi-rpc, an RPC protocol whose only message
// format is the Apache Arrow record batch in IPC streams.
//
// A [Protocol] is a contract: a name, a version and methods. A method is a Go
// value ([Unary], [Producer], [Exchange]) that server and client share, so that
// a renamed field breaks the build and not production. A [Server] hosts one or
// more protocols; handlers are plain functions and small state types.
//
// [Server.Begin] is the core, free of I/O: it begins a call from a request
// batch, and [Dispatch.Turn] takes it further. Every transport is a thin driver
// around it; [Server.ServeConn] is the one for byte streams (stdio, Unix
// sockets, TCP and in-process pairs).
//
// What travels on the wire is the business of package wire; how Go types become
// columns, that of an internal package. HTTP, authentication and external
// storage live in packages of their own and are linked only by those who import
// them.
package vgirpc
