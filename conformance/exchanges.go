package conformance

import (
	"context"
	"slices"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func hostExchanges(s *vgirpc.Server) {
	vgirpc.HandleBatchExchange(s, ExchangeScale, func(_ context.Context, p FactorParams) (*scale, error) {
		return &scale{Factor: p.Factor}, nil
	})
	vgirpc.HandleBatchExchange(s, ExchangeCastCompatible, func(context.Context, vgirpc.None) (*scale, error) {
		return &scale{Factor: 1}, nil
	})
	vgirpc.HandleBatchExchange(s, ExchangeErrorOnInit, func(context.Context, vgirpc.None) (*scale, error) {
		return nil, raise(runtimeError, "intentional exchange init error")
	})
	vgirpc.HandleBatchExchange(s, ExchangeAccumulate, func(context.Context, vgirpc.None) (*accumulator, error) {
		return &accumulator{}, nil
	})
	vgirpc.HandleBatchExchange(s, ExchangeWithLogs, func(context.Context, vgirpc.None) (*loggingEcho, error) {
		return &loggingEcho{}, nil
	})
	vgirpc.HandleBatchExchange(s, ExchangeErrorOnNth, func(_ context.Context, p FailOnParams) (*failingEcho, error) {
		return &failingEcho{FailOn: p.FailOn}, nil
	})
	vgirpc.HandleBatchExchange(s, ExchangeZeroColumns, func(context.Context, vgirpc.None) (*nothing, error) {
		return &nothing{}, nil
	})
	vgirpc.HandleBatchExchange(s, ExchangeInputMetadata, func(context.Context, vgirpc.None) (*metadataReporter, error) {
		return &metadataReporter{}, nil
	})
	vgirpc.HandleBatchExchange(s, ExchangeOversized, func(_ context.Context, p RowsParams) (*oversized, error) {
		rows, err := made(p.RowsPerBatch, counterRowBytes)
		return &oversized{Rows: rows}, err
	})
}

// scale multiplies a column by a factor. It works on the column's memory, and
// nulls stay null.
type scale struct {
	Factor float64

	out  []float64      `vgi:"-"`
	cols [1]wire.Column `vgi:"-"`
}

// ExchangeBatch answers with the input times the factor.
func (s *scale) ExchangeBatch(_ context.Context, in *wire.Batch, out *vgirpc.Emitter[FloatRow]) error {
	values := wire.Values[float64](&in.Cols[0])
	if cap(s.out) < len(values) {
		s.out = make([]float64, len(values))
	}
	scaled := s.out[:len(values)]
	for i, v := range values {
		scaled[i] = v * s.Factor
	}
	s.cols[0] = in.Cols[0]
	s.cols[0].Data = wire.Bytes(scaled)
	return out.EmitBatch(&wire.Batch{Rows: in.Rows, Cols: s.cols[:]})
}

// send answers with the columns of the input, without its metadata.
func send[Row any](out *vgirpc.Emitter[Row], in *wire.Batch) error {
	return out.EmitBatch(&wire.Batch{Rows: in.Rows, Cols: in.Cols})
}

// accumulator adds up all that it was sent.
type accumulator struct {
	Sum   float64
	Count int64
}

// ExchangeBatch answers with the sum and the number of inputs up to now.
func (a *accumulator) ExchangeBatch(_ context.Context, in *wire.Batch, out *vgirpc.Emitter[SumRow]) error {
	a.Sum += sum[float64](&in.Cols[0])
	a.Count++
	return out.Emit(SumRow{a.Sum, a.Count})
}

// sum adds up the values of a column that are not null.
func sum[T int64 | float64](c *wire.Column) T {
	var total T
	for i, v := range wire.Values[T](c) {
		if !c.IsNull(i) {
			total += v
		}
	}
	return total
}

// loggingEcho sends back what it is sent and logs to its caller.
type loggingEcho struct{}

// ExchangeBatch logs and answers with the input.
func (*loggingEcho) ExchangeBatch(ctx context.Context, in *wire.Batch, out *vgirpc.Emitter[FloatRow]) error {
	call := vgirpc.CallFrom(ctx)
	call.Log(vgirpc.LevelInfo, "exchange processing")
	call.Log(vgirpc.LevelDebug, "exchange debug")
	return send(out, in)
}

// failingEcho sends back what it is sent, and fails at input FailOn, counted
// from 1.
type failingEcho struct{ FailOn, Count int64 }

// ExchangeBatch answers with the input or fails.
func (f *failingEcho) ExchangeBatch(_ context.Context, in *wire.Batch, out *vgirpc.Emitter[FloatRow]) error {
	if f.Count++; f.Count >= f.FailOn {
		return raise(runtimeError, "intentional error on exchange %d", f.Count)
	}
	return send(out, in)
}

// nothing answers batches without columns with such batches.
type nothing struct{}

// ExchangeBatch answers with a batch without columns and rows.
func (*nothing) ExchangeBatch(_ context.Context, _ *wire.Batch, out *vgirpc.Emitter[vgirpc.None]) error {
	return out.EmitBatch(&wire.Batch{})
}

// metadataReporter tells what metadata each input had.
type metadataReporter struct{}

// inputKey is the metadata key whose value metadataReporter reports.
const inputKey = "vgi.conformance.input"

// ExchangeBatch reports on the input.
func (*metadataReporter) ExchangeBatch(ctx context.Context, _ *wire.Batch, out *vgirpc.Emitter[MetadataRow]) error {
	meta := vgirpc.CallFrom(ctx).InputMetadata()
	keys := make([]string, len(meta))
	for i, pair := range meta {
		keys[i] = printable(pair.Key)
	}
	slices.Sort(keys)
	return out.Emit(MetadataRow{printable(meta.Value(inputKey)), strings.Join(slices.Compact(keys), ",")})
}

// oversized answers anything with Rows rows.
type oversized struct {
	Rows int

	rows []CounterRow `vgi:"-"`
}

// ExchangeBatch answers with a large batch.
func (o *oversized) ExchangeBatch(_ context.Context, _ *wire.Batch, out *vgirpc.Emitter[CounterRow]) error {
	o.rows = countFrom(o.rows, 0, o.Rows)
	return out.EmitRows(o.rows)
}
