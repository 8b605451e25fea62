package prom

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// namespace begins the names of all figures that are not the runtime's.
const namespace = "vgi_rpc"

// Metrics is a [vgirpc.Observer] that counts calls, and a
// [vgirpc.RefusalObserver] that counts what never became one. It is safe for
// concurrent use.
type Metrics struct {
	opts     Options
	registry *prometheus.Registry

	calls        *prometheus.CounterVec
	durations    *prometheus.HistogramVec
	inFlight     *prometheus.GaugeVec
	received     *prometheus.CounterVec
	sent         *prometheus.CounterVec
	externalized *prometheus.CounterVec
	refused      *prometheus.CounterVec

	methods sync.Map // *vgirpc.Method to *method: as many as the server hosts
}

// New returns metrics of their own registry. It fails when an option makes no
// sense.
func New(opts Options) (*Metrics, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	m := &Metrics{opts: opts, registry: prometheus.NewRegistry()}
	labels := []string{"protocol", "method", "type"}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, append(labels, more...))
	}
	m.calls = counter("calls_total", "Calls that are over; over HTTP each turn of a stream is one.", "code")
	m.received = counter("call_received_bytes_total", "Bytes of calls as they travelled to the server.")
	m.sent = counter("call_sent_bytes_total", "Bytes of calls as they travelled back.")
	m.externalized = counter("call_externalized_bytes_total", "Bytes that calls moved to external storage.")
	m.inFlight = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "calls_in_flight", Help: "Calls in progress.",
	}, labels)
	m.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "refused_total", Help: "Requests that never became calls, and connections that were not served.",
	}, []string{"transport", "reason", "code"})
	histogram := prometheus.HistogramOpts{
		Namespace: namespace, Name: "call_duration_seconds", Help: "How long calls took.", Buckets: opts.Buckets,
	}
	if opts.NativeHistograms {
		histogram.NativeHistogramBucketFactor = 1.1
		histogram.NativeHistogramMaxBucketNumber = 160
	}
	m.durations = prometheus.NewHistogramVec(histogram, labels)
	all := []prometheus.Collector{m.calls, m.durations, m.inFlight, m.received, m.sent, m.externalized, m.refused, buildInfo(opts.Version)}
	if !opts.NoRuntime {
		all = append(all, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	for _, c := range all {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("prom: %w", err)
		}
	}
	return m, nil
}

// buildInfo is a gauge that says in its labels what runs.
func buildInfo(version string) prometheus.Collector {
	labels := prometheus.Labels{"version": version, "revision": "", "go_version": runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		labels["version"] = cmp.Or(version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				labels["revision"] = s.Value
			}
		}
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "What runs, in the labels; always 1.", ConstLabels: labels,
	})
	g.Set(1)
	return g
}

// Registry is where the figures are registered. A program may add its own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler answers with the figures, in the format that the request asks for. What
// is wrong with one of them does not keep the others back.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError, Registry: m.registry,
		MaxRequestsInFlight: 4,
	})
}

// method is what is counted of one method. Children are looked up once.
type method struct {
	metrics      *Metrics
	labels       []string
	ok           prometheus.Counter
	duration     prometheus.Observer
	inFlight     prometheus.Gauge
	received     prometheus.Counter
	sent         prometheus.Counter
	externalized prometheus.Counter
	exemplars    exemplars
}

// of finds what is counted of a method.
func (m *Metrics) of(hosted *vgirpc.Method) *method {
	if known, ok := m.methods.Load(hosted); ok {
		return known.(*method)
	}
	labels := []string{hosted.Protocol().Name(), hosted.Name(), string(hosted.Type())}
	known, _ := m.methods.LoadOrStore(hosted, &method{
		metrics: m, labels: labels,
		ok:           m.calls.WithLabelValues(append(labels, "OK")...),
		duration:     m.durations.WithLabelValues(labels...),
		inFlight:     m.inFlight.WithLabelValues(labels...),
		received:     m.received.WithLabelValues(labels...),
		sent:         m.sent.WithLabelValues(labels...),
		externalized: m.externalized.WithLabelValues(labels...),
		exemplars:    newExemplars(&m.opts),
	})
	return known.(*method)
}

// CallStarted counts a call in, and returns ctx.
func (m *Metrics) CallStarted(ctx context.Context, call *vgirpc.Call) context.Context {
	m.of(call.Method()).inFlight.Inc()
	return ctx
}

// CallEnded counts a call.
func (m *Metrics) CallEnded(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	c := m.of(call.Method())
	c.inFlight.Dec()
	if end.Err == nil {
		c.ok.Inc()
	} else {
		m.calls.WithLabelValues(append(c.labels[:3:3], code(end.Err))...).Inc()
	}
	c.exemplars.observe(ctx, c.duration, end.Duration)
	count(c.received, end.Delivery.WireIn)
	count(c.sent, end.Delivery.WireOut)
	count(c.externalized, end.Delivery.Externalized)
}

// code is the label of an error: one of the closed set, whatever a handler has
// made up.
func code(err *vgirpc.Error) string {
	if c := err.Code; c.Valid() {
		return string(c)
	}
	return string(vgirpc.Unknown)
}

// RequestRefused counts what never became a call.
func (m *Metrics) RequestRefused(_ context.Context, r *vgirpc.Refused) {
	code := r.Code
	if !code.Valid() {
		code = vgirpc.Unknown
	}
	m.refused.WithLabelValues(string(r.Transport), string(r.Reason), string(code)).Inc()
}

// count adds to a counter, which panics at what is negative.
func count(c prometheus.Counter, n int64) {
	if n > 0 {
		c.Add(float64(n))
	}
}
