package main

import (
	"context"
	"io"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// The contract: what a client needs to know. Field tags name the columns on the
// wire.
type (
	// AddParams are the parameters of add.
	AddParams struct {
		A float64 `vgi:"a"`
		B float64 `vgi:"b"`
	}
	// CountParams are the parameters of count.
	CountParams struct {
		N int64 `vgi:"n"`
	}
	// CountRow is one row that count sends.
	CountRow struct {
		Number int64 `vgi:"number"`
		Square int64 `vgi:"square"`
	}
	// ScaleParams are the parameters of scale.
	ScaleParams struct {
		Factor float64 `vgi:"factor"`
	}
	// ScaleRow is one row that scale takes, and one that it answers with.
	ScaleRow struct {
		Value float64 `vgi:"value"`
	}
)

// A protocol has a name, a version, and methods of three kinds: a unary method
// answers once, a producer sends batches of rows until it is done, an exchange
// answers each batch that it is sent.
var (
	Calc  = vgirpc.NewProtocol("demo.Calc", "1.0.0")
	Add   = vgirpc.NewUnary[AddParams, float64](Calc, "add")
	Count = vgirpc.NewProducer[CountParams, CountRow](Calc, "count")
	Scale = vgirpc.NewExchange[ScaleParams, ScaleRow, ScaleRow](Calc, "scale")
)

// demo serves the protocol. A worker of your own looks like this, with worker.Main
// at the end of its main function.
func demo() error {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, Calc)
	if err != nil {
		return err
	}
	vgirpc.HandleUnary(server, Add, func(_ context.Context, p AddParams) (float64, error) {
		return p.A + p.B, nil
	})
	vgirpc.HandleProducer(server, Count, func(_ context.Context, p CountParams) (*counter, error) {
		if p.N < 0 {
			return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "n is %d: want 0 or more", p.N)
		}
		return &counter{N: p.N}, nil
	})
	vgirpc.HandleExchange(server, Scale, func(_ context.Context, p ScaleParams) (*scaler, error) {
		return &scaler{p.Factor}, nil
	})
	worker.Main(server)
	return nil
}

// counter is an open stream of count: what it remembers between two batches.
type counter struct{ N, At int64 }

// batchRows is how many rows counter sends at once.
const batchRows = 1000

// Produce sends the next rows.
func (c *counter) Produce(ctx context.Context, out *vgirpc.Emitter[CountRow]) error {
	if c.At >= c.N {
		return io.EOF
	}
	rows := make([]CountRow, 0, min(batchRows, c.N-c.At))
	for len(rows) < cap(rows) {
		c.At++
		rows = append(rows, CountRow{Number: c.At, Square: c.At * c.At})
	}
	vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "counting", "sent", c.At, "of", c.N)
	return out.EmitRows(rows)
}

// scaler is an open stream of scale.
type scaler struct{ Factor float64 }

// Exchange answers the rows of one batch.
func (s *scaler) Exchange(_ context.Context, in []ScaleRow, out *vgirpc.Emitter[ScaleRow]) error {
	for i := range in {
		in[i].Value *= s.Factor
	}
	return out.EmitRows(in)
}
