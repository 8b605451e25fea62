package otel

import (
	"context"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// LogHandler returns a handler that adds trace_id and span_id to the records of
// contexts that are in a span, outside of every group, and leaves the rest to h.
func LogHandler(h slog.Handler) slog.Handler { return &logHandler{Handler: h, outermost: h} }

type logHandler struct {
	slog.Handler

	outermost slog.Handler // before the first group
	// further is what was done to outermost since, beginning with the first
	// group; empty without one.
	further []func(slog.Handler) slog.Handler
}

// Handle adds the identifiers.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	c := trace.SpanContextFromContext(ctx)
	if !c.IsValid() {
		return h.Handler.Handle(ctx, r)
	}
	ids := []slog.Attr{slog.String("trace_id", c.TraceID().String()), slog.String("span_id", c.SpanID().String())}
	if len(h.further) == 0 {
		r = r.Clone()
		r.AddAttrs(ids...)
		return h.Handler.Handle(ctx, r)
	}
	inner := h.outermost.WithAttrs(ids)
	for _, do := range h.further {
		inner = do(inner)
	}
	return inner.Handle(ctx, r)
}

// WithAttrs adds attributes.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(h.further) == 0 {
		return LogHandler(h.Handler.WithAttrs(attrs))
	}
	return h.with(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup opens a group.
func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *logHandler) with(do func(slog.Handler) slog.Handler) slog.Handler {
	return &logHandler{do(h.Handler), h.outermost, append(slices.Clip(h.further), do)}
}
