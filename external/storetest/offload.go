package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// A cycle is a log and a data batch, and how they read.
type cycle struct {
	schema *wire.Schema
	log    *wire.Batch
	data   wire.Batch
	text   []string
}

// newCycle makes a cycle of some rows with a text in them, and in its metadata.
func newCycle(t *testing.T, text string, rows int) *cycle {
	t.Helper()
	schema, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{
		{Name: "text", Type: arrow.BinaryTypes.String}, {Name: "n", Type: arrow.PrimitiveTypes.Int64},
	}, nil))
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Arrow())
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array.StringBuilder).Append(text)
		b.Field(1).(*array.Int64Builder).Append(int64(i) * 7919)
	}
	data, err := wire.NewBatch(schema, b.NewRecordBatch(), wire.Metadata{{Key: "app", Value: text}})
	if err != nil {
		t.Fatal(err)
	}
	log := wire.EmptyBatch(schema, wire.Metadata{
		{Key: wire.KeyLogLevel, Value: "INFO"}, {Key: wire.KeyLogMessage, Value: text},
	})
	c := &cycle{schema: schema, log: &log, data: *data}
	c.text = append([]string{"log " + text, "app " + text}, rowsOf(t, data)...)
	return c
}

// withoutLogs is the cycle as a published result has it: without metadata and
// logs.
func (c *cycle) withoutLogs() *cycle {
	plain := *c
	plain.log, plain.text = nil, append([]string{"app "}, c.text[2:]...)
	return &plain
}

// rowsOf is a batch as text, one part for each column.
func rowsOf(t *testing.T, b *wire.Batch) []string {
	t.Helper()
	record, err := b.Record()
	if err != nil {
		t.Error(err)
		return nil
	}
	var out []string
	for _, column := range record.Columns() {
		out = append(out, fmt.Sprintf("%d rows: %s", column.Len(), column))
	}
	return out
}

// An offloader is an Offload in a test.
type offloader struct {
	*external.Offload
	t *testing.T
}

// offload returns an Offload that uploads everything, and does not wait between
// attempts.
func offload(t *testing.T, opts external.Options) *offloader {
	t.Helper()
	opts.Threshold, opts.RetryDelay = 1, time.Nanosecond
	o, err := external.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return &offloader{o, t}
}

// Place uploads a cycle.
func (o *offloader) Place(ctx context.Context, c *cycle) (*wire.Batch, error) {
	batches := []wire.Batch{c.data}
	if c.log != nil {
		batches = []wire.Batch{*c.log, c.data}
	}
	placed, uploaded, err := o.Offload.Place(ctx, c.schema, batches, -1)
	if err != nil {
		return nil, err
	}
	if len(placed) != 1 || placed[0].Kind() != wire.KindExternal || uploaded == 0 {
		return nil, fmt.Errorf("%d batches and %d bytes: nothing was uploaded", len(placed), uploaded)
	}
	return &placed[0], nil
}

// read is what a pointer leads to, as text.
func (o *offloader) read(ctx context.Context, pointer *wire.Batch) ([]string, error) {
	var got []string
	b, release, err := o.Resolve(ctx, pointer, nil, func(m wire.Metadata) {
		got = append(got, "log "+m.Value(wire.KeyLogMessage))
	})
	defer release()
	if err != nil {
		return nil, err
	}
	if source := b.Meta.Value(wire.KeyLocationSource); source != location(pointer) {
		o.t.Errorf("the batch says that it comes from %s", external.Redact(source))
	}
	return append(append(got, "app "+b.Meta.Value("app")), rowsOf(o.t, b)...), nil
}

func place(t *testing.T, o *offloader, c *cycle) *wire.Batch {
	t.Helper()
	pointer, err := o.Place(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return pointer
}

func resolve(t *testing.T, o *offloader, pointer *wire.Batch) ([]string, error) {
	t.Helper()
	return o.read(t.Context(), pointer)
}

func resolves(t *testing.T, o *offloader, pointer *wire.Batch, want *cycle) {
	t.Helper()
	got, err := resolve(t, o, pointer)
	if err != nil {
		t.Fatalf("%v (%v)", err, vgirpc.CodeOf(err))
	}
	if diff := cmp.Diff(want.text, got); diff != "" {
		t.Errorf("(-want +got):\n%.2000s", diff)
	}
}

func location(pointer *wire.Batch) string { return pointer.Meta.Value(wire.KeyLocation) }

// pointerTo is a pointer that leads elsewhere.
func pointerTo(pointer *wire.Batch, to string) *wire.Batch {
	other := *pointer
	other.Meta = pointer.Meta.
		Without(func(key string) bool { return strings.EqualFold(key, wire.KeyLocation) }).
		With(wire.KeyLocation, to)
	return &other
}
