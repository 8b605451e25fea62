package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/observability/otel"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// exportTo writes spans to a file as they end, and metrics when the worker ends: one
// JSON object in each line, as OpenTelemetry's exporters for standard output
// write them (CONTRACT.md, section 5).
func exportTo(setup *worker.Setup, path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	spans, err1 := stdouttrace.New(stdouttrace.WithWriter(file))
	metrics, err2 := stdoutmetric.New(stdoutmetric.WithWriter(file))
	if err := errors.Join(err1, err2); err != nil {
		return errors.Join(err, file.Close())
	}
	traces := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics)))
	setup.AtExit(func(ctx context.Context) error {
		return errors.Join(traces.Shutdown(ctx), meters.Shutdown(ctx), file.Close())
	})
	server := setup.Server()
	opts := otel.Options{
		TracerProvider: traces, MeterProvider: meters, ServerID: server.ID(), Service: server.Protocols()[0].Name(),
	}
	calls, err1 := otel.NewObserver(opts)
	transfers, err2 := otel.NewTransferObserver(opts)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if storage, ok := server.Offload().(*external.Offload); ok {
		storage.Observe(transfers)
	}
	setup.TraceOf(otel.TraceOf)
	return server.Configure(func(o *vgirpc.ServerOptions) {
		o.Observers = append(o.Observers, calls)
		o.RefusalObservers = append(o.RefusalObservers, calls)
	})
}

// exportFlag is the flag that asks for telemetry.
const exportFlag = "otel-export"

// export does what --otel-export asks for.
func (f *fixture) export(setup *worker.Setup) error {
	if !f.flags.Changed(exportFlag) {
		return nil
	}
	if err := exportTo(setup, f.otelExport); err != nil {
		return fmt.Errorf("--%s: %w", exportFlag, err)
	}
	return nil
}
