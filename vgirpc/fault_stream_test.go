package vgirpc_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// faultyClient serves s on one end of a connection of its own, and calls it over
// the other one, with the faults.
func faultyClient(t *testing.T, s *vgirpc.Server, near, far io.ReadWriteCloser, opts vgirpc.ClientOptions, faults []vgitest.Fault) *vgirpc.Client {
	t.Helper()
	conn, err := s.NewConn(t.Context(), far, &vgirpc.Peer{Kind: vgirpc.TransportUnix, UID: -1, PID: -1})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.ServeConn(context.Background(), conn) // it ends with the fault
	}()
	client := vgirpc.NewClient(vgitest.Faulty(near, faults...), opts)
	t.Cleanup(func() {
		_ = client.Close()
		<-served
	})
	return client
}

func TestEveryFaultEndsInATypedErrorByTheDeadline(t *testing.T) {
	t.Run("in-process pair", func(t *testing.T) {
		returnsEverything(t)
		vgitest.TestFaults(t, func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions, faults ...vgitest.Fault) *vgirpc.Client {
			t.Helper()
			near, far := vgirpc.NewPair()
			return faultyClient(t, s, near, far, opts, faults)
		})
	})
	t.Run("Unix socket", func(t *testing.T) {
		s := newSocketPairs(t)
		returnsEverything(t)
		vgitest.TestFaultsOnSockets(t, func(t *testing.T, server *vgirpc.Server, opts vgirpc.ClientOptions, faults ...vgitest.Fault) *vgirpc.Client {
			t.Helper()
			near, far := s.next(t)
			return faultyClient(t, server, near, far, opts, faults)
		})
	})
}

// outcomeOf is a call's error by its code, with the time it took.
type outcomeOf struct {
	Code vgirpc.Code
	Took time.Duration
}

func TestCallersThatWaitForABrokenConnectionAreTold(t *testing.T) {
	for _, tt := range []struct {
		name string
		hold func(ctx context.Context, c *vgitest.Contract, client *vgirpc.Client) error
		// fault is what becomes of the call that holds the connection.
		fault vgitest.Fault
		held  vgirpc.Code
	}{
		{"a call that misses its deadline", holdUnary, vgitest.Stall(vgitest.Reads, 40), vgirpc.DeadlineExceeded},
		{"a call whose request stalls", holdUnary, vgitest.Stall(vgitest.Writes, 40), vgirpc.DeadlineExceeded},
		{"a header that misses its deadline", holdHeader, vgitest.Stall(vgitest.Reads, 40), vgirpc.DeadlineExceeded},
		{"a stream whose cancellation stalls", holdCancel, vgitest.Stall(vgitest.Reads, 0), vgirpc.DeadlineExceeded},
		{"a stream whose end stalls", holdClose, vgitest.Stall(vgitest.Reads, 0), vgirpc.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := vgitest.NewContract()
				s := vgitest.NewServer(t, c, vgirpc.ServerOptions{})
				near, far := vgirpc.NewPair()
				client := faultyClient(t, s, near, far, vgirpc.ClientOptions{}, []vgitest.Fault{tt.fault})
				within := func(limit time.Duration, call func(ctx context.Context) error) <-chan outcomeOf {
					out := make(chan outcomeOf, 1)
					go func() {
						ctx, cancel := context.WithTimeout(t.Context(), limit)
						defer cancel()
						start := time.Now()
						err := call(ctx)
						out <- outcomeOf{vgirpc.CodeOf(err), time.Since(start)}
					}()
					synctest.Wait()
					return out
				}
				add := func(ctx context.Context) error {
					_, err := c.Add.Call(ctx, client, vgitest.AddParams{})
					return err
				}
				holds := within(time.Minute, func(ctx context.Context) error { return tt.hold(ctx, c, client) })
				impatient, patient := within(time.Second, add), within(time.Hour, add)
				got := []outcomeOf{<-impatient, <-holds, <-patient}
				want := []outcomeOf{
					{vgirpc.DeadlineExceeded, time.Second}, {tt.held, time.Minute}, {vgirpc.Unavailable, time.Minute},
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("who does not wait, who holds, who waits (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func holdUnary(ctx context.Context, c *vgitest.Contract, client *vgirpc.Client) error {
	_, err := c.Add.Call(ctx, client, vgitest.AddParams{})
	return err
}

func holdHeader(ctx context.Context, c *vgitest.Contract, client *vgirpc.Client) error {
	_, _, err := c.Headed.OpenHeader(ctx, client, vgitest.CountParams{N: 1})
	return err
}

func holdCancel(ctx context.Context, c *vgitest.Contract, client *vgirpc.Client) error {
	stream, err := c.Count.Open(ctx, client, vgitest.CountParams{N: 1})
	if err != nil {
		return err
	}
	return stream.Cancel()
}

func holdClose(ctx context.Context, c *vgitest.Contract, client *vgirpc.Client) error {
	stream, err := c.Count.Open(ctx, client, vgitest.CountParams{N: 1})
	if err != nil {
		return err
	}
	return stream.Close()
}

// heldOpen is a connection whose Close waits to be released.
type heldOpen struct {
	io.ReadWriteCloser
	release chan struct{}
	closed  atomic.Bool
}

// Close closes the connection at once, and returns later.
func (h *heldOpen) Close() error {
	err := h.ReadWriteCloser.Close()
	<-h.release
	h.closed.Store(true)
	return err
}

func TestAnErrorDoesNotWaitForASlowCloseButCloseDoes(t *testing.T) {
	returnsEverything(t)
	for name, fault := range map[string]vgitest.Fault{
		"a connection that is cut":    vgitest.Cut(vgitest.Reads, 40),
		"a peer that stalls":          vgitest.Stall(vgitest.Reads, 40),
		"a write that fails":          vgitest.Fail(vgitest.Writes, 40, syscall.EPIPE),
		"garbage in place of answers": vgitest.Corrupt(vgitest.Reads, 0, 0x55),
	} {
		t.Run(name, func(t *testing.T) {
			c := vgitest.NewContract()
			s := vgitest.NewServer(t, c, vgirpc.ServerOptions{})
			near, far := vgirpc.NewPair()
			slow := &heldOpen{ReadWriteCloser: vgitest.Faulty(near, fault), release: make(chan struct{})}
			client := faultyClient(t, s, slow, far, vgirpc.ClientOptions{}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), brief/8)
			defer cancel()
			failed := make(chan error, 1)
			go func() { failed <- holdUnary(ctx, c, client) }()
			select {
			case err := <-failed:
				if err == nil {
					t.Error("the call succeeded")
				}
			case <-time.After(patience):
				t.Error("the call waits for the connection to be closed")
			}
			done := make(chan bool, 1)
			go func() {
				_ = client.Close()
				done <- slow.closed.Load()
			}()
			close(slow.release)
			if !<-done {
				t.Error("Close returned before the connection was closed")
			}
		})
	}
}

func TestAnErrorIsTheLastElementOfAStreamThoughTheCallerGoesOn(t *testing.T) {
	type label struct {
		Label string `vgi:"label"`
	}
	c := vgitest.NewContract()
	drifted := vgirpc.NewProducer[vgitest.CountParams, label](vgirpc.NewProtocol("test.Calc.v1", "1.2.3"), "count")
	client := newClient(t, vgitest.NewServer(t, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	stream, err := drifted.Open(t.Context(), client, vgitest.CountParams{N: 3})
	if err != nil {
		t.Fatal(err)
	}
	var got []bool
	for _, err := range stream.All() {
		got = append(got, err != nil)
	}
	if diff := cmp.Diff([]bool{true}, got); diff != "" {
		t.Errorf("which elements are errors (-want +got):\n%s", diff)
	}
	if sum, err := c.Add.Call(t.Context(), client, vgitest.AddParams{A: 1, B: 2}); err != nil || sum != 3 {
		t.Errorf("after the stream: %v, %v", sum, err)
	}
}

// socketPairs makes connections over one Unix socket.
type socketPairs struct{ l net.Listener }

func newSocketPairs(t *testing.T) *socketPairs {
	t.Helper()
	l, err := vgirpc.ListenUnix(t.Context(), t.TempDir()+"/s", vgirpc.UnixOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &socketPairs{l}
}

func (s *socketPairs) next(t *testing.T) (near, far net.Conn) {
	t.Helper()
	near, err := new(net.Dialer).DialContext(t.Context(), "unix", s.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err = s.l.Accept() // the connection is in its backlog
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}
