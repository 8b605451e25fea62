package prom_test

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vgirpc/vgirpc-go/observability"
	"github.com/vgirpc/vgirpc-go/observability/prom"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// mostAllocs is how many allocations an access log and metrics may cost a call
// together.
const mostAllocs = 6

// both are an access log in the background, and metrics.
func both(tb testing.TB) []vgirpc.Observer {
	tb.Helper()
	log, err := observability.OpenAccessLog(filepath.Join(tb.TempDir(), "access.jsonl"), observability.AccessLogOptions{
		File: observability.LogFileOptions{Async: true, MaxBytes: 64 << 20},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = log.Close() })
	return []vgirpc.Observer{log, newMetrics(tb, prom.Options{})}
}

// ended tells observers of a call from its beginning to its end.
func ended(ctx context.Context, observers []vgirpc.Observer, call *vgirpc.Call, end *vgirpc.CallEnd) {
	for _, o := range observers {
		ctx = o.CallStarted(ctx, call) //nolint:fatcontext // as a server does
	}
	for _, o := range observers {
		o.CallEnded(ctx, call, end)
	}
}

func TestAccessLogAndMetricsKeepToTheirAllocations(t *testing.T) {
	observers := both(t)
	within(t, func(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
		allocs := testing.AllocsPerRun(1000, func() { ended(ctx, observers, call, end) })
		if allocs > mostAllocs {
			t.Errorf("%v allocations for a call, want at most %d", allocs, mostAllocs)
		}
	})
}

// BenchmarkAccessLogAndMetrics measures what both add to a call. The time that
// the process was given, with the writing in the background, is cpu-ns/op: on a
// busy machine that says more.
func BenchmarkAccessLogAndMetrics(b *testing.B) {
	observers := both(b)
	within(b, func(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
		b.ReportAllocs()
		before := used(b)
		for b.Loop() {
			ended(ctx, observers, call, end)
		}
		b.ReportMetric(float64(used(b)-before)/float64(b.N), "cpu-ns/op")
	})
}

// used is how much time the process was given, in nanoseconds.
func used(b *testing.B) int64 {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
