// Package wire is the byte level of vgi-rpc: Arrow IPC streams on a connection,
// the metadata keys that make them calls, and the limits that hold before
// anything is allocated.
//
// A [Reader] reads consecutive IPC streams from one connection and a [Writer]
// writes them; both own their framing instead of going through arrow-go's
// stream objects, because framing is what a small call costs. What travels is
// a [Batch]: a [Schema], columns and [Metadata]. Its [Batch.Kind] is the
// classification tree of the specification (WIRE_PROTOCOL section 7).
//
// The package never decides what a call means, never logs, and starts no
// goroutine.
package wire
