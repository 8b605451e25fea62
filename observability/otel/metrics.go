package otel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// durationBounds are those of the buckets of rpc.server.duration, in seconds: a
// small call takes microseconds, a large one minutes.
var durationBounds = []float64{ //nolint:gochecknoglobals // read only
	0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
}

// metrics counts and times the calls of a server.
type metrics struct {
	own      []attribute.KeyValue
	requests metric.Int64Counter
	duration metric.Float64Histogram
	failures metric.Int64Counter

	known atomic.Pointer[map[series]*labels] // never changed, but replaced
	mu    sync.Mutex                         // is held by who replaces it
}

func newMetrics(opts *Options, own []attribute.KeyValue) (*metrics, error) {
	meter := opts.MeterProvider.Meter(scopeName, metric.WithInstrumentationVersion(scopeVersion))
	m := &metrics{own: own}
	m.known.Store(&map[series]*labels{})
	var err1, err2, err3 error
	m.requests, err1 = meter.Int64Counter("rpc.server.requests",
		metric.WithUnit("{request}"), metric.WithDescription("Number of RPC requests handled"))
	m.duration, err2 = meter.Float64Histogram("rpc.server.duration",
		metric.WithUnit("s"), metric.WithDescription("Duration of RPC requests"), metric.WithExplicitBucketBoundaries(durationBounds...))
	m.failures, err3 = meter.Int64Counter("rpc.server.auth_failure",
		metric.WithUnit("{failure}"), metric.WithDescription("Number of authentication failures before RPC dispatch"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("otel: %w", err)
	}
	return m, nil
}

// series is what one series of the metrics has in common.
type series struct {
	method                  *vgirpc.Method
	failed                  bool
	domain, status, sources string
}

// labels are the attributes of a series in the forms in which they are recorded,
// which are made once.
type labels struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

// maxKnown is of how many series the labels are kept. There are a few for each
// method, unless domains are made up.
const maxKnown = 2000

func (m *metrics) labelsOf(s series) *labels {
	known := *m.known.Load()
	if l := known[s]; l != nil {
		return l
	}
	l := m.newLabels(s)
	if len(known) < maxKnown {
		m.mu.Lock()
		defer m.mu.Unlock()
		more := maps.Clone(*m.known.Load())
		more[s] = l
		m.known.Store(&more)
	}
	return l
}

func (m *metrics) newLabels(s series) *labels {
	status := "ok"
	if s.failed {
		status = "error"
	}
	attributes := append(methodAttributes(s.method), attribute.String(keyStatus, status))
	if s.domain != "" {
		attributes = append(attributes, attribute.String(keyDomain, s.domain))
	}
	attributes = append(appendPeer(attributes, s.status, s.sources), m.own...)
	set := metric.WithAttributeSet(attribute.NewSet(attributes...))
	return &labels{[]metric.AddOption{set}, []metric.RecordOption{set}}
}

// count records a call.
func (m *metrics) count(ctx context.Context, s series, took time.Duration) {
	l := m.labelsOf(s)
	m.requests.Add(ctx, 1, l.add...)
	m.duration.Record(ctx, took.Seconds(), l.record...)
}

// failed counts a caller who was not let in.
func (m *metrics) failed(ctx context.Context, service string, reason vgirpc.RefusedReason) {
	attributes := append([]attribute.KeyValue{
		attribute.String(keySystem, system), attribute.String(keyService, service), attribute.String(keyFailure, string(reason)),
	}, m.own...)
	m.failures.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(attributes...)))
}
