package vgirpc

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/cast"
	"github.com/vgirpc/vgirpc-go/wire"
	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// ProducerState is one open producer stream: whatever it remembers between its
// turns.
type ProducerState[Row any] interface {
	// Produce sends the next batch through out. It returns io.EOF, with or
	// without having sent a last batch, when the stream is at its end.
	Produce(ctx context.Context, out *Emitter[Row]) error
}

// ExchangeState is one open exchange stream that takes its input as rows.
type ExchangeState[In, Out any] interface {
	// Exchange answers the rows of one input batch with exactly one batch.
	Exchange(ctx context.Context, in []In, out *Emitter[Out]) error
}

// BatchExchangeState is one open exchange stream that takes its input as a
// batch. The batch is borrowed for the turn; its columns are the declared ones.
type BatchExchangeState[Out any] interface {
	// ExchangeBatch answers one input batch with exactly one batch.
	ExchangeBatch(ctx context.Context, in *wire.Batch, out *Emitter[Out]) error
}

// Canceler is implemented by states that want to know when the caller cancels
// the stream.
type Canceler interface {
	// OnCancel runs once, in place of a turn.
	OnCancel(ctx context.Context)
}

// Rehydrator is implemented by states that hold something that cannot be
// stored, a database handle for instance.
type Rehydrator interface {
	// Rehydrate runs before the first turn after the state was decoded from
	// its stored form.
	Rehydrate(ctx context.Context) error
}

// Emitter sends the one batch of a turn. It is valid until the turn returns.
type Emitter[Row any] struct{ d *Dispatch }

// Emit sends rows as this turn's batch. The rows are encoded before Emit
// returns, apart from single large values, which must stay unchanged until the
// turn is over.
func (e *Emitter[Row]) Emit(rows ...Row) error { return e.EmitRows(rows) }

// EmitRows is [Emitter.Emit] for a slice.
func (e *Emitter[Row]) EmitRows(rows []Row) error {
	if err := e.d.free(); err != nil {
		return err
	}
	plan := e.d.call.method.output
	if plan == nil {
		return Errorf(Internal, "%s has a Dynamic output: send batches or records", e.d.call.method)
	}
	if err := encodeRows(plan, &e.d.reply.enc, rows, &e.d.reply.data); err != nil {
		return err
	}
	e.d.sent()
	return nil
}

// EmitRecord sends an arrow-go record as this turn's batch, without copying it
// where it has the stream's schema; else its columns are picked by name and
// cast without loss. The record must live until the turn is over.
func (e *Emitter[Row]) EmitRecord(rec arrow.RecordBatch) error {
	if err := e.d.free(); err != nil {
		return err
	}
	schema := e.d.call.output
	fit, err := cast.Output(rec, schema.Arrow())
	if err != nil {
		return err
	}
	b, err := wire.NewBatch(schema, fit, nil)
	if err != nil {
		return err
	}
	e.d.reply.data = *b
	if err := e.d.checkNulls(); err != nil {
		return err
	}
	e.d.sent()
	return nil
}

// EmitBatch sends the columns of a batch as this turn's batch. They must be those
// of the stream's schema and live until the turn is over. The batch's own
// metadata stays behind, so that an input can be passed on: what is to be sent
// along is set with [Emitter.SetMetadata].
func (e *Emitter[Row]) EmitBatch(b *wire.Batch) error {
	if err := e.d.free(); err != nil {
		return err
	}
	schema := e.d.call.output
	if b.Schema != nil && b.Schema != schema {
		rec, err := b.Record()
		if err != nil {
			return err
		}
		defer rec.Release()
		return e.EmitRecord(rec)
	}
	if len(b.Cols) != schema.NumFields() {
		return Errorf(Internal, "batch of %d columns on a schema of %d", len(b.Cols), schema.NumFields())
	}
	e.d.reply.data = *b
	e.d.reply.data.Schema = schema
	if err := e.d.checkNulls(); err != nil {
		return err
	}
	e.d.sent()
	return nil
}

// SetMetadata attaches custom metadata to this turn's batch, sent or to come.
func (e *Emitter[Row]) SetMetadata(key, value string) {
	e.d.call.outMeta = append(e.d.call.outMeta, wire.Pair{Key: key, Value: value})
	if e.d.reply.has {
		e.d.reply.data.Meta = e.d.call.outMeta
	}
}

// Schema is the schema of the stream's output.
func (e *Emitter[Row]) Schema() *wire.Schema { return e.d.call.output }

// free reports that the turn's batch was sent already.
func (d *Dispatch) free() error {
	if d.reply.has {
		return Errorf(Internal, "%s sent a second batch in one turn: a turn sends at most one", d.call.method)
	}
	return nil
}

// checkNulls reports a null where the stream's schema declares none.
func (d *Dispatch) checkNulls() error {
	for i := range d.reply.data.Cols {
		nulls := d.reply.data.Cols[i].Nulls
		if nulls == 0 {
			continue
		}
		if f := d.call.output.Arrow().Field(i); !f.Nullable {
			return schemaMismatch(fmt.Sprintf("output of %s: column %s has %d nulls, but is declared without", d.call.method, f.Name, nulls))
		}
	}
	return nil
}

// sent marks the reply's data as set and gives it the turn's metadata.
func (d *Dispatch) sent() {
	d.reply.has = true
	d.reply.data.Meta = d.call.outMeta
}

// producing is an open producer stream.
type producing[Row any] struct {
	s   ProducerState[Row]
	out Emitter[Row]
}

func (p *producing[Row]) turn(ctx context.Context, d *Dispatch, in *wire.Batch) error {
	if in.Schema.NumFields() > 0 {
		return schemaMismatch("a producer's tick has no columns; received " + in.Schema.Arrow().String())
	}
	p.out.d = d
	return p.s.Produce(ctx, &p.out)
}

func (p *producing[Row]) onCancel(ctx context.Context) { cancelState(ctx, p.s) }
func (p *producing[Row]) state() any                   { return p.s }

// exchanging is an open exchange stream that takes rows.
type exchanging[In, Out any] struct {
	s    ExchangeState[In, Out]
	out  Emitter[Out]
	rows []In
}

// keepRows is the largest input, in rows, whose memory an exchange keeps
// between turns.
const keepRows = 64 << 10

func (x *exchanging[In, Out]) turn(ctx context.Context, d *Dispatch, in *wire.Batch) error {
	in, err := d.conform(in)
	if err != nil {
		return err
	}
	plan := d.call.method.input
	if err := plan.RowsBound(in); err != nil {
		return err
	}
	if cap(x.rows) < in.Rows {
		x.rows = make([]In, in.Rows)
	}
	rows := x.rows[:in.Rows]
	if in.Rows > keepRows {
		x.rows = nil
	}
	clear(rows)
	if err := decodeRows(plan, in, rows); err != nil {
		return err
	}
	x.out.d = d
	return x.s.Exchange(ctx, rows, &x.out)
}

func (x *exchanging[In, Out]) onCancel(ctx context.Context) { cancelState(ctx, x.s) }
func (x *exchanging[In, Out]) state() any                   { return x.s }

// exchangingBatches is an open exchange stream that takes batches.
type exchangingBatches[Out any] struct {
	s   BatchExchangeState[Out]
	out Emitter[Out]
}

func (x *exchangingBatches[Out]) turn(ctx context.Context, d *Dispatch, in *wire.Batch) error {
	in, err := d.conform(in)
	if err != nil {
		return err
	}
	x.out.d = d
	return x.s.ExchangeBatch(ctx, in, &x.out)
}

func (x *exchangingBatches[Out]) onCancel(ctx context.Context) { cancelState(ctx, x.s) }
func (x *exchangingBatches[Out]) state() any                   { return x.s }

func cancelState(ctx context.Context, s any) {
	if c, ok := s.(Canceler); ok {
		c.OnCancel(ctx)
	}
}

// conform returns an input batch in the declared input schema: as it is when its
// columns are the declared ones, else reordered and cast without loss.
func (d *Dispatch) conform(in *wire.Batch) (*wire.Batch, error) {
	plan := d.call.method.input
	if plan == nil || in.Schema == plan.Schema() {
		return in, nil
	}
	want := plan.Schema()
	if in.Schema == d.handler.fits.Load() || sameColumns(in.Schema.Arrow(), want.Arrow()) {
		d.handler.fits.Store(in.Schema)
		return in, inputNulls(in, want.Arrow())
	}
	if err := cast.Compatible(in.Schema.Arrow(), want.Arrow()); err != nil {
		return nil, schemaMismatch(err.Error())
	}
	rec, err := in.Record()
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	fit, err := cast.Record(rec, want.Arrow())
	if err != nil {
		return nil, asTypeError(err)
	}
	out, err := wire.NewBatch(want, fit, in.Meta)
	if err != nil {
		return nil, err
	}
	out.Owned = true // made by the cast, or kept alive with it
	return out, nil
}

// sameColumns reports whether two schemas have the same columns in the same
// order, whatever they say of nulls at the top.
func sameColumns(a, b *arrow.Schema) bool {
	return slices.EqualFunc(a.Fields(), b.Fields(), func(x, y arrow.Field) bool {
		return x.Name == y.Name && schemacmp.EqualTypes(x.Type, y.Type)
	})
}

// inputNulls reports a null in a column that is declared without.
func inputNulls(in *wire.Batch, want *arrow.Schema) error {
	for i := range in.Cols {
		if f := want.Field(i); in.Cols[i].Nulls > 0 && !f.Nullable {
			return schemaMismatch(fmt.Sprintf("Input value mismatch: column %s has %d nulls, but is declared without", f.Name, in.Cols[i].Nulls))
		}
	}
	return nil
}

func schemaMismatch(text string) *Error {
	return &Error{Code: InvalidArgument, Type: "TypeError", Message: text}
}

func asTypeError(err error) *Error {
	return &Error{Code: InvalidArgument, Type: "TypeError", Message: err.Error(), Cause: err}
}
