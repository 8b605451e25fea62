package shm

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// watched watches a segment.
type watched struct {
	vgirpc.SharedMemory
	t *testing.T
}

// Close checks that nothing was left in the segment by a connection in order.
func (c watched) Close() error {
	if owner, ok := c.SharedMemory.(*Owner); ok && owner.Err() == nil {
		if err := owner.Begin(); err != nil {
			c.t.Errorf("freeing what the last call left: %v", err)
		}
		if left, err := owner.Segment().Regions(); err != nil || len(left) > 0 {
			c.t.Errorf("regions %v, %v", left, err)
		}
	}
	return c.SharedMemory.Close()
}

// watching watches what a client negotiates.
type watching struct {
	vgirpc.SharedMemoryClient
	t *testing.T
}

// Negotiate wraps the memory, if there is any: here there always is.
func (w watching) Negotiate(link vgirpc.CapabilityLink) (vgirpc.SharedMemory, error) {
	memory, err := w.SharedMemoryClient.Negotiate(link)
	if err != nil {
		w.t.Errorf("negotiation: %v", err)
		return nil, err
	}
	return watched{memory, w.t}, nil
}

func TestEveryCallGoesThroughSharedMemory(t *testing.T) {
	for name, opts := range map[string]OwnerOptions{"with a name": {Named: true}, "without one": {Anonymous: true}} {
		t.Run(name, func(t *testing.T) { everyCall(t, opts) })
	}
}

func everyCall(t *testing.T, owner OwnerOptions) {
	all := Options{MinBatchBytes: -1}
	owner.Options, owner.Size = all, 1<<20
	vgitest.TestTransport(t, func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		noError(t, err)
		noError(t, s.Configure(func(o *vgirpc.ServerOptions) { o.SharedMemory = Serve(all) }))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.Serve(t.Context(), l)
		}()
		t.Cleanup(func() {
			_ = l.Close()
			<-done
		})
		opts.SharedMemory = watching{Client(owner), t}
		c, err := vgirpc.DialUnix(t.Context(), path, opts)
		noError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	})
}
