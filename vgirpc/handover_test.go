//go:build unix

package vgirpc_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// halting is a client's connection that sends half of what it is told to, and the
// rest when it may.
type halting struct {
	net.Conn
	halted chan struct{} // closed with the first half
	goOn   chan struct{}
	once   sync.Once
}

func (h *halting) Write(p []byte) (n int, err error) {
	h.once.Do(func() {
		n, err = h.Conn.Write(p[:len(p)/2])
		close(h.halted)
		<-h.goOn
	})
	if err != nil {
		return n, err
	}
	more, err := h.Conn.Write(p[n:])
	return n + more, err
}

// answered tells the servers' names as they answer calls.
type answered struct {
	name string
	to   chan string
}

func (a answered) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }
func (a answered) CallEnded(context.Context, *vgirpc.Call, *vgirpc.CallEnd)        { a.to <- a.name }

// duplicate is another descriptor of a connection.
func duplicate(nc net.Conn) (net.Conn, error) {
	f, err := nc.(*net.UnixConn).File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return net.FileConn(f)
}

// handover is a server that releases its connections to another one.
type handover struct {
	old      *vgirpc.Server
	passed   chan net.Conn
	released chan error
	names    chan string
	path     string
	contract *vgitest.Contract
}

func newHandover(t *testing.T, opts vgirpc.ServerOptions) *handover {
	t.Helper()
	h := &handover{
		passed: make(chan net.Conn, 10), released: make(chan error, 1), names: make(chan string, 100),
		path: filepath.Join(t.TempDir(), "s"), contract: vgitest.NewContract(),
	}
	opts.Observers = []vgirpc.Observer{answered{"old", h.names}}
	h.old = vgitest.NewServer(t, h.contract, opts)
	l, err := vgirpc.ListenUnix(t.Context(), h.path, vgirpc.UnixOptions{})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, h.old, l)
	next := vgitest.NewServer(t, h.contract, vgirpc.ServerOptions{Observers: []vgirpc.Observer{answered{"new", h.names}}})
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		var all sync.WaitGroup
		for nc := range h.passed {
			all.Go(func() {
				conn, err := next.NewConn(context.Background(), nc, &vgirpc.Peer{Kind: vgirpc.TransportUnix})
				if err != nil {
					t.Error(err)
					return
				}
				if err := next.ServeConn(context.Background(), conn); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}()
	t.Cleanup(func() {
		close(h.passed)
		<-serving
	})
	return h
}

func (h *handover) dial(t *testing.T, wrap func(net.Conn) net.Conn) *vgirpc.Client {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "unix", h.path)
	if err != nil {
		t.Fatal(err)
	}
	if wrap != nil {
		nc = wrap(nc)
	}
	c := vgirpc.NewClient(nc, vgirpc.ClientOptions{})
	closeAtEnd(t, c)
	return c
}

// release begins to release, until passing ends, and then to shut down, until ctx
// does.
func (h *handover) release(ctx, passing context.Context) {
	go func() {
		h.old.Release(passing, func(nc net.Conn) error {
			copied, err := duplicate(nc)
			if err == nil {
				h.passed <- copied
			}
			return err
		})
		h.released <- h.old.Shutdown(ctx)
	}()
}

func (h *handover) add(t *testing.T, c *vgirpc.Client) string {
	t.Helper()
	if sum, err := h.contract.Add.Call(t.Context(), c, vgitest.AddParams{A: 1, B: 2}); sum != 3 || err != nil {
		t.Errorf("1 + 2 is %v, %v", sum, err)
		return "nobody"
	}
	return <-h.names
}

// miss calls a method that the server does not have.
func (h *handover) miss(t *testing.T, c *vgirpc.Client) {
	t.Helper()
	other := vgirpc.NewProtocol(h.contract.Protocol.Name(), h.contract.Protocol.Version())
	absent := vgirpc.NewUnary[vgirpc.None, int64](other, "absent")
	if _, err := absent.Call(t.Context(), c, vgirpc.None{}); vgirpc.CodeOf(err) != vgirpc.Unimplemented {
		t.Errorf("a call to a method that is not there: %v", err)
	}
	for h.old.InProgress() > 0 {
		time.Sleep(time.Millisecond) // until the server waits for the next call
	}
}

func (h *handover) isReleased(t *testing.T) {
	t.Helper()
	select {
	case err := <-h.released:
		if err != nil {
			t.Errorf("Release: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Release does not return")
	}
}

func TestReleasedConnectionsGoOnWithTheNextCall(t *testing.T) {
	t.Run("those that wait, whether or not they have spoken", func(t *testing.T) {
		h := newHandover(t, vgirpc.ServerOptions{})
		used, fresh := h.dial(t, nil), h.dial(t, nil)
		got := []string{h.add(t, used)}
		h.release(t.Context(), t.Context())
		h.isReleased(t)
		got = append(got, h.add(t, used), h.add(t, fresh))
		if diff := cmp.Diff([]string{"old", "new", "new"}, got); diff != "" {
			t.Errorf("who answered (-want +got):\n%s", diff)
		}
	})

	t.Run("one of whose request a part has arrived, when that is answered", func(t *testing.T) {
		h := newHandover(t, vgirpc.ServerOptions{})
		half := &halting{halted: make(chan struct{}), goOn: make(chan struct{})}
		c := h.dial(t, func(nc net.Conn) net.Conn { half.Conn = nc; return half })
		first := make(chan string, 1)
		go func() { first <- h.add(t, c) }()
		<-half.halted
		for h.old.InProgress() == 0 {
			time.Sleep(time.Millisecond) // until the server has read it
		}
		h.release(t.Context(), t.Context())
		close(half.goOn)
		got := []string{<-first}
		h.isReleased(t)
		got = append(got, h.add(t, c))
		if diff := cmp.Diff([]string{"old", "new"}, got); diff != "" {
			t.Errorf("who answered (-want +got):\n%s", diff)
		}
	})

	t.Run("one with an open stream, when that is over", func(t *testing.T) {
		h := newHandover(t, vgirpc.ServerOptions{})
		c := h.dial(t, nil)
		stream, err := h.contract.Count.Open(t.Context(), c, vgitest.CountParams{N: 3})
		if err != nil {
			t.Fatal(err)
		}
		batches := 0
		for _, err := range stream.Batches() {
			if err != nil {
				t.Fatal(err)
			}
			if batches++; batches == 1 {
				h.release(t.Context(), t.Context())
			}
		}
		got := []string{<-h.names}
		h.isReleased(t)
		got = append(got, h.add(t, c))
		if diff := cmp.Diff([]string{"old", "new"}, got); diff != "" {
			t.Errorf("who answered (-want +got):\n%s", diff)
		}
	})

	t.Run("but one that waits after a call to no known method ends", func(t *testing.T) {
		h := newHandover(t, vgirpc.ServerOptions{})
		c := h.dial(t, nil)
		h.miss(t, c)
		h.release(t.Context(), t.Context())
		h.isReleased(t)
		if _, err := h.contract.Add.Call(t.Context(), c, vgitest.AddParams{}); err == nil {
			t.Error("it goes on")
		}
	})

	t.Run("and so does one that made such a call meanwhile, with the shutdown", func(t *testing.T) {
		h := newHandover(t, vgirpc.ServerOptions{})
		half := &halting{halted: make(chan struct{}), goOn: make(chan struct{})}
		c := h.dial(t, func(nc net.Conn) net.Conn { half.Conn = nc; return half })
		other := h.dial(t, nil)
		missed := make(chan struct{})
		go func() {
			defer close(missed)
			h.miss(t, c)
		}()
		<-half.halted
		for h.old.InProgress() == 0 {
			time.Sleep(time.Millisecond) // until the server has read it
		}
		passing, enough := context.WithCancel(t.Context())
		h.release(t.Context(), passing)
		for h.add(t, other) == "old" {
			continue // until it has begun
		}
		close(half.goOn)
		<-missed
		enough()
		h.isReleased(t)
		if _, err := h.contract.Add.Call(t.Context(), c, vgitest.AddParams{}); err == nil {
			t.Error("it goes on")
		}
	})

	t.Run("but one with a context of its own is served here, and ends", func(t *testing.T) {
		h := newHandover(t, vgirpc.ServerOptions{
			OnConnect: func(ctx context.Context, _ *vgirpc.Peer) (context.Context, error) { return ctx, nil },
		})
		c := h.dial(t, nil)
		if by := h.add(t, c); by != "old" {
			t.Errorf("%s answered", by)
		}
		passing, enough := context.WithCancel(t.Context())
		h.release(t.Context(), passing)
		late := h.dial(t, nil)
		for _, c := range []*vgirpc.Client{c, late} {
			if by := h.add(t, c); by != "old" {
				t.Errorf("%s answered", by)
			}
		}
		enough()
		h.isReleased(t)
		if _, err := h.contract.Add.Call(t.Context(), c, vgitest.AddParams{}); err == nil {
			t.Error("it goes on")
		}
	})

	t.Run("and one whose call does not end is cut off in the end", func(t *testing.T) {
		h := newHandover(t, vgirpc.ServerOptions{})
		c := h.dial(t, nil)
		stream, err := h.contract.Count.Open(t.Context(), c, vgitest.CountParams{N: 1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		for _, err := range stream.Batches() {
			if err != nil {
				break
			}
			if ctx.Err() == nil {
				h.release(ctx, ctx)
				cancel()
				if err := <-h.released; !errors.Is(err, context.Canceled) {
					t.Errorf("Release: %v", err)
				}
			}
		}
		cancel()
	})
}
