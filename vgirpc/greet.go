package vgirpc

import (
	"errors"
	"io"

	"github.com/vgirpc/vgirpc-go/wire"
)

// CapabilityRequest is the request batch that asks a server for the capabilities
// of the transport, with the client's own beside it (WIRE_PROTOCOL section 15).
// Every server answers it, be it with a refusal, and nobody's method runs.
func CapabilityRequest(own ...wire.Pair) wire.Batch {
	meta := wire.Metadata{
		{Key: wire.KeyMethod, Value: wire.MethodTransport}, {Key: wire.KeyRequestVersion, Value: wire.RequestVersion},
	}
	b := wire.EmptyBatch(wire.EmptySchema(), append(meta, own...))
	b.Rows = 1
	return b
}

// Greet sends a [CapabilityRequest] over a byte stream that nobody uses yet, and
// waits for the answer: whoever opens connections knows then that somebody is at
// the other end. What the answer says does not matter.
func Greet(rw io.ReadWriter, limits wire.Limits) error {
	ask := CapabilityRequest()
	w := wire.NewWriter(rw)
	if err := errors.Join(w.Open(ask.Schema), w.Batch(&ask), w.Close(), w.Flush()); err != nil {
		return err
	}
	r := wire.NewReader(rw, limits, nil)
	if _, err := r.NextStream(); err != nil {
		return err
	}
	return r.Drain()
}
