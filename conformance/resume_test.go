package conformance_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/conformance"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// dialResuming is [dial] with a server that stores each stream after every turn
// and resumes it for the next one.
func dialResuming(t *testing.T) *vgirpc.Client {
	t.Helper()
	s, err := conformance.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, conformance.HostStandard)
	if err != nil {
		t.Fatal(err)
	}
	ctx := conformance.WithCancelProbe(t.Context(), conformance.NewCancelProbe(""))
	near, far := vgirpc.NewPair()
	done := make(chan error, 1)
	go func() { done <- vgitest.ServeResuming(ctx, s, far) }()
	c := vgirpc.NewClient(near, vgirpc.ClientOptions{})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

// session is what one stream sends, batch by batch as text, ended by the error
// that ended it if one did.
type session func(t *testing.T, c *vgirpc.Client) []string

// producing is a session of a producer, cancelled after four batches.
func producing[P, Row any](m *vgirpc.Producer[P, Row], params P) session {
	return func(t *testing.T, c *vgirpc.Client) (out []string) {
		t.Helper()
		s, err := m.Open(t.Context(), c, params)
		if err != nil {
			t.Fatal(err)
		}
		for b, err := range s.Batches() {
			if out = append(out, text(t, b, err)); len(out) == 4 {
				break
			}
		}
		return out
	}
}

// exchanging is a session of an exchange of up to three inputs.
func exchanging[P, Out any](m *vgirpc.Exchange[P, conformance.FloatRow, Out], params P) session {
	return func(t *testing.T, c *vgirpc.Client) (out []string) {
		t.Helper()
		s, err := m.Open(t.Context(), c, params)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			in := floats(float64(i), 10)
			in.Meta = wire.Metadata{{Key: "vgi.conformance.input", Value: fmt.Sprintf("input %d", i)}}
			b, err := s.ExchangeBatch(t.Context(), in)
			if out = append(out, text(t, b, err)); err != nil {
				break
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return out
	}
}

// text writes a batch, or the error in its place.
func text(t *testing.T, b *wire.Batch, err error) string {
	t.Helper()
	if err != nil {
		return err.Error()
	}
	rec, err := b.Record()
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Release()
	data, err := rec.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d rows %v %s", b.Rows, b.Meta, data)
}

func TestStreamsGoOnAsIfTheyHadNotBeenStored(t *testing.T) {
	none := vgirpc.None{}
	count := conformance.CountParams{Count: 3}
	for _, tt := range []struct {
		method *vgirpc.Method
		run    session
	}{
		{conformance.ProduceN.Method, producing(conformance.ProduceN, count)},
		{conformance.ProduceEmpty.Method, producing(conformance.ProduceEmpty, none)},
		{conformance.ProduceSingle.Method, producing(conformance.ProduceSingle, none)},
		{conformance.ProduceTickMetadata.Method, producing(conformance.ProduceTickMetadata, count)},
		{conformance.ProduceLargeBatches.Method, producing(conformance.ProduceLargeBatches, conformance.LargeParams{RowsPerBatch: 2, BatchCount: 3})},
		{conformance.ProduceAnnotatedBatches.Method, producing(conformance.ProduceAnnotatedBatches, conformance.AnnotatedParams{Count: 3, RowsPerBatch: 2})},
		{conformance.ProduceOversizedBatch.Method, producing(conformance.ProduceOversizedBatch, conformance.RowsParams{RowsPerBatch: 3})},
		{conformance.ProduceWithLogs.Method, producing(conformance.ProduceWithLogs, count)},
		{conformance.ProduceErrorMidStream.Method, producing(conformance.ProduceErrorMidStream, conformance.EmitParams{EmitBeforeError: 2})},
		{conformance.ProduceWithHeader.Method, producing(&conformance.ProduceWithHeader.Producer, count)},
		{conformance.ProduceDynamicSchema.Method, producing(&conformance.ProduceDynamicSchema.Producer,
			conformance.DynamicParams{Count: 3, IncludeStrings: true, IncludeFloats: true})},
		{conformance.CancellableProducer.Method, producing(conformance.CancellableProducer, none)},
		{conformance.StreamSessionCounter.Method, producing(conformance.StreamSessionCounter, count)},

		{conformance.ExchangeScale.Method, exchanging(conformance.ExchangeScale, conformance.FactorParams{Factor: 0.5})},
		{conformance.ExchangeCastCompatible.Method, exchanging(conformance.ExchangeCastCompatible, none)},
		{conformance.ExchangeAccumulate.Method, exchanging(conformance.ExchangeAccumulate, none)},
		{conformance.ExchangeWithLogs.Method, exchanging(conformance.ExchangeWithLogs, none)},
		{conformance.ExchangeErrorOnNth.Method, exchanging(conformance.ExchangeErrorOnNth, conformance.FailOnParams{FailOn: 3})},
		{conformance.ExchangeInputMetadata.Method, exchanging(conformance.ExchangeInputMetadata, none)},
		{conformance.ExchangeOversized.Method, exchanging(conformance.ExchangeOversized, conformance.RowsParams{RowsPerBatch: 3})},
		{conformance.ExchangeWithHeader.Method, exchanging(&conformance.ExchangeWithHeader.Exchange, conformance.FactorParams{Factor: 2})},
		{conformance.CancellableExchange.Method, exchanging(conformance.CancellableExchange, none)},
	} {
		t.Run(tt.method.Name(), func(t *testing.T) {
			straight, resumed := dial(t, conformance.HostStandard, vgirpc.ClientOptions{}), dialResuming(t)
			want := tt.run(t, straight)
			if diff := cmp.Diff(want, tt.run(t, resumed)); diff != "" {
				t.Errorf("stream (-straight +resumed):\n%s", diff)
			}
			for _, c := range []*vgirpc.Client{straight, resumed} { // the connection is in step
				if _, err := conformance.VoidNoop.Call(t.Context(), c, vgirpc.None{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestAnExchangeOfNothingIsAnsweredWithNothing(t *testing.T) {
	for name, c := range map[string]*vgirpc.Client{
		"straight": dial(t, conformance.HostStandard, vgirpc.ClientOptions{}), "resumed": dialResuming(t),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := conformance.ExchangeZeroColumns.Open(t.Context(), c, vgirpc.None{})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				b, err := s.ExchangeBatch(t.Context(), &wire.Batch{Schema: wire.EmptySchema()})
				if err != nil || b.Rows != 0 || len(b.Cols) != 0 {
					t.Errorf("%v, %v", b, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
