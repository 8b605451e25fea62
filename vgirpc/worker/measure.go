package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// Measure is a number that a part of a worker keeps of itself, for whoever watches
// workers. It is read when somebody asks.
type Measure struct {
	// Name is in lower case, with the unit at its end: http_sessions,
	// http_received_bytes_total. That of a counter ends with "_total".
	Name string
	// Help is a sentence.
	Help string
	// Counter says that the number only ever grows.
	Counter bool
	// Label is the name of what tells several values of one measure apart; ""
	// for one value. What it can be must be bounded.
	Label string
	// Read reports the values, each with its label's value. It may be called at
	// once with itself, from when the worker serves to its end.
	Read func(report func(label string, value float64))
}

// measures are what a worker's parts have to report, and what goes with that.
type measures struct {
	mu   sync.Mutex
	all  []Measure
	span func(context.Context) (trace, span string)
}

// Measure adds numbers that a part of the worker keeps of itself. Nobody may want
// them: to keep them must cost next to nothing.
func (s *Setup) Measure(m ...Measure) {
	s.measures.mu.Lock()
	defer s.measures.mu.Unlock()
	s.measures.all = append(s.measures.all, m...)
}

// Measures are the numbers that were added. All are there when the worker serves.
func (s *Setup) Measures() []Measure {
	s.measures.mu.Lock()
	defer s.measures.mu.Unlock()
	return slices.Clone(s.measures.all)
}

// SampledTraceOf tells those who keep examples of calls how to find the span that
// a call runs in, if it is sampled: f returns its identifiers, 32 and 16 lowercase
// hex digits, or else empty ones. An option calls it in its Apply.
func (s *Setup) SampledTraceOf(f func(ctx context.Context) (trace, span string)) { s.measures.span = f }

// SampledTrace is what the function of [Setup.SampledTraceOf] returns, and is
// empty without one.
func (s *Setup) SampledTrace(ctx context.Context) (trace, span string) {
	if s.measures.span == nil {
		return "", ""
	}
	return s.measures.span(ctx)
}

// LogLevel is the least severity of what a worker's logger logs. It can be changed
// at any time.
type LogLevel struct {
	own   slog.Handler // that has a level of its own, nil for none
	set   atomic.Bool  // since when that does not count
	least slog.LevelVar
}

// LogLevel is the level of the server's logger. An option may keep it; it is as
// the command line says when options are applied.
func (s *Setup) LogLevel() *LogLevel { return &s.level }

// Level is the level. Of a logger of the program's own it is the least one of the
// four that it logs.
func (l *LogLevel) Level() slog.Level {
	if l.own == nil || l.set.Load() {
		return l.least.Level()
	}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if l.own.Enabled(context.Background(), level) {
			return level
		}
	}
	return slog.LevelError
}

// Set changes the level.
func (l *LogLevel) Set(level slog.Level) {
	l.least.Set(level)
	l.set.Store(true)
}
