package vgirpc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// clientNotes is an observer of a client that writes down what it sees, and sends
// a key along.
type clientNotes struct {
	name string
	log  *[]string
}

// CallStarted notes a beginning.
func (n *clientNotes) CallStarted(ctx context.Context, m *vgirpc.Method) context.Context {
	*n.log = append(*n.log, fmt.Sprintf("%s starts %s", n.name, m.Name()))
	return vgirpc.WithMetadata(ctx, wire.Pair{Key: "note." + n.name, Value: m.Name()})
}

// CallEnded notes an end.
func (n *clientNotes) CallEnded(_ context.Context, m *vgirpc.Method, err error) {
	*n.log = append(*n.log, fmt.Sprintf("%s ends %s %s", n.name, m.Name(), codeOrOK(err)))
}

func codeOrOK(err error) string {
	if err == nil {
		return "OK"
	}
	return string(vgirpc.CodeOf(err))
}

// arrivals notes what observers of clients sent along.
type arrivals struct{ got []string }

// CallStarted notes the keys.
func (a *arrivals) CallStarted(ctx context.Context, call *vgirpc.Call) context.Context {
	if meta := call.Metadata(); meta.Has("note.a") {
		a.got = append(a.got, meta.Value("note.a")+" "+meta.Value("note.b")+" "+meta.Value("own"))
	}
	return ctx
}

// CallEnded does nothing.
func (*arrivals) CallEnded(context.Context, *vgirpc.Call, *vgirpc.CallEnd) {}

func TestObserversOfAClientSeeTheBeginningAndTheEndOfEveryCallOnce(t *testing.T) {
	c, arrived := vgitest.NewContract(), &arrivals{}
	s := vgitest.NewServer(t, c, vgirpc.ServerOptions{Observers: []vgirpc.Observer{arrived}})
	var log []string
	client, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{
		Observers: []vgirpc.ClientObserver{&clientNotes{"a", &log}, &clientNotes{"b", &log}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	ctx := vgirpc.WithMetadata(t.Context(), wire.Pair{Key: "own", Value: "1"})
	for _, tt := range []struct {
		name, method, end string
		call              func() error
	}{
		{"a unary call", "add", "OK", func() error {
			_, err := c.Add.Call(ctx, client, vgitest.AddParams{A: 1})
			return err
		}},
		{"a unary call that fails", "fail", "NOT_FOUND", func() error {
			_, err := c.Fail.Call(ctx, client, vgitest.TextParams{Text: "x"})
			return ignore(err, vgirpc.NotFound)
		}},
		{"a producer that is read to its end", "count", "OK", func() error {
			stream, err := c.Count.Open(ctx, client, vgitest.CountParams{N: 2})
			if err != nil {
				return err
			}
			for _, err := range stream.All() {
				if err != nil {
					return err
				}
			}
			return stream.Close()
		}},
		{"a producer that is left", "count", "OK", func() error {
			stream, err := c.Count.Open(ctx, client, vgitest.CountParams{N: 2})
			if err != nil {
				return err
			}
			for range stream.All() {
				break
			}
			return nil
		}},
		{"a stream with a header that is refused", "headed", "UNKNOWN", func() error {
			_, _, err := c.Headed.OpenHeader(ctx, client, vgitest.CountParams{N: -1})
			return ignore(err, vgirpc.Unknown)
		}},
		{"an exchange in halves", "sum", "OK", func() error {
			stream, err := c.Sum.Open(ctx, client, vgirpc.None{})
			if err != nil {
				return err
			}
			if err := stream.Send(ctx, vgitest.Number{Value: 1}); err != nil {
				return err
			}
			if err := stream.Send(ctx, vgitest.Number{Value: 1}); vgirpc.CodeOf(err) != vgirpc.FailedPrecondition {
				return fmt.Errorf("sending twice: %w", err)
			}
			if _, err := stream.Recv(ctx); err != nil {
				return err
			}
			return stream.Close()
		}},
		{"an exchange that is cancelled", "sum", "OK", func() error {
			stream, err := c.Sum.Open(ctx, client, vgirpc.None{})
			if err != nil {
				return err
			}
			return errors.Join(stream.Cancel(), stream.Close())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, arrived.got = nil, nil
			if err := tt.call(); err != nil {
				t.Fatal(err)
			}
			end := tt.method + " " + tt.end
			want := []string{"a starts " + tt.method, "b starts " + tt.method, "a ends " + end, "b ends " + end}
			if diff := cmp.Diff(want, log); diff != "" {
				t.Errorf("what they saw (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{tt.method + " " + tt.method + " 1"}, arrived.got); diff != "" {
				t.Errorf("what arrived (-want +got):\n%s", diff)
			}
		})
	}
}

// ignore is err unless it has the code.
func ignore(err error, code vgirpc.Code) error {
	if vgirpc.CodeOf(err) == code {
		return nil
	}
	return fmt.Errorf("want %s: %w", code, err)
}

func TestAnObservedCallEndsWhenTheCallersOwnCodePanics(t *testing.T) {
	c := vgitest.NewContract()
	var log []string
	client, err := vgirpc.DialServer(t.Context(), vgitest.NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{
		Observers: []vgirpc.ClientObserver{&clientNotes{"a", &log}},
		OnLog:     func(context.Context, vgirpc.LogMessage) { panic("on purpose") },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	func() {
		defer func() { _ = recover() }()
		_, _ = c.Echo.Call(t.Context(), client, vgitest.TextParams{Text: "x"})
	}()
	if diff := cmp.Diff([]string{"a starts echo", "a ends echo INTERNAL"}, log); diff != "" {
		t.Errorf("what it saw (-want +got):\n%s", diff)
	}
}
