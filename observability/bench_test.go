package observability_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/observability"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// hook is an observer that runs a function when a call ends.
type hook func(context.Context, *vgirpc.Call, *vgirpc.CallEnd)

func (hook) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }

func (h hook) CallEnded(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
	h(ctx, call, end)
}

// BenchmarkAccessLog measures what the log adds to a call, again and again for
// one real call.
func BenchmarkAccessLog(b *testing.B) {
	open := func(b *testing.B, opts observability.AccessLogOptions) *observability.AccessLog {
		b.Helper()
		log, err := observability.OpenAccessLog(filepath.Join(b.TempDir(), "access.jsonl"), opts)
		if err != nil {
			b.Fatal(err)
		}
		return log
	}
	trace := func(context.Context) (trace, span string) {
		return "0123456789abcdef0123456789abcdef", "0123456789abcdef"
	}
	for _, bench := range []struct {
		name  string
		async bool
		log   func(*testing.B) *observability.AccessLog
	}{
		{"discarded", false, func(*testing.B) *observability.AccessLog {
			return observability.NewAccessLog(io.Discard, observability.AccessLogOptions{})
		}},
		{"synchronous", false, func(b *testing.B) *observability.AccessLog {
			b.Helper()
			return open(b, observability.AccessLogOptions{})
		}},
		{"asynchronous", true, func(b *testing.B) *observability.AccessLog {
			b.Helper()
			return open(b, observability.AccessLogOptions{TraceOf: trace, File: observability.LogFileOptions{Async: true, MaxBytes: 64 << 20}})
		}},
		{"asynchronous, one call in a hundred", true, func(b *testing.B) *observability.AccessLog {
			b.Helper()
			return open(b, observability.AccessLogOptions{SampleRate: 0.01, File: observability.LogFileOptions{Async: true}})
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			log := bench.log(b)
			var measured bool
			c, err := vgirpc.DialServer(b.Context(), newServer(b, hook(func(ctx context.Context, call *vgirpc.Call, end *vgirpc.CallEnd) {
				if measured {
					return
				}
				measured = true
				b.ReportAllocs()
				var n int
				for b.Loop() {
					log.CallEnded(log.CallStarted(ctx, call), call, end)
					// No disk is as fast as this loop: let the writer catch up, unmeasured.
					if n++; bench.async && n%5000 == 0 {
						b.StopTimer()
						for log.Waiting() > 0 {
							time.Sleep(time.Millisecond)
						}
						b.StartTimer()
					}
				}
				b.ReportMetric(float64(log.Dropped())/float64(b.N), "dropped/op")
			})), vgirpc.ClientOptions{})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := login.Call(b.Context(), c, loginParams{Password: "x"}); err != nil {
				b.Error(err)
			}
			_ = c.Close()
			_ = log.Close()
		})
	}
}
