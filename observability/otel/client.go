package otel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// ClientObserver is a [vgirpc.ClientObserver] that makes a span of each call of a
// client, and sends it along in the metadata of the request: the server's span is
// its child. It is safe for concurrent use.
type ClientObserver struct {
	opts   Options
	tracer trace.Tracer // nil: no spans of its own, but those of the caller travel
	mine   owner
}

var _ vgirpc.ClientObserver = (*ClientObserver)(nil)

// NewClientObserver returns an observer for clients. Of opts it takes
// TracerProvider, NoTraces, Propagator and NoExceptions. It fails when an option
// makes no sense.
func NewClientObserver(opts Options) (*ClientObserver, error) {
	opts, err := complete(opts)
	if err != nil {
		return nil, err
	}
	return &ClientObserver{opts: opts, tracer: opts.tracer()}, nil
}

// CallStarted starts the call's span and sends it along.
func (o *ClientObserver) CallStarted(ctx context.Context, m *vgirpc.Method) context.Context {
	if o.tracer != nil {
		ctx = startSpan(ctx, &o.mine, o.tracer, spanName(m), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(methodAttributes(m)...))
	}
	var carried wire.Metadata
	o.opts.Propagator.Inject(ctx, metadataCarrier{&carried})
	if len(carried) == 0 {
		return ctx
	}
	return vgirpc.WithMetadata(ctx, carried...)
}

// CallEnded ends the call's span.
func (o *ClientObserver) CallEnded(ctx context.Context, _ *vgirpc.Method, err error) {
	span := spanOf(ctx, &o.mine)
	if span == nil {
		return
	}
	defer span.End()
	if err == nil {
		span.SetStatus(codes.Ok, "")
		return
	}
	name, message := describe(err)
	span.SetStatus(codes.Error, message)
	span.SetAttributes(attribute.String(keyErrorType, name), attribute.String(keyErrorCode, string(vgirpc.CodeOf(err))))
	if !o.opts.NoExceptions {
		recordException(span, name, message)
	}
}
