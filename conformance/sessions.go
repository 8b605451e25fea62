package conformance

import (
	"context"
	"io"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func hostSessions(s *vgirpc.Server) {
	vgirpc.HandleUnary(s, OpenCounter, func(ctx context.Context, p InitialParams) (int64, error) {
		return p.Initial, httpserver.OpenSession(ctx, &stickyCounter{p.Initial}, 0)
	})
	vgirpc.HandleUnary(s, IncrementCounter, func(ctx context.Context, p ByParams) (int64, error) {
		return increment(ctx, p.By)
	})
	vgirpc.HandleUnary(s, CloseCounter, func(ctx context.Context, _ vgirpc.None) (int64, error) {
		value, err := increment(ctx, 0)
		if err != nil {
			return 0, err
		}
		return value, httpserver.CloseSession(ctx)
	})
	vgirpc.HandleProducer(s, StreamSessionCounter, func(_ context.Context, p CountParams) (*sessionCounter, error) {
		return &sessionCounter{Count: p.Count}, nil
	})
	vgirpc.HandleBatchExchange(s, ExchangeSessionCounter, func(context.Context, vgirpc.None) (*sessionAdder, error) {
		return &sessionAdder{}, nil
	})
}

// stickyCounter is the state of a sticky session. Calls of one session come one after
// the other.
type stickyCounter struct{ value int64 }

// increment adds to the counter that the caller's sticky session holds, and
// returns its new value. On a byte stream no request is bound to one.
func increment(ctx context.Context, by int64) (int64, error) {
	c, ok := httpserver.Session(ctx).(*stickyCounter)
	if !ok {
		return 0, raise(runtimeError, "no sticky counter bound to this request")
	}
	c.value += by
	return c.value, nil
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
