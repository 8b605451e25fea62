package otel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// TransferObserver is an [external.Observer] that makes a span of each upload and
// each fetch. It is safe for concurrent use.
type TransferObserver struct {
	opts   Options
	tracer trace.Tracer // nil: no spans
	mine   owner
}

var _ external.Observer = (*TransferObserver)(nil)

// NewTransferObserver returns an observer for external storage, on either side. Of
// opts it takes what [NewClientObserver] does.
func NewTransferObserver(opts Options) (*TransferObserver, error) {
	opts, err := complete(opts)
	if err != nil {
		return nil, err
	}
	return &TransferObserver{opts: opts, tracer: opts.tracer()}, nil
}

// TransferStarted starts the span of a transfer. That of a request which is
// fetched before its call begins belongs to what the request names.
func (o *TransferObserver) TransferStarted(ctx context.Context, t *external.Transfer) context.Context {
	if o.tracer == nil {
		return ctx
	}
	name, options := "vgi_rpc.external/upload", []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}
	if t.Fetch {
		name = "vgi_rpc.external/fetch"
		options = append(options, trace.WithAttributes(attribute.String("url", t.URL)))
		if !trace.SpanContextFromContext(ctx).IsValid() {
			ctx = parent(ctx, o.opts.Propagator, t.Pointer)
		}
	}
	return startSpan(ctx, &o.mine, o.tracer, name, options...)
}

// TransferEnded ends the span.
func (o *TransferObserver) TransferEnded(ctx context.Context, t *external.Transfer) {
	span := spanOf(ctx, &o.mine)
	if span == nil {
		return
	}
	defer span.End()
	if t.Fetch {
		span.SetAttributes(attribute.Float64("fetch_duration_ms", float64(t.Duration)/float64(time.Millisecond)))
	} else {
		span.SetAttributes(uploadAttributes(t)...)
	}
	if t.Err == nil {
		span.SetStatus(codes.Ok, "")
		return
	}
	name, message := describe(t.Err)
	span.SetStatus(codes.Error, message)
	if !o.opts.NoExceptions {
		recordException(span, name, message)
	}
}

// uploadAttributes say what was stored.
func uploadAttributes(t *external.Transfer) []attribute.KeyValue {
	out := []attribute.KeyValue{attribute.Int64("upload_bytes", t.StoredBytes)}
	if t.URL != "" {
		out = append(out, attribute.String("url", t.URL))
	}
	if t.Compression != external.None {
		out = append(out, attribute.String("compression", string(t.Compression)), attribute.Int64("original_bytes", t.RawBytes))
	}
	return out
}

// describe is the type of an error and its message.
func describe(err error) (name, message string) {
	if e, ok := errors.AsType[*vgirpc.Error](err); ok {
		return e.TypeName(), e.Message
	}
	return "Error", err.Error()
}
