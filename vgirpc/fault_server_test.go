package vgirpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// conversation is what a client and a server said to each other.
type conversation struct {
	name     string
	requests []byte
	replies  []byte
	pauses   int // points at which the caller may take its time
}

// tape keeps what passes.
type tape struct {
	io.ReadWriteCloser
	read, written bytes.Buffer
}

func (r *tape) Read(p []byte) (int, error) {
	n, err := r.ReadWriteCloser.Read(p)
	r.read.Write(p[:n])
	return n, err
}

func (r *tape) Write(p []byte) (int, error) {
	r.written.Write(p)
	return r.ReadWriteCloser.Write(p)
}

// conversations records a call of each kind.
func conversations(t *testing.T) []conversation {
	t.Helper()
	c := vgitest.NewContract()
	s := vgitest.NewServer(t, c, vgirpc.ServerOptions{OmitTracebacks: true})
	var out []conversation
	for _, tt := range []struct {
		name   string
		pauses int
		call   func(*vgirpc.Client) error
	}{
		{"unary", 0, func(client *vgirpc.Client) error {
			_, err := c.Add.Call(t.Context(), client, vgitest.AddParams{A: 1, B: 2})
			return err
		}},
		{"refused", 0, func(client *vgirpc.Client) error {
			if _, err := c.Fail.Call(t.Context(), client, vgitest.TextParams{Text: "x"}); !vgirpc.IsRemote(err) {
				return errors.Join(errors.New("not refused"), err)
			}
			return nil
		}},
		{"producer", 5, func(client *vgirpc.Client) error {
			stream, err := c.Count.Open(t.Context(), client, vgitest.CountParams{N: 2})
			return drainRows(stream, err)
		}},
		{"producer with a header", 5, func(client *vgirpc.Client) error {
			stream, _, err := c.Headed.OpenHeader(t.Context(), client, vgitest.CountParams{N: 2})
			return drainRows(stream, err)
		}},
		{"exchange that is cancelled", 4, func(client *vgirpc.Client) error {
			stream, err := c.Sum.Open(t.Context(), client, vgirpc.None{})
			if err != nil {
				return err
			}
			_, err = stream.Exchange(t.Context(), vgitest.Number{Value: 1})
			return errors.Join(err, stream.Cancel())
		}},
		{"refused producer", 3, func(client *vgirpc.Client) error {
			stream, err := c.Count.Open(t.Context(), client, vgitest.CountParams{N: -1})
			if err := drainRows(stream, err); !vgirpc.IsRemote(err) {
				return errors.Join(errors.New("not refused"), err)
			}
			return nil
		}},
	} {
		near, far := vgirpc.NewPair()
		rw := &tape{ReadWriteCloser: near}
		client := vgirpc.NewClient(rw, vgirpc.ClientOptions{})
		served := make(chan error, 1)
		go func() { served <- s.ServePipe(context.Background(), far) }()
		if err := errors.Join(tt.call(client), client.Close(), <-served); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		out = append(out, conversation{tt.name, rw.written.Bytes(), rw.read.Bytes(), tt.pauses})
	}
	return out
}

func drainRows(stream *vgirpc.ProducerStream[vgitest.Number], err error) error {
	if err != nil {
		return err
	}
	for _, err := range stream.All() {
		if err != nil {
			return err
		}
	}
	return stream.Close()
}

// tally counts calls that have begun and not ended.
type tally struct{ started, open atomic.Int64 }

func (o *tally) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context {
	o.started.Add(1)
	o.open.Add(1)
	return ctx
}

func (o *tally) CallEnded(context.Context, *vgirpc.Call, *vgirpc.CallEnd) { o.open.Add(-1) }

// victim is a server with one connection, in a bubble.
type victim struct {
	calls  tally
	budget *wire.Budget
	server *vgirpc.Server
	served chan error // has how serving ended
}

func newVictim(t *testing.T, conns vgirpc.ConnOptions) *victim {
	t.Helper()
	v := &victim{budget: wire.NewBudget(0)}
	v.server = vgitest.NewServer(t, vgitest.NewContract(), vgirpc.ServerOptions{
		Observers: []vgirpc.Observer{&v.calls}, Limits: wire.Limits{Budget: v.budget}, Conns: conns, OmitTracebacks: true,
	})
	return v
}

// serve serves rw, as a Unix socket.
func (v *victim) serve(t *testing.T, rw io.ReadWriteCloser) {
	t.Helper()
	conn, err := v.server.NewConn(t.Context(), rw, &vgirpc.Peer{Kind: vgirpc.TransportUnix, UID: -1, PID: -1})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	v.served = served
	go func() { served <- v.server.ServeConn(context.Background(), conn) }()
}

// over reports whether serving has ended, and how.
func (v *victim) over() (bool, error) {
	synctest.Wait()
	select {
	case err := <-v.served:
		return true, err
	default:
		return false, nil
	}
}

// whole checks that everything was given back.
func (v *victim) whole(t *testing.T, at int) {
	t.Helper()
	synctest.Wait()
	if held := v.budget.Held(); held != 0 {
		t.Errorf("byte %d: the server holds %d bytes", at, held)
	}
	if open := v.calls.open.Load(); open != 0 {
		t.Errorf("byte %d: %d of %d calls never ended", at, open, v.calls.started.Load())
	}
}

func TestAServerOutlivesAClientThatVanishesAtAnyByte(t *testing.T) {
	returnsEverything(t)
	for _, conv := range conversations(t) {
		t.Run(conv.name, func(t *testing.T) {
			v := newVictim(t, vgirpc.ConnOptions{})
			for n := range len(conv.requests) + 1 {
				synctest.Test(t, func(t *testing.T) {
					near, far := vgirpc.NewPair()
					v.serve(t, far)
					if _, err := near.Write(conv.requests[:n]); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // the server has come as far as it can
					_ = near.Close()
					if over, _ := v.over(); !over {
						t.Fatalf("byte %d: the server goes on without its client", n)
					}
					v.whole(t, n)
				})
			}
		})
	}
}

func TestAServerCutsOffAClientThatStallsAtAnyByte(t *testing.T) {
	returnsEverything(t)
	marker := []byte{0xFF, 0xFF, 0xFF, 0xFF}
	for _, conv := range conversations(t) {
		t.Run(conv.name, func(t *testing.T) {
			v := newVictim(t, vgirpc.ConnOptions{IdleTimeout: time.Minute})
			pauses := 0
			for n := range len(conv.requests) + 1 {
				synctest.Test(t, func(t *testing.T) {
					near, far := vgirpc.NewPair()
					v.serve(t, far)
					if _, err := near.Write(conv.requests[:n]); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Hour)
					over, err := v.over()
					if _, ok := errors.AsType[*vgirpc.StallError](err); over && !ok {
						t.Errorf("byte %d: ended with %v, want a *StallError", n, err)
					}
					if !over {
						// A caller may take its time, between two messages of a stream.
						if n == len(conv.requests) || !bytes.HasPrefix(conv.requests[n:], marker) {
							t.Errorf("byte %d: the server waits for ever inside a message", n)
						}
						pauses++
						_, _ = near.Write(conv.requests[n:])
						goodUntil(t, near, conv, n)
					}
					_ = near.Close()
					v.whole(t, n)
				})
			}
			if pauses != conv.pauses {
				t.Errorf("a caller may pause at %d points, want %d", pauses, conv.pauses)
			}
		})
	}
}

// goodUntil checks that the replies are those of the conversation.
func goodUntil(t *testing.T, near io.Reader, conv conversation, at int) {
	t.Helper()
	got := make([]byte, len(conv.replies))
	if n, err := io.ReadFull(near, got); err != nil {
		t.Errorf("byte %d: after the pause %d of %d bytes of answers, then %v", at, n, len(conv.replies), err)
	}
}

func TestAServerCutsOffAClientThatStopsReadingAtAnyByte(t *testing.T) {
	returnsEverything(t)
	for _, conv := range conversations(t) {
		t.Run(conv.name, func(t *testing.T) {
			v := newVictim(t, vgirpc.ConnOptions{IdleTimeout: time.Minute})
			for n := range len(conv.replies) + 1 {
				synctest.Test(t, func(t *testing.T) {
					near, far := net.Pipe() // nothing is written that is not read
					v.serve(t, far)
					var talking sync.WaitGroup
					talking.Go(func() { _, _ = near.Write(conv.requests) }) // until it is cut off
					if _, err := io.ReadFull(near, make([]byte, n)); err != nil {
						t.Errorf("byte %d of the answers: %v", n, err)
					}
					time.Sleep(time.Hour)
					over, err := v.over()
					if _, ok := errors.AsType[*vgirpc.StallError](err); !over || !ok {
						t.Errorf("byte %d: ended %v with %v, want a *StallError", n, over, err)
					}
					_ = near.Close()
					talking.Wait()
					v.whole(t, n)
				})
			}
		})
	}
}

func TestAServerWhoseWritesFailEndsTheConnection(t *testing.T) {
	returnsEverything(t)
	for _, conv := range conversations(t) {
		t.Run(conv.name, func(t *testing.T) {
			v := newVictim(t, vgirpc.ConnOptions{IdleTimeout: time.Minute})
			for n := range len(conv.replies) {
				synctest.Test(t, func(t *testing.T) {
					near, far := vgirpc.NewPair()
					v.serve(t, vgitest.Faulty(far, vgitest.Fail(vgitest.Writes, int64(n), syscall.EPIPE)))
					_, _ = near.Write(conv.requests) // the server may be gone by then
					if got, err := io.ReadAll(near); err != nil || !bytes.Equal(got[:min(len(got), 64)], conv.replies[:min(n, 64)]) {
						t.Errorf("byte %d: %d bytes of answers, %v", n, len(got), err)
					}
					if over, err := v.over(); !over || !errors.Is(err, syscall.EPIPE) {
						t.Errorf("byte %d: ended %v with %v, want the error of the write", n, over, err)
					}
					_ = near.Close()
					v.whole(t, n)
				})
			}
		})
	}
}
