package vgitest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// AddParams are the parameters of add.
type AddParams struct {
	A float64 `vgi:"a"`
	B float64 `vgi:"b"`
}

// CountParams are the parameters of count and headed; a negative N is refused.
type CountParams struct {
	N int64 `vgi:"n"`
}

// Number is the row of every stream.
type Number struct {
	Value int64 `vgi:"value"`
}

// Header begins a headed stream.
type Header struct {
	Total int64  `vgi:"total"`
	Note  string `vgi:"note"`
}

// TextParams are the parameters of echo and fail.
type TextParams struct {
	Text string `vgi:"text"`
}

// Contract is a protocol with a method of each kind. Each value has a protocol
// of its own, so that tests can run at once.
type Contract struct {
	Protocol *vgirpc.Protocol
	Add      *vgirpc.Unary[AddParams, float64]
	Echo     *vgirpc.Unary[TextParams, string]
	Fail     *vgirpc.Unary[TextParams, vgirpc.None]
	Count    *vgirpc.Producer[CountParams, Number]
	Headed   *vgirpc.HeaderProducer[CountParams, Header, Number]
	Sum      *vgirpc.Exchange[vgirpc.None, Number, Number]
}

// NewContract returns the contract test.Calc.v1, version 1.2.3.
func NewContract() *Contract {
	p := vgirpc.NewProtocol("test.Calc.v1", "1.2.3")
	return &Contract{
		Protocol: p,
		Add:      vgirpc.NewUnary[AddParams, float64](p, "add"),
		Echo:     vgirpc.NewUnary[TextParams, string](p, "echo"),
		Fail:     vgirpc.NewUnary[TextParams, vgirpc.None](p, "fail"),
		Count:    vgirpc.NewProducer[CountParams, Number](p, "count"),
		Headed:   vgirpc.NewHeaderProducer[CountParams, Header, Number](p, "headed"),
		Sum:      vgirpc.NewExchange[vgirpc.None, Number, Number](p, "sum"),
	}
}

// counter counts to N.
type counter struct{ N, At int64 }

// Produce sends the next number.
func (c *counter) Produce(ctx context.Context, out *vgirpc.Emitter[Number]) error {
	if c.At >= c.N {
		return io.EOF
	}
	if c.At == 1 {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "one done", "at", c.At)
	}
	c.At++
	return out.Emit(Number{c.At})
}

// summer adds up what it is sent.
type summer struct{ Sum int64 }

// Exchange answers with the sum of everything so far.
func (s *summer) Exchange(_ context.Context, in []Number, out *vgirpc.Emitter[Number]) error {
	for _, n := range in {
		if n.Value < 0 {
			return vgirpc.Errorf(vgirpc.OutOfRange, "negative").WithKind("negative")
		}
		s.Sum += n.Value
	}
	return out.Emit(Number{s.Sum})
}

// OnCancel counts, where a test wants it to.
func (s *summer) OnCancel(ctx context.Context) {
	if probe, ok := ctx.Value(cancelKey{}).(*atomic.Int64); ok {
		probe.Add(1)
	}
}

// cancelKey finds the counter of [WithCancelProbe].
type cancelKey struct{}

// WithCancelProbe returns a context in which OnCancel of the sum stream counts
// its runs.
func WithCancelProbe(ctx context.Context, count *atomic.Int64) context.Context {
	return context.WithValue(ctx, cancelKey{}, count)
}

// NewServer is [Contract.NewServer] for a test.
func NewServer(tb testing.TB, c *Contract, opts vgirpc.ServerOptions) *vgirpc.Server {
	tb.Helper()
	s, err := c.NewServer(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// NewServer returns a server with handlers for c. The message "panic" makes fail
// panic.
func (c *Contract) NewServer(opts vgirpc.ServerOptions) (*vgirpc.Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler) // the tests make calls fail on purpose
	}
	s, err := vgirpc.NewServer(opts, c.Protocol)
	if err != nil {
		return nil, err
	}
	vgirpc.HandleUnary(s, c.Add, func(_ context.Context, p AddParams) (float64, error) { return p.A + p.B, nil })
	vgirpc.HandleUnary(s, c.Echo, func(ctx context.Context, p TextParams) (string, error) {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelDebug, "echoing", "length", len(p.Text))
		return p.Text, nil
	})
	vgirpc.HandleUnary(s, c.Fail, func(_ context.Context, p TextParams) (vgirpc.None, error) {
		if p.Text == "panic" {
			panic("on purpose") //nolint:forbidigo // a handler of the contract that panics
		}
		return vgirpc.None{}, vgirpc.Errorf(vgirpc.NotFound, "no %s", p.Text).WithKind("missing").
			WithDetails(vgirpc.ResourceInfo{ResourceName: p.Text})
	})
	vgirpc.HandleProducer(s, c.Count, func(_ context.Context, p CountParams) (*counter, error) {
		if p.N < 0 {
			return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "n is %d: want 0 or more", p.N)
		}
		return &counter{N: p.N}, nil
	})
	vgirpc.HandleHeaderProducer(s, c.Headed, func(ctx context.Context, p CountParams) (*counter, Header, error) {
		if p.N < 0 {
			return nil, Header{}, errors.New("no header today")
		}
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "opening")
		return &counter{N: p.N}, Header{p.N, "so many"}, nil
	})
	vgirpc.HandleExchange(s, c.Sum, func(context.Context, vgirpc.None) (*summer, error) { return &summer{}, nil })
	return s, nil
}
