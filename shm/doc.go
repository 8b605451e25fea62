// Package shm moves batches between two processes of one machine through shared
// memory, beside a byte-stream connection that carries the calls
// (WIRE_PROTOCOL sections 11 and 15).
//
// A [Segment] is the memory: a table of what is allocated, and the data. It is
// named, as other implementations share it, or an anonymous file whose
// descriptor both sides hold, where both are of this module. A [Channel] applies
// it to the batches of a connection as a [vgirpc.Offload]. The client's side is
// an [Owner], which creates the segment; the server's is a [Guest], which
// attaches to what the requests of a connection name.
//
// [Client] and [Serve] are the options that make all of this happen: they agree
// before the first call on which kind it is. Between two sides of this module the
// memory has no name. Its descriptor is passed beside a capability request on a
// Unix socket, or the server's process is started with it.
//
// # Turns
//
// There are no locks between the two processes: whoever holds the turn of the
// lockstep protocol may change the table, and nobody else. So nothing is freed
// when a batch is released, only at the next call of [Channel.Turn], which the
// driver of the connection makes while it holds the turn.
//
// The turn is a server's from the moment it has read the request of a unary call,
// or an input batch of a stream, or the end of the input, until it begins to write
// the answer; and a client's from the moment it has read an answer, or the end of
// a stream, until it begins to write. The request of a stream call without a
// header gives no turn: its caller goes on at once. So
//
//   - a client calls [Owner.Begin] before it writes the request of a call, with no
//     other in progress, and [Channel.Turn] before each input; it places the
//     request itself only for a unary call or a stream with a header;
//   - a server calls [Guest.Request] for each request before it resolves anything,
//     and [Channel.Turn] when it has the turn, after the batch was read or
//     released and before it places its answer;
//   - headers are never placed, and logs and errors neither.
//
// # Building in place
//
// A batch whose buffers come from [Channel.Allocator] is sent from where it was
// built. The first large buffer takes the widest gap of the segment; when the batch
// is placed, schema and header are written in front of its body, the region becomes
// exactly that of the batch, and the rest of the gap is free again. So a side
// allocates only while it holds the turn, and its memory is the peer's from the
// moment when the batch is sent.
//
// # Safety
//
// The other side may be hostile. What it wrote is copied before it is looked at;
// every touch of a named segment goes through one function that turns the fault
// of a truncated file into a [*FaultError]; header, table and pointers are
// checked for bounds, overflow and order. A batch is a copy that belongs to the
// garbage collector, unless [Options.ZeroCopy] asks otherwise and the kernel
// says that the memory cannot shrink. Even then the other side may write: values
// may change while they are read, or while a batch is built there.
//
// The package never attaches on its own, never unlinks what it did not create,
// and reads no environment. It works on Linux; elsewhere [Supported] is false
// and everything that needs memory fails with [ErrUnsupported].
package shm
