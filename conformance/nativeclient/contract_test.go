package nativeclient_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Typed is a row of typed_exchange.
type Typed struct {
	NullableFloat *float64        `vgi:"nullable_float"`
	Tags          []*string       `vgi:"tags,nullable"`
	Category      *string         `vgi:"category,type=dictionary<index:int16,value:utf8>"`
	EventTime     *time.Time      `vgi:"event_time"`
	Amount        *vgirpc.Decimal `vgi:"amount,type=decimal128(18,4)"`
	Nested        *Nested         `vgi:"nested"`
}

// Nested is the struct column of Typed.
type Nested struct {
	Name   *string  `vgi:"name"`
	Scores []*int32 `vgi:"scores,nullable"`
}

// Item is a row of every producer.
type Item struct {
	Index   int64  `vgi:"index"`
	Payload []byte `vgi:"payload"`
}

// The parameters of the methods.
type (
	SequenceParams struct {
		Count        int64 `vgi:"count"`
		PayloadBytes int64 `vgi:"payload_bytes"`
	}
	InitialParams struct {
		Initial int64 `vgi:"initial"`
	}
	ByParams struct {
		By int64 `vgi:"by"`
	}
	SizeParams struct {
		Size int64 `vgi:"size"`
	}
	BytesParams struct {
		Value []byte `vgi:"value"`
	}
)

// The contract that the reference worker hosts.
var (
	service = vgirpc.NewProtocol("ClientConformanceService", "")

	typedExchange        = vgirpc.NewExchange[vgirpc.None, Typed, Typed](service, "typed_exchange")
	producerSequence     = vgirpc.NewProducer[SequenceParams, Item](service, "producer_sequence")
	producerZeroRow      = vgirpc.NewProducer[vgirpc.None, Item](service, "producer_zero_row_then_value")
	producerEmitAndEnd   = vgirpc.NewProducer[vgirpc.None, Item](service, "producer_emit_and_finish")
	producerEmpty        = vgirpc.NewProducer[vgirpc.None, Item](service, "producer_empty")
	openClientSession    = vgirpc.NewUnary[InitialParams, int64](service, "open_client_session")
	incrementSession     = vgirpc.NewUnary[ByParams, int64](service, "increment_client_session")
	closeClientSession   = vgirpc.NewUnary[vgirpc.None, int64](service, "close_client_session")
	largeResponse        = vgirpc.NewUnary[SizeParams, []byte](service, "large_response")
	echoBytes            = vgirpc.NewUnary[BytesParams, []byte](service, "echo_bytes")
	maxLargeResponse     = int64(16 << 20)
	payloadsRepeatAfter  = int64(251)
	sessionTTL           = 60 * time.Second
	echoHeader, echoText = "X-VGI-Worker-Affinity", "client-worker"
)

// The schemas as the document gives them, written down apart from the contract.
var (
	typedSchema = arrow.NewSchema([]arrow.Field{
		{Name: "nullable_float", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "category", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}, Nullable: true},
		{Name: "event_time", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
		{Name: "amount", Type: &arrow.Decimal128Type{Precision: 18, Scale: 4}, Nullable: true},
		{Name: "nested", Type: arrow.StructOf(
			arrow.Field{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
			arrow.Field{Name: "scores", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
		), Nullable: true},
	}, nil)
	producerSchema = arrow.NewSchema([]arrow.Field{
		{Name: "index", Type: arrow.PrimitiveTypes.Int64},
		{Name: "payload", Type: arrow.BinaryTypes.Binary},
	}, nil)
)

// TestContract compares what the Go types become with what the document asks for.
func TestContract(t *testing.T) {
	t.Run("the exchange has the exact schema in both directions", func(t *testing.T) {
		sameSchema(t, typedExchange.InputSchema(), typedSchema)
		sameSchema(t, typedExchange.OutputSchema(), typedSchema)
	})
	t.Run("every producer has the exact output schema", func(t *testing.T) {
		for _, m := range []*vgirpc.Method{producerSequence.Method, producerZeroRow.Method, producerEmitAndEnd.Method, producerEmpty.Method} {
			sameSchema(t, m.OutputSchema(), producerSchema)
		}
	})
}

func sameSchema(t *testing.T, got *wire.Schema, want *arrow.Schema) {
	t.Helper()
	if got == nil || !got.Arrow().Equal(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// newServer is the contract served by this module.
func newServer(t *testing.T, offload vgirpc.Offload) *vgirpc.Server {
	t.Helper()
	s, err := hosted(offload)
	noError(t, err)
	return s
}

func hosted(offload vgirpc.Offload) (*vgirpc.Server, error) {
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{
		ServerID: "client-worker", Offload: offload, Logger: slog.New(slog.DiscardHandler),
	}, service)
	if err != nil {
		return nil, err
	}
	vgirpc.HandleBatchExchange(s, typedExchange, func(context.Context, vgirpc.None) (*echo, error) { return &echo{}, nil })
	vgirpc.HandleProducer(s, producerSequence, func(_ context.Context, p SequenceParams) (*sequence, error) {
		if p.Count < 0 || p.PayloadBytes < 0 {
			return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "count and payload_bytes must be non-negative").WithType("ValueError")
		}
		return &sequence{Count: p.Count, PayloadBytes: p.PayloadBytes}, nil
	})
	vgirpc.HandleProducer(s, producerZeroRow, func(context.Context, vgirpc.None) (*zeroRow, error) { return &zeroRow{}, nil })
	vgirpc.HandleProducer(s, producerEmitAndEnd, func(context.Context, vgirpc.None) (*lastWords, error) { return &lastWords{}, nil })
	vgirpc.HandleProducer(s, producerEmpty, func(context.Context, vgirpc.None) (*sequence, error) { return &sequence{}, nil })
	vgirpc.HandleUnary(s, openClientSession, func(ctx context.Context, p InitialParams) (int64, error) {
		return p.Initial, httpserver.OpenSession(ctx, &counter{p.Initial}, 0)
	})
	vgirpc.HandleUnary(s, incrementSession, func(ctx context.Context, p ByParams) (int64, error) { return add(ctx, p.By) })
	vgirpc.HandleUnary(s, closeClientSession, func(ctx context.Context, _ vgirpc.None) (int64, error) {
		value, err := add(ctx, 0)
		if err != nil {
			return 0, err
		}
		return value, httpserver.CloseSession(ctx)
	})
	vgirpc.HandleUnary(s, largeResponse, func(_ context.Context, p SizeParams) ([]byte, error) {
		if p.Size < 0 || p.Size > maxLargeResponse {
			return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "size must be between 0 and %d", maxLargeResponse).WithType("ValueError")
		}
		return pattern(int(p.Size)), nil
	})
	vgirpc.HandleUnary(s, echoBytes, func(_ context.Context, p BytesParams) ([]byte, error) { return p.Value, nil })
	return s, nil
}

// pattern is the value of large_response.
func pattern(size int) []byte {
	out := make([]byte, size)
	for i := range out {
		out[i] = byte(int64(i) % payloadsRepeatAfter)
	}
	return out
}

// items are what producer_sequence sends.
func items(count int64, payloadBytes int) []Item {
	var out []Item
	for i := range count {
		out = append(out, Item{i, bytes.Repeat([]byte{byte(i % payloadsRepeatAfter)}, payloadBytes)})
	}
	return out
}

// echo answers with its input.
type echo struct{}

// ExchangeBatch answers with the columns of the input.
func (*echo) ExchangeBatch(_ context.Context, in *wire.Batch, out *vgirpc.Emitter[Typed]) error {
	return out.EmitBatch(&wire.Batch{Rows: in.Rows, Cols: in.Cols})
}

// sequence sends Count batches, and ends with a turn that sends none.
type sequence struct{ Count, PayloadBytes, Current int64 }

// Produce sends the next batch.
func (s *sequence) Produce(_ context.Context, out *vgirpc.Emitter[Item]) error {
	if s.Current >= s.Count {
		return io.EOF
	}
	item := Item{s.Current, bytes.Repeat([]byte{byte(s.Current % payloadsRepeatAfter)}, int(s.PayloadBytes))}
	s.Current++
	return out.Emit(item)
}

// zeroRow sends a batch without rows, and then one with a value.
type zeroRow struct{ Stage int64 }

// Produce sends the next batch.
func (z *zeroRow) Produce(_ context.Context, out *vgirpc.Emitter[Item]) error {
	z.Stage++
	switch z.Stage {
	case 1:
		return out.Emit()
	case 2:
		return out.Emit(Item{7, []byte("after-zero")})
	}
	return io.EOF
}

// lastWords sends a batch and ends in the same turn.
type lastWords struct{}

// Produce sends the only batch.
func (*lastWords) Produce(_ context.Context, out *vgirpc.Emitter[Item]) error {
	if err := out.Emit(Item{99, []byte("terminal")}); err != nil {
		return err
	}
	return io.EOF
}

// counter is the state of a sticky session.
type counter struct{ value int64 }

// add adds to the counter of the call's session.
func add(ctx context.Context, by int64) (int64, error) {
	c, ok := httpserver.Session(ctx).(*counter)
	if !ok {
		return 0, vgirpc.Errorf(vgirpc.Unknown, "no client conformance session is bound").WithType("RuntimeError")
	}
	c.value += by
	return c.value, nil
}
