package workerotel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	api "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/vgirpc/vgirpc-go/auth/peer"
	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/observability/otel"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

// Options are what a program sets. The zero value works.
type Options struct {
	// Attributes are put on every span and every metric.
	Attributes map[string]string
	// ClaimAttributes put claims of the caller on spans: by the name of the
	// claim, the name of the attribute.
	ClaimAttributes map[string]string
	// NoExceptions leaves the messages of errors out of the events of spans.
	NoExceptions bool
}

// Option adds telemetry to a worker.
func Option(opts Options) worker.Option { return &option{opts: opts} }

// option is the flag.
type option struct {
	opts  Options
	flags *pflag.FlagSet
	on    bool
}

const flagName = "otel"

// AddFlags declares the flag.
func (o *option) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.BoolVar(&o.on, flagName, false, "trace and count calls with OpenTelemetry, as its variables of the environment say; "+
		"on without the flag when one of them names an exporter or an endpoint")
}

// asking are the variables that ask for telemetry.
var asking = []string{ //nolint:gochecknoglobals // read only
	"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER",
	"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
}

// wanted reports whether there is to be telemetry.
func (o *option) wanted() bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	if o.flags.Changed(flagName) {
		return o.on
	}
	return slices.ContainsFunc(asking, func(name string) bool { return os.Getenv(name) != "" })
}

// Apply makes the providers and observes the server with them.
func (o *option) Apply(ctx context.Context, setup *worker.Setup) error {
	if !o.wanted() {
		return nil
	}
	server := setup.Server()
	api.SetErrorHandler(api.ErrorHandlerFunc(func(err error) {
		server.Logger().LogAttrs(context.Background(), slog.LevelWarn, "telemetry is lost", slog.Any("error", external.Redacted(err)))
	}))
	p, err := newProviders(ctx, server)
	if err != nil {
		return fmt.Errorf("--%s: %w", flagName, external.Redacted(err))
	}
	setup.AtExit(p.shutdown)
	return o.observe(setup, p)
}

// observe puts the observers where they belong.
func (o *option) observe(setup *worker.Setup, p *providers) error {
	server := setup.Server()
	opts := otel.Options{
		NoTraces: p.traces == nil, NoMetrics: p.metrics == nil, Propagator: autoprop.NewTextMapPropagator(),
		ServerID: server.ID(), Service: server.Protocols()[0].Name(), NoExceptions: o.opts.NoExceptions,
		Attributes: o.opts.Attributes, ClaimAttributes: o.opts.ClaimAttributes, PeerIdentity: peerIdentity,
	}
	api.SetTextMapPropagator(opts.Propagator)
	if p.traces != nil {
		opts.TracerProvider = p.traces
		api.SetTracerProvider(p.traces)
		setup.TraceOf(otel.TraceOf)
		setup.SampledTraceOf(otel.SampledTraceOf)
	}
	if p.metrics != nil {
		opts.MeterProvider = p.metrics
		api.SetMeterProvider(p.metrics)
	}
	calls, err1 := otel.NewObserver(opts)
	transfers, err2 := otel.NewTransferObserver(opts)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	setup.BeforeServing(func(context.Context) error {
		if storage, ok := server.Offload().(interface{ Observe(o external.Observer) }); ok && p.traces != nil {
			storage.Observe(transfers)
		}
		return nil
	})
	return server.Configure(func(s *vgirpc.ServerOptions) {
		// First, so that the other observers find the span.
		s.Observers = slices.Insert(s.Observers, 0, vgirpc.Observer(calls))
		s.RefusalObservers = append(s.RefusalObservers, calls)
		if s.Logger != nil && p.traces != nil {
			s.Logger = slog.New(otel.LogHandler(s.Logger.Handler()))
		}
	})
}

// providers are what telemetry goes through, nil where it goes nowhere.
type providers struct {
	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider
}

// newProviders makes providers as the environment says.
func newProviders(ctx context.Context, server *vgirpc.Server) (*providers, error) {
	res, err := newResource(ctx, server)
	if err != nil {
		return nil, err
	}
	spans, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	reader, err := autoexport.NewMetricReader(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("metrics: %w", err), spans.Shutdown(ctx))
	}
	p := &providers{}
	if !autoexport.IsNoneSpanExporter(spans) {
		p.traces = sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(res))
	}
	if !autoexport.IsNoneMetricReader(reader) {
		p.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(res))
	}
	return p, nil
}

// newResource says which process this is. What the environment says goes before.
func newResource(ctx context.Context, server *vgirpc.Server) (*resource.Resource, error) {
	attributes := []attribute.KeyValue{
		attribute.String("service.name", server.Protocols()[0].Name()),
		attribute.String("service.instance.id", server.ID()),
	}
	if v := server.Version(); v != "" {
		attributes = append(attributes, attribute.String("service.version", v))
	}
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(),
		resource.WithAttributes(attributes...), resource.WithFromEnv())
	if errors.Is(err, resource.ErrPartialResource) || errors.Is(err, resource.ErrSchemaURLConflict) {
		api.Handle(err)
		err = nil
	}
	return res, err
}

// flushTime is how long the end of a worker may take for what was not sent yet.
const flushTime = time.Second

// shutdown sends what was not sent yet, both at once.
func (p *providers) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	var both sync.WaitGroup
	var errs [2]error
	if p.traces != nil {
		both.Go(func() { errs[0] = p.traces.Shutdown(ctx) })
	}
	if p.metrics != nil {
		both.Go(func() { errs[1] = p.metrics.Shutdown(ctx) })
	}
	both.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("telemetry is lost: %w", external.Redacted(err))
	}
	return nil
}

// peerIdentity is what the providers of peer identities have found out, without
// whom: provider and outcome, and of what is known provider, source and assurance.
func peerIdentity(id vgirpc.Identity) (status, sources string) {
	e := peer.EvidenceOf(id)
	if e == nil {
		return "", ""
	}
	var outcomes, known []string
	for _, provider := range e.Providers() {
		outcomes = append(outcomes, provider+":"+string(e.Status(provider)))
		for _, i := range e.Identities(provider) {
			known = append(known, fmt.Sprintf("%s:%s:%s", provider, i.Source, i.Assurance))
		}
	}
	slices.Sort(known)
	return strings.Join(outcomes, ","), strings.Join(slices.Compact(known), ",")
}
