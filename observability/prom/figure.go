package prom

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Figure is a number that a part of a server keeps of itself, and that is read
// when somebody asks.
type Figure struct {
	// Name comes behind "vgi_rpc_". That of a counter ends with "_total".
	Name string
	// Help is a sentence.
	Help string
	// Counter says that the number only ever grows.
	Counter bool
	// Label is the name of what tells the values of one figure apart; "" for a
	// figure of one value. What it can be must be bounded.
	Label string
	// Read reports the values, each with its label's value. It may be called at
	// once with itself.
	Read func(report func(label string, value float64))
}

// Add adds a figure. It fails when its name is not one of a metric, or is there
// already.
func (m *Metrics) Add(f Figure) error {
	c := &figure{read: f.Read, kind: prometheus.GaugeValue}
	if f.Counter {
		c.kind = prometheus.CounterValue
	}
	var labels []string
	if f.Label != "" {
		labels, c.labelled = []string{f.Label}, true
	}
	c.desc = prometheus.NewDesc(prometheus.BuildFQName(namespace, "", f.Name), f.Help, labels, nil)
	if err := m.registry.Register(c); err != nil {
		return fmt.Errorf("prom: figure %q: %w", f.Name, err)
	}
	return nil
}

// figure collects a [Figure].
type figure struct {
	desc     *prometheus.Desc
	kind     prometheus.ValueType
	labelled bool
	read     func(func(string, float64))
}

// Describe tells what it collects.
func (f *figure) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }

// Collect reads the values.
func (f *figure) Collect(ch chan<- prometheus.Metric) {
	f.read(func(label string, value float64) {
		var labels []string
		if f.labelled {
			labels = []string{strings.ToValidUTF8(label, "?")}
		}
		m, err := prometheus.NewConstMetric(f.desc, f.kind, value, labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(f.desc, err)
		}
		ch <- m
	})
}
