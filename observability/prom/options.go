package prom

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Options configure [Metrics]. The zero value works.
type Options struct {
	// Version is the version of the server's build, as vgi_rpc_build_info has
	// it; that of the main module when empty.
	Version string
	// Buckets are the upper bounds of the classes of durations, in seconds and
	// in rising order; [DefaultBuckets] when empty.
	Buckets []float64
	// NativeHistograms counts durations in fine classes as well, which
	// Prometheus takes when it is started with
	// --enable-feature=native-histograms; it then leaves the series with the
	// suffix _bucket out, unless it is told otherwise, and with them their
	// exemplars. It makes a call a little dearer, and takes up to 160 further
	// counters for each method.
	NativeHistograms bool
	// TraceOf returns the identifiers of the span that ctx is in, 32 and 16 hex
	// digits, if that is sampled, and else empty ones. Nil when there are none.
	TraceOf func(ctx context.Context) (trace, span string)
	// ExemplarInterval is the time from one exemplar of a method to the next
	// among calls that took about as long. 1 s when 0, negative for each call.
	ExemplarInterval time.Duration
	// NoRuntime leaves out the figures of the Go runtime and of the process.
	NoRuntime bool
}

const defaultExemplarInterval = time.Second

// DefaultBuckets are the bounds of the classes of durations unless an option says
// otherwise, in seconds: from a tenth of a millisecond, which a call over a
// socket takes, to a minute.
func DefaultBuckets() []float64 {
	return []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
}

// complete fills in the defaults, or names an option that makes no sense.
func (o *Options) complete() error {
	if len(o.Buckets) == 0 {
		o.Buckets = DefaultBuckets()
	}
	for i, bound := range o.Buckets {
		if math.IsNaN(bound) || bound <= 0 || i > 0 && bound <= o.Buckets[i-1] {
			return fmt.Errorf("prom: option Buckets: %v at place %d: want positive numbers of seconds that rise", bound, i)
		}
	}
	if len(o.Buckets) > maxBuckets {
		return errors.New("prom: option Buckets: want at most 100 bounds: each is a counter for every method")
	}
	o.Buckets = slices.Clone(o.Buckets)
	if o.ExemplarInterval == 0 {
		o.ExemplarInterval = defaultExemplarInterval
	}
	return nil
}

const maxBuckets = 100
