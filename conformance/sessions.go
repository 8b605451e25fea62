package conformance

import (
	"context"
	"io"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func hostSessions(s *vgirpc.Server) {
	vgirpc.HandleUnary(s, OpenCounter, func(context.Context, InitialParams) (int64, error) {
		return 0, raise(runtimeError, "open_counter needs sticky sessions, which this transport does not have")
	})
	vgirpc.HandleUnary(s, IncrementCounter, func(ctx context.Context, p ByParams) (int64, error) {
		return increment(ctx, p.By)
	})
	vgirpc.HandleUnary(s, CloseCounter, func(ctx context.Context, _ vgirpc.None) (int64, error) {
		return increment(ctx, 0)
	})
	vgirpc.HandleProducer(s, StreamSessionCounter, func(_ context.Context, p CountParams) (*sessionCounter, error) {
		return &sessionCounter{Count: p.Count}, nil
	})
	vgirpc.HandleBatchExchange(s, ExchangeSessionCounter, func(context.Context, vgirpc.None) (*sessionAdder, error) {
		return &sessionAdder{}, nil
	})
}

// increment adds to the counter that the caller's sticky session holds, and
// returns its new value. Sticky sessions belong to HTTP: on a byte stream no
// request is bound to one.
func increment(context.Context, int64) (int64, error) {
	return 0, raise(runtimeError, "no sticky counter bound to this request")
}

// sessionCounter increases the session's counter Count times.
type sessionCounter struct{ Count, Current int64 }

// Produce increases the counter and sends its value.
func (c *sessionCounter) Produce(ctx context.Context, out *vgirpc.Emitter[IntRow]) error {
	if c.Current >= c.Count {
		return io.EOF
	}
	c.Current++
	value, err := increment(ctx, 1)
	if err != nil {
		return err
	}
	return out.Emit(IntRow{value})
}

// sessionAdder adds what it is sent to the session's counter.
type sessionAdder struct{}

// ExchangeBatch adds the input and answers with the counter's value.
func (*sessionAdder) ExchangeBatch(ctx context.Context, in *wire.Batch, out *vgirpc.Emitter[IntRow]) error {
	value, err := increment(ctx, sum[int64](&in.Cols[0]))
	if err != nil {
		return err
	}
	return out.Emit(IntRow{value})
}
