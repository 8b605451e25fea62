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

func TestEveryCallGoesThroughSharedMemory(t *testing.T) {
	all := Options{MinBatchBytes: -1}
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
		create := Client(OwnerOptions{Options: all, Size: 1 << 20})
		opts.SharedMemory = func() (vgirpc.SharedMemory, error) {
			memory, err := create()
			return watched{memory, t}, err
		}
		c, err := vgirpc.DialUnix(t.Context(), path, opts)
		noError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	})
}
