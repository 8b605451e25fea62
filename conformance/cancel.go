package conformance

import (
	"context"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func hostCancel(s *vgirpc.Server) {
	vgirpc.HandleProducer(s, CancellableProducer, func(context.Context, vgirpc.None) (*endless, error) {
		return &endless{}, nil
	})
	vgirpc.HandleBatchExchange(s, CancellableExchange, func(context.Context, vgirpc.None) (*cancellableEcho, error) {
		return &cancellableEcho{}, nil
	})
	vgirpc.HandleUnary(s, CancelProbeCounters, func(ctx context.Context, _ vgirpc.None) ([]int64, error) {
		probe, err := probeOf(ctx)
		if err != nil {
			return nil, err
		}
		counts, err := probe.Counts()
		return []int64{counts.Produced, counts.Exchanged, counts.Cancelled}, err
	})
	vgirpc.HandleUnary(s, ResetCancelProbe, func(ctx context.Context, _ vgirpc.None) (vgirpc.None, error) {
		probe, err := probeOf(ctx)
		if err != nil {
			return vgirpc.None{}, err
		}
		return vgirpc.None{}, probe.Reset()
	})
}

type probeKey struct{}

// WithCancelProbe returns a context for serving [Service]: calls whose context
// descends from it count in p.
func WithCancelProbe(ctx context.Context, p *CancelProbe) context.Context {
	return context.WithValue(ctx, probeKey{}, p)
}

func probeOf(ctx context.Context) (*CancelProbe, error) {
	p, ok := ctx.Value(probeKey{}).(*CancelProbe)
	if !ok {
		return nil, vgirpc.Errorf(vgirpc.FailedPrecondition, "no cancel probe here: serve with a context of WithCancelProbe")
	}
	return p, nil
}

// count counts one event in the probe of ctx.
func count(ctx context.Context, event func(*ProbeCounts)) error {
	p, err := probeOf(ctx)
	if err != nil {
		return err
	}
	return p.Count(event)
}

// countCancel counts a cancellation. There is nobody left to be told when that
// fails; the next look at the counters tells.
func countCancel(ctx context.Context) { _ = count(ctx, func(c *ProbeCounts) { c.Cancelled++ }) }

// endless counts for ever.
type endless struct{ Current int64 }

// Produce sends the next number.
func (e *endless) Produce(ctx context.Context, out *vgirpc.Emitter[CounterRow]) error {
	if err := count(ctx, func(c *ProbeCounts) { c.Produced++ }); err != nil {
		return err
	}
	row := CounterRow{e.Current, e.Current * 10}
	e.Current++
	return out.Emit(row)
}

// OnCancel counts the cancellation.
func (*endless) OnCancel(ctx context.Context) { countCancel(ctx) }

// cancellableEcho sends back what it is sent.
type cancellableEcho struct{}

// ExchangeBatch answers with the input.
func (*cancellableEcho) ExchangeBatch(ctx context.Context, in *wire.Batch, out *vgirpc.Emitter[FloatRow]) error {
	if err := count(ctx, func(c *ProbeCounts) { c.Exchanged++ }); err != nil {
		return err
	}
	return send(out, in)
}

// OnCancel counts the cancellation.
func (*cancellableEcho) OnCancel(ctx context.Context) { countCancel(ctx) }
