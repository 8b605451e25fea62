package otel_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/vgirpc/vgirpc-go/observability/otel"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// nowhere is an exporter that is done at once.
type nowhere struct{}

// ExportSpans does nothing.
func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }

// Shutdown does nothing.
func (nowhere) Shutdown(context.Context) error { return nil }

// BenchmarkObserver measures a small unary call over an in-process pipe, server
// and client together.
func BenchmarkObserver(b *testing.B) {
	for _, bb := range []struct {
		name                    string
		on, noTraces, noMetrics bool
		sampler                 sdktrace.Sampler
		client                  bool
	}{
		{"off", false, false, false, nil, false},
		{"metrics", true, true, false, nil, false},
		{"spans that are not sampled", true, false, true, sdktrace.NeverSample(), false},
		{"spans", true, false, true, sdktrace.AlwaysSample(), false},
		{"spans and metrics", true, false, false, sdktrace.AlwaysSample(), false},
		{"spans and metrics, and spans of the client", true, false, false, sdktrace.AlwaysSample(), true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			c := vgitest.NewContract()
			var server vgirpc.ServerOptions
			var client vgirpc.ClientOptions
			if bb.on {
				opts := otel.Options{NoTraces: bb.noTraces, NoMetrics: bb.noMetrics, ServerID: "server-1"}
				if !bb.noTraces {
					traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(nowhere{}), sdktrace.WithSampler(bb.sampler))
					defer func() { _ = traces.Shutdown(context.Background()) }()
					opts.TracerProvider = traces
				}
				var metrics metric.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
				opts.MeterProvider = metrics
				server.Observers = []vgirpc.Observer{newObserver(b, opts)}
				if bb.client {
					o, err := otel.NewClientObserver(opts)
					if err != nil {
						b.Fatal(err)
					}
					client.Observers = []vgirpc.ClientObserver{o}
				}
			}
			conn := overPipe(b, vgitest.NewServer(b, c, server), client)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Add.Call(ctx, conn, vgitest.AddParams{A: 1, B: 2}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
