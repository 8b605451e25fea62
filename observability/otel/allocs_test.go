//go:build !race

// Under the race detector pools forget.

package otel_test

import (
	"context"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// silent is an observer that does nothing.
type silent struct{}

// CallStarted does nothing.
func (silent) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

// CallEnded does nothing.
func (silent) CallEnded(context.Context, *vgirpc.Call, *vgirpc.CallEnd) {}

func TestMetricsTakeNoMemoryForACall(t *testing.T) {
	measure := func(server vgirpc.ServerOptions) float64 {
		c := vgitest.NewContract()
		conn := overPipe(t, vgitest.NewServer(t, c, server), vgirpc.ClientOptions{})
		return testing.AllocsPerRun(200, func() {
			if _, err := c.Add.Call(t.Context(), conn, vgitest.AddParams{}); err != nil {
				t.Fatal(err)
			}
		})
	}
	r := newTelemetry(t)
	opts := r.options()
	opts.NoTraces = true
	off := measure(vgirpc.ServerOptions{Observers: []vgirpc.Observer{silent{}}})
	on := measure(vgirpc.ServerOptions{Observers: []vgirpc.Observer{newObserver(t, opts)}})
	if on > off {
		t.Errorf("a call takes %v allocations with an observer that does nothing, and %v with metrics", off, on)
	}
}
