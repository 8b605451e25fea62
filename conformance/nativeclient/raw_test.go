package nativeclient_test

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// TestRaw is the raw lane: each worker is called on one connection throughout.
func TestRaw(t *testing.T) {
	for _, raw := range rawTransports {
		t.Run(raw.name, func(t *testing.T) {
			c := raw.dial(t)
			testEchoBytes(t, c)
			testProducers(t, c)
			testTypedExchange(t, c)
			testReflection(t, c)
			testErrors(t, c)
			testTransportOptions(t, c)
			testEchoBytes(t, c) // nothing was left on the connection
		})
	}
}

func testEchoBytes(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	t.Run("bytes come back as they went out", func(t *testing.T) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for _, value := range [][]byte{{}, {0}, all, bytes.Repeat(all, 1<<12)} {
			got, err := echoBytes.Call(t.Context(), c, BytesParams{Value: value})
			noError(t, err)
			if !bytes.Equal(got, value) {
				t.Errorf("got %d bytes, want %d", len(got), len(value))
			}
		}
	})
}

// transportOptions sends the capability request, with what the client can do.
func transportOptions(t *testing.T, c *vgirpc.Client, offer ...wire.Pair) wire.Metadata {
	t.Helper()
	meta := append(wire.Metadata{{Key: wire.KeyMethod, Value: wire.MethodTransport}}, offer...)
	request := wire.EmptyBatch(wire.EmptySchema(), meta)
	request.Rows = 1
	b, release, err := c.CallBatch(t.Context(), closeClientSession.Method, &request) // any method without parameters
	noError(t, err)
	defer release()
	equal(t, []int{b.Rows, len(b.Cols)}, []int{0, 0})
	return slices.Clone(b.Meta)
}

// testTransportOptions negotiates shared memory, and uses it where the server
// agrees.
func testTransportOptions(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	t.Run("the capability request is answered, and no protocol describes it", func(t *testing.T) {
		equal(t, transportOptions(t, c).Has(wire.KeyTransportSHM), true)
		p, err := c.Discover(t.Context(), service.Name())
		noError(t, err)
		for _, m := range p.Methods() {
			equal(t, m.Name() == wire.MethodTransport, false)
		}
	})
	t.Run("a large value travels through shared memory where both agree, and in band otherwise", func(t *testing.T) {
		answer := transportOptions(t, c, wire.Pair{Key: wire.KeyTransportSHM, Value: "true"})
		value := pattern(1 << 20)
		if !shm.Supported || !shm.Agreed(answer) {
			got, err := echoBytes.Call(t.Context(), c, BytesParams{Value: value})
			noError(t, err)
			equal(t, bytes.Equal(got, value), true)
			return
		}
		throughMemory(t, c, value)
	})
}

// throughMemory calls echo_bytes with a pointer, and reads what it answers with.
func throughMemory(t *testing.T, c *vgirpc.Client, value []byte) {
	t.Helper()
	owner, err := shm.NewOwner(shm.OwnerOptions{Size: 8 << 20})
	noError(t, err)
	defer func() { noError(t, owner.Close()) }()
	for range 8 { // more than the segment holds, if nothing were freed
		noError(t, owner.Begin())
		in := bytesBatch(value)
		in.Meta = owner.Advertise(echoBytes.RequestMetadata())
		sent, moved, err := owner.Place(t.Context(), in.Schema, []wire.Batch{in}, -1)
		noError(t, err)
		equal(t, []any{sent[0].Kind(), sent[0].Rows, moved > int64(len(value))}, []any{wire.KindSHM, 0, true})
		b, release, err := c.CallBatch(t.Context(), echoBytes.Method, &sent[0])
		noError(t, err)
		equal(t, b.Kind(), wire.KindSHM)
		got, free, err := owner.Resolve(t.Context(), b, nil, nil)
		noError(t, err)
		equal(t, bytes.Equal(got.Cols[0].Data, value), true)
		free()
		release()
		noError(t, owner.Turn())
	}
	noError(t, owner.Begin())
	regions, err := owner.Segment().Regions()
	noError(t, err)
	equal(t, len(regions), 0)
}

// bytesBatch is the parameters of echo_bytes.
func bytesBatch(value []byte) wire.Batch {
	if len(value) > math.MaxInt32 {
		panic("the offsets of a binary column have 32 bits")
	}
	return wire.Batch{
		Schema: echoBytes.ParamsSchema(), Rows: 1,
		Cols: []wire.Column{{Rows: 1, Offsets: wire.Bytes([]int32{0, int32(len(value))}), Data: value}},
	}
}

// testErrors calls what the methods refuse.
func testErrors(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	t.Run("what a unary method refuses is the server's typed error", func(t *testing.T) {
		_, err := largeResponse.Call(t.Context(), c, SizeParams{Size: -1})
		e := remote(t, err, "ValueError")
		equal(t, e.ServerID, "client-worker")
		equal(t, e.Code.Valid(), true)
	})
	t.Run("what a producer refuses when it is opened is the server's typed error", func(t *testing.T) {
		s, err := producerSequence.Open(t.Context(), c, SequenceParams{Count: -1})
		noError(t, err)
		for _, e := range s.All() {
			err = e
		}
		remote(t, err, "ValueError")
	})
	t.Run("a method that the protocol does not have is an error of that kind", func(t *testing.T) {
		missing := vgirpc.NewUnary[vgirpc.None, vgirpc.None](vgirpc.NewProtocol(service.Name(), ""), "no_such_method")
		_, err := missing.Call(t.Context(), c, vgirpc.None{})
		e := remote(t, err, "MethodNotImplementedError")
		equal(t, []any{e.Kind, e.Code}, []any{vgirpc.KindMethodNotImplemented, vgirpc.Unimplemented})
	})
	t.Run("a session method without sessions is the server's typed error", func(t *testing.T) {
		_, err := incrementSession.Call(t.Context(), c, ByParams{By: 1})
		remote(t, err, "RuntimeError")
	})
}
