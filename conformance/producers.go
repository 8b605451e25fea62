package conformance

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func hostProducers(s *vgirpc.Server) {
	vgirpc.HandleProducer(s, ProduceN, func(_ context.Context, p CountParams) (*counter, error) {
		return &counter{Count: p.Count}, nil
	})
	vgirpc.HandleProducer(s, ProduceEmpty, func(context.Context, vgirpc.None) (*counter, error) {
		return &counter{}, nil
	})
	vgirpc.HandleProducer(s, ProduceSingle, func(context.Context, vgirpc.None) (*counter, error) {
		return &counter{Count: 1}, nil
	})
	vgirpc.HandleProducer(s, ProduceTickMetadata, func(_ context.Context, p CountParams) (*tickReporter, error) {
		return &tickReporter{Count: p.Count}, nil
	})
	vgirpc.HandleProducer(s, ProduceLargeBatches, func(_ context.Context, p LargeParams) (*largeCounter, error) {
		return newLargeCounter(p.RowsPerBatch, p.BatchCount)
	})
	vgirpc.HandleProducer(s, ProduceOversizedBatch, func(_ context.Context, p RowsParams) (*largeCounter, error) {
		return newLargeCounter(p.RowsPerBatch, 1)
	})
	vgirpc.HandleProducer(s, ProduceAnnotatedBatches, newAnnotator)
	vgirpc.HandleProducer(s, ProduceWithLogs, func(_ context.Context, p CountParams) (*loggingCounter, error) {
		return &loggingCounter{counter{Count: p.Count}}, nil
	})
	vgirpc.HandleProducer(s, ProduceErrorMidStream, func(_ context.Context, p EmitParams) (*failingCounter, error) {
		return &failingCounter{counter{Count: p.EmitBeforeError}}, nil
	})
	vgirpc.HandleProducer(s, ProduceErrorOnInit, func(context.Context, vgirpc.None) (*counter, error) {
		return nil, raise(runtimeError, "intentional init error")
	})
}

// counter sends Count batches of one row.
type counter struct{ Count, Current int64 }

// Produce sends the next number.
func (c *counter) Produce(_ context.Context, out *vgirpc.Emitter[CounterRow]) error {
	if c.Current >= c.Count {
		return io.EOF
	}
	row := CounterRow{c.Current, c.Current * 10}
	c.Current++
	return out.Emit(row)
}

// loggingCounter tells its caller of each batch before it sends it.
type loggingCounter struct{ Counter counter }

// Produce logs and sends the next number.
func (c *loggingCounter) Produce(ctx context.Context, out *vgirpc.Emitter[CounterRow]) error {
	if c.Counter.Current < c.Counter.Count {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, fmt.Sprintf("producing batch %d", c.Counter.Current))
	}
	return c.Counter.Produce(ctx, out)
}

// failingCounter fails where a counter ends.
type failingCounter struct{ Counter counter }

// Produce sends the next number or fails.
func (c *failingCounter) Produce(ctx context.Context, out *vgirpc.Emitter[CounterRow]) error {
	if err := c.Counter.Produce(ctx, out); err != io.EOF { //nolint:errorlint // ours, never wrapped
		return err
	}
	return raise(runtimeError, "intentional error after %d batches", c.Counter.Count)
}

// largeCounter sends Count batches of Rows rows.
type largeCounter struct {
	Rows           int
	Count, Current int64

	rows []CounterRow `vgi:"-"`
}

const counterRowBytes = 16

func newLargeCounter(rowsPerBatch, count int64) (*largeCounter, error) {
	rows, err := made(rowsPerBatch, counterRowBytes)
	return &largeCounter{Rows: rows, Count: count}, err
}

// Produce sends the next numbers.
func (c *largeCounter) Produce(_ context.Context, out *vgirpc.Emitter[CounterRow]) error {
	if c.Current >= c.Count {
		return io.EOF
	}
	c.rows = countFrom(c.rows, c.Current*int64(c.Rows), c.Rows)
	c.Current++
	return out.EmitRows(c.rows)
}

// countFrom returns n rows that count from start, in the memory of rows where
// there is enough.
func countFrom(rows []CounterRow, start int64, n int) []CounterRow {
	if cap(rows) < n {
		rows = make([]CounterRow, n)
	}
	rows = rows[:n]
	for i := range rows {
		index := start + int64(i)
		rows[i] = CounterRow{index, index * 10}
	}
	return rows
}

// annotator sends Count batches, each with metadata of its own.
type annotator struct {
	Rows           int
	Count, Current int64

	rows []IntRow `vgi:"-"`
}

const intRowBytes = 8

// emitLabel is not ASCII, so that metadata which passes through another
// encoding on the way is noticed.
const emitLabel = "ünïcode-λ"

func newAnnotator(_ context.Context, p AnnotatedParams) (*annotator, error) {
	rows, err := made(p.RowsPerBatch, intRowBytes)
	return &annotator{Rows: rows, Count: p.Count}, err
}

// Produce sends the next batch, whose values begin at a million for each batch
// before it.
func (a *annotator) Produce(_ context.Context, out *vgirpc.Emitter[IntRow]) error {
	if a.Current >= a.Count {
		return io.EOF
	}
	if len(a.rows) != a.Rows {
		a.rows = make([]IntRow, a.Rows)
	}
	for i := range a.rows {
		a.rows[i].Value = a.Current*1_000_000 + int64(i)
	}
	out.SetMetadata("conformance.batch_index", strconv.FormatInt(a.Current, 10))
	out.SetMetadata("conformance.batch_total", strconv.FormatInt(a.Count, 10))
	out.SetMetadata("conformance.emit_label", emitLabel)
	a.Current++
	return out.EmitRows(a.rows)
}

// tickReporter tells what metadata each tick had. It ends with its last batch,
// and sends one batch at least.
type tickReporter struct{ Count, Current int64 }

// tickKey is the metadata key that tickReporter reports.
const tickKey = "vgi.conformance.tick"

// Produce reports on this tick.
func (r *tickReporter) Produce(ctx context.Context, out *vgirpc.Emitter[TickRow]) error {
	seen := vgirpc.CallFrom(ctx).InputMetadata().Value(tickKey)
	if err := out.Emit(TickRow{r.Current, printable(seen)}); err != nil {
		return err
	}
	if r.Current++; r.Current >= r.Count {
		return io.EOF
	}
	return nil
}

// printable is metadata as text: values need not be UTF-8, a string column has
// to be.
func printable(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
