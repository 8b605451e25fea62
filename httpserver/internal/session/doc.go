// Package session keeps the sticky sessions of one server: objects that a method
// leaves behind for the calls that follow, and that live in this process alone
// (sticky-sessions-spec, WIRE_PROTOCOL section 17).
//
// A session has one name, sealed into a token for the caller that opened it, a
// lifetime that is fixed when it opens, and one call at a time. Its state is
// closed exactly once: by a call, by a teardown, when its time is over, or when
// the registry shuts down, but never while a call is using it.
//
// A [Registry] belongs to a server and a [Call] to one request. The package
// reads and writes no headers.
package session
