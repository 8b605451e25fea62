package conformance

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

func hostHeaders(s *vgirpc.Server) {
	vgirpc.HandleHeaderProducer(s, ProduceWithHeader, func(_ context.Context, p CountParams) (*counter, Header, error) {
		return &counter{Count: p.Count}, Header{p.Count, fmt.Sprintf("producing %d batches", p.Count)}, nil
	})
	vgirpc.HandleHeaderProducer(s, ProduceWithHeaderAndLogs, func(ctx context.Context, p CountParams) (*counter, Header, error) {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "stream init log")
		return &counter{Count: p.Count}, Header{p.Count, fmt.Sprintf("producing %d with logs", p.Count)}, nil
	})
	vgirpc.HandleHeaderProducer(s, ProduceWithRichHeader, func(_ context.Context, p SeedCountParams) (*counter, RichHeader, error) {
		return &counter{Count: p.Count}, NewRichHeader(p.Seed), nil
	})
	vgirpc.HandleHeaderProducer(s, ProduceDynamicSchema, newDynamic)
	vgirpc.HandleHeaderBatchExchange(s, ExchangeWithHeader, func(_ context.Context, p FactorParams) (*scale, Header, error) {
		return &scale{Factor: p.Factor}, Header{0, "scale by " + pythonFloat(p.Factor)}, nil
	})
	vgirpc.HandleHeaderBatchExchange(s, ExchangeWithRichHeader, func(_ context.Context, p SeedFactorParams) (*scale, RichHeader, error) {
		return &scale{Factor: p.Factor}, NewRichHeader(p.Seed), nil
	})
}

// NewRichHeader returns the header that belongs to a seed.
func NewRichHeader(seed int64) RichHeader {
	x := float64(seed)
	h := RichHeader{
		Str:              fmt.Sprintf("seed-%d", seed),
		Bytes:            []byte{byte(seed), byte(seed + 1), byte(seed + 2)},
		Int:              seed * 7,
		Float:            x * 1.5,
		Bool:             seed%2 == 0,
		ListOfInt:        []int64{seed, seed + 1, seed + 2},
		ListOfStr:        []string{fmt.Sprintf("item-%d", seed), fmt.Sprintf("item-%d", seed+1)},
		Dict:             map[string]int64{"a": seed, "b": seed + 1},
		Enum:             Status(modulo(seed, 3)),
		NestedPoint:      Point{x, x * 2},
		ListOfNested:     []Point{{x, x + 1}},
		NestedList:       [][]int64{{seed, seed + 1}, {seed + 2}},
		AnnotatedInt32:   int32(modulo(seed, 1000)),
		AnnotatedFloat32: float32(x / 3),
		DictStrStr:       map[string]string{"key": fmt.Sprintf("val-%d", seed)},
	}
	if seed%2 == 0 {
		text := fmt.Sprintf("opt-%d", seed)
		h.OptionalStr = &text
	} else {
		triple := seed * 3
		h.OptionalInt = &triple
	}
	if seed%3 == 0 {
		h.OptionalNested = &Point{X: x}
	}
	return h
}

// modulo is Python's remainder, which is never negative for a positive n.
func modulo(v, n int64) int64 { return ((v % n) + n) % n }

// dynamic sends Count batches of one row whose columns its caller chose.
type dynamic struct {
	Count, Current                int64
	IncludeStrings, IncludeFloats bool
}

func newDynamic(ctx context.Context, p DynamicParams) (*dynamic, RichHeader, error) {
	fields := []arrow.Field{{Name: "index", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}
	if p.IncludeStrings {
		fields = append(fields, arrow.Field{Name: "label", Type: arrow.BinaryTypes.String, Nullable: true})
	}
	if p.IncludeFloats {
		fields = append(fields, arrow.Field{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true})
	}
	err := vgirpc.CallFrom(ctx).SetOutputSchema(arrow.NewSchema(fields, nil))
	state := &dynamic{Count: p.Count, IncludeStrings: p.IncludeStrings, IncludeFloats: p.IncludeFloats}
	return state, NewRichHeader(p.Seed), err
}

// Produce sends the next row.
func (d *dynamic) Produce(_ context.Context, out *vgirpc.Emitter[vgirpc.Dynamic]) error {
	if d.Current >= d.Count {
		return io.EOF
	}
	cols := []wire.Column{{Rows: 1, Data: wire.Bytes([]int64{d.Current})}}
	if d.IncludeStrings {
		label := fmt.Sprintf("row-%d", d.Current)
		cols = append(cols, wire.Column{Rows: 1, Offsets: wire.Bytes([]int32{0, int32(len(label))}), Data: []byte(label)})
	}
	if d.IncludeFloats {
		cols = append(cols, wire.Column{Rows: 1, Data: wire.Bytes([]float64{float64(d.Current) * 1.5})})
	}
	d.Current++
	return out.EmitBatch(&wire.Batch{Rows: 1, Cols: cols})
}
