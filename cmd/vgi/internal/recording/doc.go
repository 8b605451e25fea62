// Package recording keeps what a client and a server said to each other in a
// file, and makes calls of it again.
//
// A recording is one Arrow IPC stream (see [Schema]): each record batch is one
// [Frame], of one row. It is only ever appended to, so that a recorder that is
// killed leaves a file that can be read up to its last whole frame. The metadata
// of the stream's schema says which version of the format it is, and whether
// payloads were kept.
//
// Without payloads a file holds no value that an application sent: no parameter,
// no result, no error message, no token. What is left is listed in [Redact].
//
// A [Tap] is given the bytes of one direction of a connection, whatever carries
// them, and never makes its caller wait for the disk. [Calls] puts calls together
// again, [Diff] compares answers, and a [Mock] gives them.
package recording
