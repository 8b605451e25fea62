package prom

import (
	"context"
	"sort"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// exemplars says which observations get one. An exemplar costs more than all the
// rest, and who asks once in some seconds sees but the last one of each class.
type exemplars struct {
	opts  *Options
	began time.Time
	next  []atomic.Int64 // of each class, in nanoseconds since then; nil without TraceOf
}

func newExemplars(opts *Options) exemplars {
	e := exemplars{opts: opts, began: time.Now()}
	if opts.TraceOf != nil {
		e.next = make([]atomic.Int64, len(opts.Buckets)+1)
	}
	return e
}

// observe counts a duration, perhaps with an exemplar.
func (e *exemplars) observe(ctx context.Context, into prometheus.Observer, took time.Duration) {
	seconds := took.Seconds()
	if e.next == nil || !e.due(seconds) {
		into.Observe(seconds)
		return
	}
	trace, span := e.opts.TraceOf(ctx)
	if len(trace) > maxID || len(span) > maxID || trace == "" {
		into.Observe(seconds)
		return
	}
	labels := prometheus.Labels{"trace_id": trace}
	if span != "" {
		labels["span_id"] = span
	}
	into.(prometheus.ExemplarObserver).ObserveWithExemplar(seconds, labels)
}

// maxID is the length of the longest identifier: all labels of an exemplar have
// 128 characters together.
const maxID = 32

// due reports whether it is time for another exemplar of that class.
func (e *exemplars) due(seconds float64) bool {
	if e.opts.ExemplarInterval < 0 {
		return true
	}
	next := &e.next[sort.SearchFloat64s(e.opts.Buckets, seconds)]
	now, at := int64(time.Since(e.began))+1, next.Load()
	return now >= at && next.CompareAndSwap(at, now+int64(e.opts.ExemplarInterval))
}
