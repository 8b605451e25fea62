package vgirpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// endsIn lets everybody in for a while, as admitters say one after the other.
func endsIn(whiles ...time.Duration) []vgirpc.Admitter {
	var out []vgirpc.Admitter
	for _, d := range whiles {
		out = append(out, admit(func(_ context.Context, a *vgirpc.Admission) error {
			if d == 0 {
				a.EndBy(time.Time{})
				return nil
			}
			a.EndBy(time.Now().Add(d))
			return nil
		}))
	}
	return out
}

// pause is how long a call takes.
type pause struct {
	Nanoseconds int64 `vgi:"nanoseconds"`
}

func TestAConnectionEndsWithWhatItsPeerWasLetInBy(t *testing.T) {
	type event struct {
		After time.Duration
		What  string
	}
	const forever = 24 * time.Hour
	for _, tt := range []struct {
		name  string
		admit []vgirpc.Admitter
		calls []time.Duration // how long each takes, with a minute between two
		want  []event
	}{
		{"that waits for a call", endsIn(time.Hour), nil, []event{{time.Hour, "closed"}}},
		{"that waits for a call, after others", endsIn(90 * time.Second), []time.Duration{0, 0}, []event{{0, "answered"}, {time.Minute, "answered"}, {90 * time.Second, "closed"}}},
		{"in the middle of a call, which is answered", endsIn(90 * time.Second), []time.Duration{0, time.Hour}, []event{{0, "answered"}, {time.Hour + time.Minute, "answered"}, {time.Hour + time.Minute, "closed"}}},
		{"at the first of several times", endsIn(2*time.Hour, time.Hour, 3*time.Hour, 0), nil, []event{{time.Hour, "closed"}}},
		{"that is over already", endsIn(-time.Hour), nil, []event{{0, "closed"}}},
		{"that never ends", endsIn(0), []time.Duration{0}, []event{{0, "answered"}, {forever, "the test is over"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				protocol := vgirpc.NewProtocol("test.Ends", "1.0.0")
				wait := vgirpc.NewUnary[pause, vgirpc.None](protocol, "wait")
				opts := admitting(tt.admit...)
				var log bytes.Buffer
				opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
				opts.Conns.FirstByteTimeout = -1
				s, err := vgirpc.NewServer(opts, protocol)
				if err != nil {
					t.Fatal(err)
				}
				vgirpc.HandleUnary(s, wait, func(_ context.Context, p pause) (vgirpc.None, error) {
					time.Sleep(time.Duration(p.Nanoseconds))
					return vgirpc.None{}, nil
				})
				l := newListenerOf()
				served := make(chan error, 1)
				go func() { served <- s.Serve(context.Background(), l) }()
				conn := l.dial()
				began := time.Now()
				var got []event
				client := vgirpc.NewClient(conn, vgirpc.ClientOptions{})
				for i, d := range tt.calls {
					if i > 0 {
						time.Sleep(time.Minute)
					}
					what := "answered"
					if _, err := wait.Call(t.Context(), client, pause{int64(d)}); err != nil {
						what = err.Error()
					}
					got = append(got, event{time.Since(began), what})
				}
				_ = conn.SetReadDeadline(began.Add(forever))
				what := "closed"
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					what = "the test is over"
				}
				got = append(got, event{time.Since(began), what})
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				_ = client.Close()
				_ = l.Close()
				if err := <-served; err != nil {
					t.Error(err)
				}
				if told := strings.Contains(log.String(), "let in by has ended"); told != (what == "closed") {
					t.Errorf("the log is %s", log.String())
				}
			})
		})
	}
}
