package shm

import "github.com/vgirpc/vgirpc-go/wire"

// Metadata keys of capability requests ([wire.MethodTransport]) and their
// answers, of this module: others ignore them.
const (
	// KeyDescriptor in a request offers an anonymous segment, whose name is the
	// value, and in an answer says whether it can be used: "true" to the value
	// [Ask], and the segment's name once it is attached. The descriptor travels
	// beside the request on a Unix socket, which says so ([vgirpc.KeyFiles]), or
	// see [KeyInherited].
	KeyDescriptor = "vgirpc_go.shm_descriptor"
	// KeyInherited in a request is the number of the descriptor with which the
	// server's process was started, for a client that started it.
	KeyInherited = "vgirpc_go.shm_inherited"
	// Ask is the value of KeyDescriptor in the request that asks whether the
	// server receives descriptors.
	Ask = "?"
)

// Agreed reports whether the answer to a capability request says that the server
// attaches named segments. Before that a client neither names one nor sends a
// pointer (WIRE_PROTOCOL section 15).
func Agreed(answer wire.Metadata) bool {
	return Supported && answer.Value(wire.KeyTransportSHM) == "true"
}

// TakesDescriptors reports whether the answer to a capability request that asked
// ([Ask]) says that the server receives descriptors.
func TakesDescriptors(answer wire.Metadata) bool {
	return Agreed(answer) && answer.Value(KeyDescriptor) == "true"
}

// Attached reports whether the answer to a capability request that offered the
// anonymous segment of that name says that it is attached.
func Attached(answer wire.Metadata, name string) bool {
	return Agreed(answer) && name != "" && answer.Value(KeyDescriptor) == name
}
