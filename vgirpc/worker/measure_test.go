package worker_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

func TestTheLogLevelChangesWhileTheWorkerLives(t *testing.T) {
	for _, tt := range []struct {
		name  string
		own   slog.Level // of the program's logger
		args  []string
		want  slog.Level
		after slog.Level
	}{
		{"of a logger that logs more", slog.LevelDebug, nil, slog.LevelDebug, slog.LevelError},
		{"of one that logs less", slog.LevelError, nil, slog.LevelError, slog.LevelDebug},
		{"as the command line says", slog.LevelError, []string{"--log-level", "warn"}, slog.LevelWarn, slog.LevelInfo},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			s := newServer(t, vgirpc.ServerOptions{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: tt.own}))})
			setup, err := worker.Configure(t, s, tt.args, nil)
			if err != nil {
				t.Fatal(err)
			}
			level, logger := setup.LogLevel(), s.Logger().With("a", 1)
			logs := func() (least slog.Level) {
				for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
					if logger.Enabled(t.Context(), l) {
						return l
					}
				}
				return slog.LevelError + 1
			}
			if level.Level() != tt.want || logs() != tt.want {
				t.Errorf("the level is %v, and %v is logged, want %v", level.Level(), logs(), tt.want)
			}
			level.Set(tt.after)
			if level.Level() != tt.after || logs() != tt.after {
				t.Errorf("the level is %v, and %v is logged, want %v after that was set", level.Level(), logs(), tt.after)
			}
		})
	}
}

func TestMeasuresAreThoseThatOptionsAdd(t *testing.T) {
	setup, err := worker.Configure(t, newServer(t, vgirpc.ServerOptions{}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if trace, span := setup.SampledTrace(t.Context()); trace != "" || span != "" {
		t.Errorf("span %q %q of nobody", trace, span)
	}
	setup.SampledTraceOf(func(context.Context) (string, string) { return "t", "s" })
	if trace, span := setup.SampledTrace(t.Context()); trace != "t" || span != "s" {
		t.Errorf("span %q %q", trace, span)
	}
	setup.Measure(worker.Measure{Name: "a"}, worker.Measure{Name: "b"})
	setup.Measure(worker.Measure{Name: "c"})
	var names []string
	for _, m := range setup.Measures() {
		names = append(names, m.Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
