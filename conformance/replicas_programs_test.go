package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// recorder writes down what a stream sends: its header, messages, batches and
// the error that ends it, each as text and in order.
type recorder struct {
	c      *vgirpc.Client
	server func() string // which one answers
	id     string        // of every request, "" when it is not the caller's to say
	lines  []string
}

// onLog writes a message down.
func (r *recorder) onLog(t *testing.T) func(context.Context, vgirpc.LogMessage) {
	t.Helper()
	return func(_ context.Context, l vgirpc.LogMessage) {
		r.origin(t, l.ServerID, l.RequestID)
		r.lines = append(r.lines, fmt.Sprintf("log %s %s %s", l.Level, l.Message, l.Extra))
	}
}

// origin checks that a message or an error comes from the server that was asked.
func (r *recorder) origin(t *testing.T, server, request string) {
	t.Helper()
	if server != r.server() || request == "" || (r.id != "" && request != r.id) {
		t.Errorf("sent by server %q for request %q, want %q and %q", server, request, r.server(), r.id)
	}
}

// header writes a header down.
func (r *recorder) header(t *testing.T, h any) {
	t.Helper()
	line, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	r.lines = append(r.lines, "header "+string(line))
}

// batch writes a batch down, or the error in its place.
func (r *recorder) batch(t *testing.T, b *wire.Batch, err error) {
	t.Helper()
	if err == nil {
		r.lines = append(r.lines, text(t, b, nil)+" of "+b.Schema.Arrow().String())
		return
	}
	e, ok := errors.AsType[*vgirpc.Error](err)
	if !ok || !vgirpc.IsRemote(err) {
		t.Fatalf("an error that no server sent: %v", err)
	}
	r.origin(t, e.ServerID, e.RequestID)
	r.lines = append(r.lines, fmt.Sprintf("error %s|%s|%s|%s|%s", e.Type, e.Code, e.Kind, e.Message, e.RawDetails))
}

// program takes a stream of a method to its end, turn by turn.
type program struct {
	name   string
	method *vgirpc.Method
	turns  int // requests over HTTP after the opening
	run    func(t *testing.T, r *recorder)

	sessions bool // one at each place
	// want is what is to be written down. Where it is nil, it is what the
	// program gets over a pipe, from a server that never stores a stream.
	want []string
}

// sends says what p gets where no pipe can tell.
func (p program) sends(lines ...string) program {
	p.want = lines
	return p
}

// inSessions has p run in a sticky session at each place.
func (p program) inSessions() program {
	p.sessions = true
	return p
}

// toTheEnd is the length of a program that the producer ends: more batches than
// any of them sends.
const toTheEnd = 100

// produce is a program of a producer, which is cancelled after so many batches.
func produce[P, Row any](name string, turns int, m *vgirpc.Producer[P, Row], params P, batches int) program {
	return program{name: name, turns: turns, method: m.Method, run: func(t *testing.T, r *recorder) {
		t.Helper()
		if s, err := m.Open(t.Context(), r.c, params); err != nil {
			r.batch(t, nil, err)
		} else {
			drink(t, r, s, batches)
		}
	}}
}

// produceHeaded is produce for a producer with a header.
func produceHeaded[P, H, Row any](name string, turns int, m *vgirpc.HeaderProducer[P, H, Row], params P, batches int) program {
	return program{name: name, turns: turns, method: m.Method, run: func(t *testing.T, r *recorder) {
		t.Helper()
		if s, h, err := m.OpenHeader(t.Context(), r.c, params); err != nil {
			r.batch(t, nil, err)
		} else {
			r.header(t, h)
			drink(t, r, s, batches)
		}
	}}
}

// drink reads a producer.
func drink[Row any](t *testing.T, r *recorder, s *vgirpc.ProducerStream[Row], batches int) {
	t.Helper()
	for b, err := range s.Batches() {
		r.batch(t, b, err)
		if batches--; batches == 0 {
			break
		}
	}
}

// exchange is a program of an exchange of some inputs, which is cancelled after
// the last of them.
func exchange[P, In, Out any](name string, turns int, m *vgirpc.Exchange[P, In, Out], params P, inputs ...*wire.Batch) program {
	return program{name: name, turns: turns, method: m.Method, run: func(t *testing.T, r *recorder) {
		t.Helper()
		if s, err := m.Open(t.Context(), r.c, params); err != nil {
			r.batch(t, nil, err)
		} else {
			feed(t, r, s, inputs)
		}
	}}
}

// exchangeHeaded is exchange for an exchange with a header.
func exchangeHeaded[P, H, In, Out any](name string, turns int, m *vgirpc.HeaderExchange[P, H, In, Out], params P, inputs ...*wire.Batch) program {
	return program{name: name, turns: turns, method: m.Method, run: func(t *testing.T, r *recorder) {
		t.Helper()
		if s, h, err := m.OpenHeader(t.Context(), r.c, params); err != nil {
			r.batch(t, nil, err)
		} else {
			r.header(t, h)
			feed(t, r, s, inputs)
		}
	}}
}

// feed sends inputs.
func feed[In, Out any](t *testing.T, r *recorder, s *vgirpc.ExchangeStream[In, Out], inputs []*wire.Batch) {
	t.Helper()
	for i, in := range inputs {
		marked := *in
		marked.Meta = wire.Metadata{{Key: "vgi.conformance.input", Value: fmt.Sprintf("input %d", i)}}
		b, err := s.ExchangeBatch(t.Context(), &marked)
		if r.batch(t, b, err); err != nil {
			return
		}
	}
	if err := s.Cancel(); err != nil {
		t.Error(err)
	}
}

// programs are those of all stream methods, several where one cannot show all
// that a stream may come to.
func programs() []program {
	return slices.Concat(endingProducers(), otherProducers(), simpleExchanges(), otherExchanges())
}

// endingProducers are programs of producers that end. Their first batch comes
// with the opening, and their end has a request of its own.
func endingProducers() []program {
	none, three := vgirpc.None{}, conformance.CountParams{Count: 3}
	return []program{
		produce("it ends", 3, conformance.ProduceN, three, toTheEnd),
		produce("it is long", 40, conformance.ProduceN, conformance.CountParams{Count: 40}, toTheEnd),
		produce("it ends", 0, conformance.ProduceEmpty, none, toTheEnd),
		produce("it ends", 1, conformance.ProduceSingle, none, toTheEnd),
		produce("it ends", 3, conformance.ProduceLargeBatches, conformance.LargeParams{RowsPerBatch: 2000, BatchCount: 3}, toTheEnd),
		produce("it ends", 3, conformance.ProduceAnnotatedBatches, conformance.AnnotatedParams{Count: 3, RowsPerBatch: 2}, toTheEnd),
		produce("it ends", 1, conformance.ProduceOversizedBatch, conformance.RowsParams{RowsPerBatch: 5000}, toTheEnd),
		produce("it ends", 3, conformance.ProduceWithLogs, three, toTheEnd),
		produceHeaded("it ends", 3, conformance.ProduceWithHeader, three, toTheEnd),
		produceHeaded("it ends", 3, conformance.ProduceWithHeaderAndLogs, three, toTheEnd),
		produceHeaded("it ends", 3, conformance.ProduceWithRichHeader, conformance.SeedCountParams{Seed: 6, Count: 3}, toTheEnd),
		produceHeaded("all columns are chosen", 3, conformance.ProduceDynamicSchema,
			conformance.DynamicParams{Seed: 5, Count: 3, IncludeStrings: true, IncludeFloats: true}, toTheEnd),
		produceHeaded("one column is chosen", 2, conformance.ProduceDynamicSchema, conformance.DynamicParams{Count: 2}, toTheEnd),
		// This one ends with its last batch.
		produce("its ticks have metadata", 2, conformance.ProduceTickMetadata, three, toTheEnd).sends(ticked(0), ticked(1), ticked(2)),
		produce("each process has a session", 3, conformance.StreamSessionCounter, three, toTheEnd).
			inSessions().sends(counted(11), counted(21), counted(12)),
	}
}

// otherProducers are programs of producers that fail or are cancelled, which is
// a request as well.
func otherProducers() []program {
	none, three := vgirpc.None{}, conformance.CountParams{Count: 3}
	after := func(n int64) conformance.EmitParams { return conformance.EmitParams{EmitBeforeError: n} }
	return []program{
		produce("it is refused", 0, conformance.ProduceErrorOnInit, none, toTheEnd),
		produce("it fails at its opening", 0, conformance.ProduceErrorMidStream, after(0), toTheEnd),
		produce("it fails at the other process", 1, conformance.ProduceErrorMidStream, after(1), toTheEnd),
		produce("it fails back at the first", 2, conformance.ProduceErrorMidStream, after(2), toTheEnd),
		produce("it misses its session", 0, conformance.StreamSessionCounter, three, toTheEnd),
		produce("it is cancelled", 2, conformance.ProduceN, three, 2),
		produceHeaded("it is cancelled", 1, conformance.ProduceWithHeader, three, 1),
		produce("it is cancelled at the other process", 1, conformance.CancellableProducer, none, 1),
		produce("it is cancelled at the first", 4, conformance.CancellableProducer, none, 4),
	}
}

// simpleExchanges are programs of exchanges that answer all of their inputs.
func simpleExchanges() []program {
	none, half := vgirpc.None{}, conformance.FactorParams{Factor: 0.5}
	in := []*wire.Batch{floats(1, 2), floats(), floats(-3.5)}
	ints := []*wire.Batch{integers("value", 1, 2), integers("value", -3), integers("value")}
	nothing := &wire.Batch{Schema: wire.EmptySchema()}
	return []program{
		exchange("of three inputs", 4, conformance.ExchangeScale, half, in...),
		exchange("of floats", 4, conformance.ExchangeCastCompatible, none, in...),
		exchange("of integers", 4, conformance.ExchangeCastCompatible, none, ints...),
		exchange("of floats and integers", 3, conformance.ExchangeCastCompatible, none, floats(1), integers("value", 2)).
			sends(numbered("1"), numbered("2")),
		exchange("of three inputs", 4, conformance.ExchangeAccumulate, none, in...),
		exchange("of three inputs", 4, conformance.ExchangeWithLogs, none, in...),
		exchange("of nothing", 3, conformance.ExchangeZeroColumns, none, nothing, nothing),
		exchange("of three inputs", 4, conformance.ExchangeInputMetadata, none, in...),
		exchange("of three inputs", 4, conformance.ExchangeOversized, conformance.RowsParams{RowsPerBatch: 5000}, in...),
		exchangeHeaded("of three inputs", 4, conformance.ExchangeWithHeader, half, in...),
		exchangeHeaded("of three inputs", 4, conformance.ExchangeWithRichHeader, conformance.SeedFactorParams{Seed: 7, Factor: 3}, in...),
		exchange("of three inputs", 4, conformance.CancellableExchange, none, in...),
		exchange("each process has a session", 4, conformance.ExchangeSessionCounter, none,
			integers("by", 1), integers("by", 2, 3), integers("by", 4)).inSessions().sends(counted(21), counted(15), counted(25)),
	}
}

// otherExchanges are programs of exchanges that fail, or get no input at all.
func otherExchanges() []program {
	none, half := vgirpc.None{}, conformance.FactorParams{Factor: 0.5}
	in := []*wire.Batch{floats(1, 2), floats(), floats(-3.5)}
	at := func(n int64) conformance.FailOnParams { return conformance.FailOnParams{FailOn: n} }
	const unfit = "error TypeError|INVALID_ARGUMENT||Input schema mismatch: expected value: double, received string|[]"
	return []program{
		exchange("it is refused", 0, conformance.ExchangeErrorOnInit, none, in...),
		exchange("it fails at the first input", 1, conformance.ExchangeErrorOnNth, at(1), in...),
		exchange("it fails at the second input", 2, conformance.ExchangeErrorOnNth, at(2), in...),
		exchange("it fails at the third input", 3, conformance.ExchangeErrorOnNth, at(3), in...),
		exchange("it cannot take the first input", 1, conformance.ExchangeScale, half, words("x")),
		exchange("it cannot take the second input", 2, conformance.ExchangeScale, half, floats(2), words("x")).
			sends(numbered("1"), unfit),
		exchange("it misses its session", 1, conformance.ExchangeSessionCounter, none, integers("by", 1)),
		exchange("it is cancelled before its first input", 1, conformance.CancellableExchange, none),
	}
}

// counted is the row of a counter.
func counted(n int) string {
	return fmt.Sprintf("1 rows [] [{\"value\":%d}\n] of %s", n, integers("value").Schema.Arrow())
}

// numbered is a row with a number.
func numbered(n string) string {
	return fmt.Sprintf("1 rows [] [{\"value\":%s}\n] of %s", n, floats().Schema.Arrow())
}

// ticked is the row about a tick.
func ticked(n int) string {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "index", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "seen", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	return fmt.Sprintf("1 rows [] [{\"index\":%d,\"seen\":\"tick %d\"}\n] of %s", n, n, schema)
}

// integers is a batch of one column of integers.
func integers(name string, values ...int64) *wire.Batch {
	schema := must(wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: name, Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)))
	return &wire.Batch{Schema: schema, Rows: len(values), Cols: []wire.Column{{Rows: len(values), Data: wire.Bytes(values)}}}
}

// words is a batch that no exchange of numbers takes.
func words(word string) *wire.Batch {
	schema := must(wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)))
	column := wire.Column{Rows: 1, Offsets: wire.Bytes([]int32{0, int32(len(word))}), Data: []byte(word)}
	return &wire.Batch{Schema: schema, Rows: 1, Cols: []wire.Column{column}}
}

// ticking is a client's transport that says of each turn of a producer which one
// it is, in the metadata of its tick.
type ticking struct{ vgirpc.Transport }

// Open implements [vgirpc.Transport].
func (k ticking) Open(ctx context.Context, req *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	s, err := k.Transport.Open(ctx, req)
	if err != nil || req.Method.Kind() != vgirpc.KindProducer {
		return s, err
	}
	return &tickingStream{TurnStream: s}, nil
}

type tickingStream struct {
	vgirpc.TurnStream
	ticks int
}

// Turn implements [vgirpc.TurnStream].
func (s *tickingStream) Turn(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	tick := *in
	tick.Meta = in.Meta.With("vgi.conformance.tick", fmt.Sprintf("tick %d", s.ticks))
	s.ticks++
	return s.TurnStream.Turn(ctx, &tick)
}
