package worker

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func TestTheTimeOfTheEndIsAFlag(t *testing.T) {
	for args, want := range map[string]time.Duration{
		"":                     2 * time.Second,
		"--exit-timeout 7.5":   7500 * time.Millisecond,
		"--exit-timeout 0":     0, // no limit
		"--exit-timeout never": 0,
	} {
		server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, vgirpc.NewProtocol("test.Exit", "1.0.0"))
		if err != nil {
			t.Fatal(err)
		}
		setup, err := Configure(t, server, strings.Fields(args), nil)
		if err != nil {
			t.Fatal(err)
		}
		if setup.exitTimeout != want {
			t.Errorf("%q: %v, want %v", args, setup.exitTimeout, want)
		}
	}
}

func TestThePartsOfTheEndShareItsTime(t *testing.T) {
	const forever = time.Hour
	for _, tt := range []struct {
		name  string
		limit time.Duration
		takes []time.Duration // by order of the calls
		want  []time.Duration // that each had
	}{
		{"one alone has all of it", 2 * time.Second, []time.Duration{0}, []time.Duration{2 * time.Second}},
		{"one that hangs starves nobody", 2 * time.Second, []time.Duration{forever, 0}, []time.Duration{time.Second, time.Second}},
		{"what is not taken is there for the others", 2 * time.Second, []time.Duration{0, forever, forever}, []time.Duration{2 * time.Second / 3, time.Second, time.Second}},
		{"all hang", 2 * time.Second, []time.Duration{forever, forever, forever, forever}, []time.Duration{500e6, 500e6, 500e6, 500e6}},
		{"no limit", 0, []time.Duration{forever, forever}, []time.Duration{0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []time.Duration
				w := &worker{setup: &Setup{exitTimeout: tt.limit}, log: slog.New(slog.DiscardHandler)}
				for i := range tt.takes {
					takes := tt.takes[len(tt.takes)-1-i] // the last one is called first
					w.setup.AtExit(func(ctx context.Context) error {
						var has time.Duration
						if end, ok := ctx.Deadline(); ok {
							has = time.Until(end).Round(time.Microsecond)
						}
						got = append(got, has)
						select {
						case <-ctx.Done():
						case <-time.After(takes):
						}
						return ctx.Err()
					})
				}
				w.atExit(t.Context())
				for i := range tt.want {
					tt.want[i] = tt.want[i].Round(time.Microsecond)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}
