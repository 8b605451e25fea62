package shm

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// The protocol of a server that answers with what it was sent.
type blobParams struct {
	Data []byte `vgi:"data,borrow"`
}

type blob struct {
	Data []byte `vgi:"data"`
}

// mirror answers an input with itself.
type mirror struct{ inside func(p []byte) bool }

// ExchangeBatch sends the batch on.
func (m *mirror) ExchangeBatch(_ context.Context, in *wire.Batch, out *vgirpc.Emitter[blob]) error {
	if !m.inside(in.Cols[0].Data) {
		return vgirpc.Errorf(vgirpc.Internal, "the input was copied")
	}
	return out.Emit(blob{Data: bytes.Clone(in.Cols[0].Data)})
}

// holds reports whether p lies in the memory of a segment.
func (s *Segment) holds(p []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, base := uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(unsafe.Pointer(unsafe.SliceData(s.mem)))
	return at >= base && at-base+uintptr(len(p)) <= uintptr(len(s.mem))
}

// mappings counts the anonymous segments that this process has mapped.
func mappings(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	noError(t, err)
	return strings.Count(string(maps), "/memfd:"+vgirpc.MemoryName)
}

// serverOf is a server with shared memory, and whether bytes lie in that of the last
// connection.
func serverOf(t *testing.T, opts Options, p *vgirpc.Protocol) (s *vgirpc.Server, inside func([]byte) bool) {
	t.Helper()
	var guest atomic.Pointer[Guest]
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Logger: slog.New(slog.DiscardHandler),
		SharedMemory: func(peer *vgirpc.Peer) (vgirpc.SharedMemory, error) {
			m, err := Serve(opts)(peer)
			guest.Store(m.(*Guest))
			return m, err
		},
	}, p)
	noError(t, err)
	return s, func(b []byte) bool { return guest.Load().Segment().holds(b) }
}

func TestNobodyCopiesWhereBothSidesAskForThat(t *testing.T) {
	opts := Options{MinBatchBytes: -1, ZeroCopy: true}
	p := vgirpc.NewProtocol("test.Blobs.v1", "1.0.0")
	send := vgirpc.NewUnary[blobParams, []byte](p, "send")
	echo := vgirpc.NewExchange[vgirpc.None, blob, blob](p, "echo")

	s, inside := serverOf(t, opts, p)
	vgirpc.HandleUnary(s, send, func(_ context.Context, p blobParams) ([]byte, error) {
		if !inside(p.Data) {
			return nil, vgirpc.Errorf(vgirpc.Internal, "the parameter was copied")
		}
		return p.Data, nil // written from where it lies
	})
	vgirpc.HandleBatchExchange(s, echo, func(context.Context, vgirpc.None) (*mirror, error) { return &mirror{inside}, nil })

	n := &negotiated{SharedMemoryClient: Client(OwnerOptions{Options: opts})}
	before := mappings(t)
	t.Run("calls", func(t *testing.T) {
		client, err := vgirpc.DialUnix(t.Context(), serveUnix(t, s), vgirpc.ClientOptions{SharedMemory: n})
		noError(t, err)
		t.Cleanup(func() { _ = client.Close() })
		data := []byte(strings.Repeat("columns", 1<<15))
		got, err := send.Call(t.Context(), client, blobParams{data})
		noError(t, err)
		owner := n.all[0]
		equal(t, []bool{string(got) == string(data), owner.seg.holds(got)}, []bool{true, false}) // decoded: a copy

		params := batch(t, oneBinary("data", data))
		for range 8 {
			b, release, err := client.CallBatch(t.Context(), send.Method, params)
			noError(t, err)
			equal(t, []bool{owner.seg.holds(b.Cols[0].Data), bytes.Equal(b.Cols[0].Data, data)}, []bool{true, true})
			release()
		}
		stream, err := echo.Open(t.Context(), client, vgirpc.None{})
		noError(t, err)
		for range 8 {
			b, err := stream.ExchangeBatch(t.Context(), params)
			noError(t, err)
			equal(t, []bool{owner.seg.holds(b.Cols[0].Data), bytes.Equal(b.Cols[0].Data, data)}, []bool{true, true})
		}
		noError(t, stream.Close())
		noError(t, owner.Begin())
		equal(t, regionsOf(t, owner.seg), 0) // whatever was released is free

		b, release, err := client.CallBatch(t.Context(), send.Method, params)
		noError(t, err)
		noError(t, client.Close())
		equal(t, bytes.Equal(b.Cols[0].Data, data), true) // until it is released
		equal(t, mappings(t) > before, true)
		release()
	})
	equal(t, mappings(t), before)
}

// oneBinary is one row of a column of bytes.
func oneBinary(name string, value []byte) arrow.RecordBatch {
	return build([]arrow.Field{{Name: name, Type: arrow.BinaryTypes.Binary}}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.BinaryBuilder).Append(value)
	})
}
