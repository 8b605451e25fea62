package otel

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// parent is ctx with the span that a call, or the fetch of its request, belongs
// to: the metadata of the request says so; or ctx does; or the headers do that
// came with the request.
func parent(ctx context.Context, p propagation.TextMapPropagator, meta wire.Metadata) context.Context {
	before := trace.SpanContextFromContext(ctx)
	if len(meta) > 0 {
		if named := p.Extract(ctx, metadataCarrier{&meta}); trace.SpanContextFromContext(named).IsValid() &&
			!trace.SpanContextFromContext(named).Equal(before) {
			return named
		}
	}
	if before.IsValid() {
		return ctx
	}
	if headers := vgirpc.HeadersFrom(ctx); headers != nil {
		return p.Extract(ctx, headerCarrier{headers})
	}
	return ctx
}

// metadataCarrier reads a trace from the metadata of a request, and writes it
// there.
type metadataCarrier struct{ meta *wire.Metadata }

// Get returns the value of a key, "" for none.
func (c metadataCarrier) Get(key string) string { return c.meta.Value(key) }

// Set appends a key.
func (c metadataCarrier) Set(key, value string) {
	*c.meta = append(*c.meta, wire.Pair{Key: key, Value: value})
}

// Keys lists all keys.
func (c metadataCarrier) Keys() []string {
	keys := make([]string, len(*c.meta))
	for i, p := range *c.meta {
		keys[i] = p.Key
	}
	return keys
}

// headerCarrier reads a trace from the headers of a request.
type headerCarrier struct{ headers vgirpc.Headers }

// Get returns the value of a header, "" for none.
func (c headerCarrier) Get(key string) string { return c.headers.Get(key) }

// Set does nothing: a request has its headers already.
func (headerCarrier) Set(string, string) {}

// Keys says nothing: propagators ask for the headers that they know.
func (headerCarrier) Keys() []string { return nil }

// SampledTraceOf is [TraceOf] for a span that is sampled, and for another one it
// returns empty identifiers: for examples of calls, which nobody could look up.
func SampledTraceOf(ctx context.Context) (traceID, spanID string) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return "", ""
	}
	return TraceOf(ctx)
}

// TraceOf returns the identifiers of the span that ctx is in, 32 and 16 lowercase
// hex digits, or empty ones: for observability.AccessLogOptions.
func TraceOf(ctx context.Context) (traceID, spanID string) {
	c := trace.SpanContextFromContext(ctx)
	if !c.IsValid() {
		return "", ""
	}
	return c.TraceID().String(), c.SpanID().String()
}
