package vgitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Dialer starts serving s over the transport under test and returns a client of
// it. What it starts it also stops, with t.Cleanup.
type Dialer func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client

// TestTransport runs everything that a transport must do against the one that
// dial brings: calls of each kind, errors, logs, headers, cancellation, and that
// the transport stays usable after every refusal.
func TestTransport(t *testing.T, dial Dialer) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Dialer)
	}{
		{"a unary call returns its result and its logs", unaryCalls},
		{"an error arrives with everything it carries", errorsArrive},
		{"a producer sends its batches in order", producers},
		{"leaving a producer early frees the connection", leavingEarly},
		{"a header comes before the first turn", headers},
		{"an exchange answers every input until it fails", exchanges},
		{"cancel runs the hook once", cancelling},
		{"a refused stream leaves the connection in step", refusedStreams},
		{"routing gives three distinct answers", routing},
		{"reflection describes what is hosted", reflection},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, dial) })
	}
}

func unaryCalls(t *testing.T, dial Dialer) {
	c := NewContract()
	var logs []string
	client := dial(t, NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{
		OnLog: func(_ context.Context, l vgirpc.LogMessage) {
			logs = append(logs, fmt.Sprintf("%s %s %s", l.Level, l.Message, l.Extra))
		},
	})
	for range 3 {
		if got, err := c.Add.Call(t.Context(), client, AddParams{1.5, 2}); err != nil || got != 3.5 {
			t.Fatalf("add: %v, %v", got, err)
		}
	}
	long := strings.Repeat("ünïcode-λ ", 100_000)
	for _, text := range []string{"", "hello", long} {
		if got, err := c.Echo.Call(t.Context(), client, TextParams{text}); err != nil || got != text {
			t.Fatalf("echo of %d bytes: %d bytes, %v", len(text), len(got), err)
		}
	}
	want := []string{`DEBUG echoing {"length":0}`, `DEBUG echoing {"length":5}`, fmt.Sprintf(`DEBUG echoing {"length":%d}`, len(long))}
	if diff := cmp.Diff(want, logs); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}

func errorsArrive(t *testing.T, dial Dialer) {
	c := NewContract()
	client := dial(t, NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	_, err := c.Fail.Call(t.Context(), client, TextParams{"thing"})
	var e *vgirpc.Error
	if !errors.As(err, &e) || e.Code != vgirpc.NotFound || e.Kind != "missing" || e.Message != "no thing" || !vgirpc.IsRemote(err) {
		t.Fatalf("got %#v", err)
	}
	if d, ok := vgirpc.DetailOf[vgirpc.ResourceInfo](err); !ok || d.ResourceName != "thing" {
		t.Errorf("details: %+v", e.Details)
	}
	if !strings.Contains(e.Traceback, "test.Calc.v1/fail") {
		t.Errorf("traceback without the method: %q", e.Traceback)
	}
	if !errors.Is(err, &vgirpc.Error{Kind: "missing"}) || errors.Is(err, &vgirpc.Error{Kind: "other"}) {
		t.Errorf("errors.Is does not go by kind")
	}
	if _, err = c.Fail.Call(t.Context(), client, TextParams{"panic"}); !errors.As(err, &e) || e.Type != "PanicError" || e.Code != vgirpc.Unknown {
		t.Errorf("a panic arrives as %v", err)
	}
	if got, err := c.Add.Call(t.Context(), client, AddParams{1, 1}); err != nil || got != 2 {
		t.Errorf("after the failures: %v, %v", got, err)
	}
}

func producers(t *testing.T, dial Dialer) {
	c := NewContract()
	client := dial(t, NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	for _, n := range []int64{0, 1, 5} {
		stream, err := c.Count.Open(t.Context(), client, CountParams{n})
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for rows, err := range stream.All() {
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				got = append(got, r.Value)
			}
		}
		if int64(len(got)) != n {
			t.Errorf("count(%d) sent %v", n, got)
		}
		if err := stream.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func leavingEarly(t *testing.T, dial Dialer) {
	c := NewContract()
	client := dial(t, NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	for range 3 {
		stream, err := c.Count.Open(t.Context(), client, CountParams{1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		for rows, err := range stream.All() {
			if err != nil || rows[0].Value > 3 {
				break
			}
		}
		if got, err := c.Add.Call(t.Context(), client, AddParams{1, 2}); err != nil || got != 3 {
			t.Fatalf("after leaving: %v, %v", got, err)
		}
	}
}

func headers(t *testing.T, dial Dialer) {
	c := NewContract()
	var logs int
	client := dial(t, NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{
		OnLog: func(context.Context, vgirpc.LogMessage) { logs++ },
	})
	stream, head, err := c.Headed.OpenHeader(t.Context(), client, CountParams{2})
	if err != nil {
		t.Fatal(err)
	}
	if head != (Header{2, "so many"}) || logs != 1 {
		t.Errorf("header %+v with %d logs", head, logs)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Headed.OpenHeader(t.Context(), client, CountParams{-1}); !vgirpc.IsRemote(err) {
		t.Errorf("a header that fails: %v", err)
	}
	if got, err := c.Add.Call(t.Context(), client, AddParams{1, 2}); err != nil || got != 3 {
		t.Errorf("after a header that failed: %v, %v", got, err)
	}
}

func exchanges(t *testing.T, dial Dialer) {
	c := NewContract()
	client := dial(t, NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	stream, err := c.Sum.Open(t.Context(), client, vgirpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		in   []Number
		want int64
	}{{[]Number{{1}, {2}}, 3}, {nil, 3}, {[]Number{{4}}, 7}} {
		out, err := stream.Exchange(t.Context(), step.in...)
		if err != nil || len(out) != 1 || out[0].Value != step.want {
			t.Fatalf("%v: %v, %v, want %d", step.in, out, err, step.want)
		}
	}
	if _, err := stream.Exchange(t.Context(), Number{-1}); !errors.Is(err, &vgirpc.Error{Kind: "negative"}) {
		t.Errorf("got %v", err)
	}
	if _, err := stream.Exchange(t.Context(), Number{1}); !errors.Is(err, io.EOF) {
		t.Errorf("after the failure: %v, want io.EOF", err)
	}
	if got, err := c.Add.Call(t.Context(), client, AddParams{1, 2}); err != nil || got != 3 {
		t.Errorf("after the stream: %v, %v", got, err)
	}
}

func cancelling(t *testing.T, dial Dialer) {
	c := NewContract()
	var cancelled atomic.Int64
	opts := vgirpc.ServerOptions{OnConnect: func(ctx context.Context, _ *vgirpc.Peer) (context.Context, error) {
		return WithCancelProbe(ctx, &cancelled), nil
	}}
	client := dial(t, NewServer(t, c, opts), vgirpc.ClientOptions{})
	for _, turns := range []int{0, 2} {
		cancelled.Store(0)
		stream, err := c.Sum.Open(t.Context(), client, vgirpc.None{})
		if err != nil {
			t.Fatal(err)
		}
		for range turns {
			if _, err := stream.Exchange(t.Context(), Number{1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(stream.Cancel(), stream.Cancel(), stream.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Add.Call(t.Context(), client, AddParams{}); err != nil {
			t.Fatal(err)
		}
		if cancelled.Load() != 1 {
			t.Errorf("after %d turns the hook ran %d times", turns, cancelled.Load())
		}
	}
}

func refusedStreams(t *testing.T, dial Dialer) {
	c, other := NewContract(), NewContract()
	_ = vgirpc.NewProducer[TextParams, Number](other.Protocol, "absent")
	unknown := vgirpc.NewProtocol("test.Unknown.v1", "")
	absent := vgirpc.NewProducer[CountParams, Number](unknown, "count")
	drifted := vgirpc.NewProtocol("test.Calc.v1", "1.2.9")
	wrong := vgirpc.NewProducer[TextParams, Number](drifted, "count")
	old := vgirpc.NewProducer[CountParams, Number](vgirpc.NewProtocol("test.Calc.v1", "1.0.0"), "count")
	client := dial(t, NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	for name, open := range map[string]func() (*vgirpc.ProducerStream[Number], error){
		"an unknown protocol": func() (*vgirpc.ProducerStream[Number], error) {
			return absent.Open(t.Context(), client, CountParams{1})
		},
		"wrong parameters": func() (*vgirpc.ProducerStream[Number], error) {
			return wrong.Open(t.Context(), client, TextParams{"x"})
		},
		"an old version": func() (*vgirpc.ProducerStream[Number], error) {
			return old.Open(t.Context(), client, CountParams{1})
		},
		"a failing handler": func() (*vgirpc.ProducerStream[Number], error) {
			return c.Count.Open(t.Context(), client, CountParams{-1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := open()
			if err != nil {
				t.Fatal(err)
			}
			failed := false
			for _, err := range stream.All() {
				failed = vgirpc.IsRemote(err)
			}
			if !failed {
				t.Error("the stream was not refused")
			}
			for i := range 3 {
				if got, err := c.Add.Call(t.Context(), client, AddParams{float64(i), 1}); err != nil || got != float64(i)+1 {
					t.Fatalf("call %d after: %v, %v", i, got, err)
				}
			}
		})
	}
}

func routing(t *testing.T, dial Dialer) {
	c := NewContract()
	client := dial(t, NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	sameName := vgirpc.NewProtocol("test.Calc.v1", "1.2.0")
	for _, tt := range []struct {
		name string
		call func() error
		kind string
		code vgirpc.Code
	}{
		{"a protocol that is not hosted", func() error {
			m := vgirpc.NewUnary[AddParams, float64](vgirpc.NewProtocol("test.Other.v1", ""), "add")
			_, err := m.Call(t.Context(), client, AddParams{})
			return err
		}, vgirpc.KindProtocolNotSupported, vgirpc.Unimplemented},
		{"a method that is absent", func() error {
			m := vgirpc.NewUnary[AddParams, float64](sameName, "subtract")
			_, err := m.Call(t.Context(), client, AddParams{})
			return err
		}, vgirpc.KindMethodNotImplemented, vgirpc.Unimplemented},
		{"another version", func() error {
			m := vgirpc.NewUnary[AddParams, float64](vgirpc.NewProtocol("test.Calc.v1", "2.0.0"), "add")
			_, err := m.Call(t.Context(), client, AddParams{})
			return err
		}, vgirpc.KindProtocolVersionMismatch, vgirpc.FailedPrecondition},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e *vgirpc.Error
			if err := tt.call(); !errors.As(err, &e) || e.Kind != tt.kind || e.Code != tt.code {
				t.Errorf("got %v, want %s", err, tt.kind)
			}
		})
	}
}

func reflection(t *testing.T, dial Dialer) {
	c := NewContract()
	client := dial(t, NewServer(t, c, vgirpc.ServerOptions{ServerID: "abc", Version: "9"}), vgirpc.ClientOptions{})
	list, err := client.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list.ServerID != "abc" || list.ServerVersion != "9" || len(list.Protocols) != 2 ||
		list.Protocols[0].Protocol != "test.Calc.v1" || list.Protocols[1].Protocol != vgirpc.ReflectionName {
		t.Fatalf("got %+v", list)
	}
	hash, err := c.Protocol.Hash()
	if err != nil || list.Protocols[0].ProtocolHash != hash || len(hash) != 64 {
		t.Errorf("hash %q, %v; listed %q", hash, err, list.Protocols[0].ProtocolHash)
	}
	d, err := vgirpc.NewReflection().Describe.Call(t.Context(), client, vgirpc.DescribeParams{Protocol: "test.Calc.v1"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range d.Methods {
		names = append(names, m.Name+" "+m.MethodType+" "+m.StreamKind)
	}
	want := []string{"add unary ", "count stream producer", "echo unary ", "fail unary ", "headed stream producer", "sum stream exchange"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
}
