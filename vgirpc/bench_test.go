package vgirpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// replay is a connection whose peer sends the same bytes for ever and does not
// listen.
type replay struct {
	p  []byte
	at int
}

func (r *replay) Read(b []byte) (int, error) {
	n := copy(b, r.p[r.at:])
	if r.at += n; r.at == len(r.p) {
		r.at = 0
	}
	return n, nil
}

func (r *replay) Write(b []byte) (int, error) { return len(b), nil }
func (r *replay) Close() error                { return nil }

// recorded is what a client sends for one call: a connection that keeps the
// bytes written to it.
type recorded struct{ bytes.Buffer }

func (r *recorded) Read([]byte) (int, error) { return 0, io.EOF }
func (r *recorded) Close() error             { return nil }

// record returns the bytes of one call.
func record(tb testing.TB, call func(*vgirpc.Client) error) []byte {
	tb.Helper()
	conn := &recorded{}
	if err := call(vgirpc.NewClient(conn, vgirpc.ClientOptions{})); !errors.Is(err, io.ErrUnexpectedEOF) {
		tb.Fatal(err)
	}
	return bytes.Clone(conn.Bytes())
}

func benchmarkServe(b *testing.B, opts vgirpc.ServerOptions, call func(*vgitest.Contract, *vgirpc.Client) error) {
	b.Helper()
	c := vgitest.NewContract()
	s := vgitest.NewServer(b, c, opts)
	p := record(b, func(client *vgirpc.Client) error { return call(c, client) })
	conn, err := s.NewConn(b.Context(), &replay{p: p}, &vgirpc.Peer{Kind: vgirpc.TransportPipe})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if err := conn.ServeOne(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkServeSmallUnary(b *testing.B) {
	benchmarkServe(b, vgirpc.ServerOptions{}, func(c *vgitest.Contract, client *vgirpc.Client) error {
		_, err := c.Add.Call(context.Background(), client, vgitest.AddParams{A: 1, B: 2})
		return err
	})
}

func BenchmarkServeText(b *testing.B) {
	benchmarkServe(b, vgirpc.ServerOptions{}, func(c *vgitest.Contract, client *vgirpc.Client) error {
		_, err := c.Echo.Call(context.Background(), client, vgitest.TextParams{Text: "hello, world"})
		return err
	})
}

func BenchmarkProducerTurn(b *testing.B) {
	c := vgitest.NewContract()
	s := vgitest.NewServer(b, c, vgirpc.ServerOptions{})
	var reply vgirpc.Reply
	d := begin(b, s, c, &reply)
	tick := wire.EmptyBatch(wire.EmptySchema(), nil)
	b.ReportAllocs()
	for b.Loop() {
		d.Turn(&tick, &reply)
	}
	d.End(vgirpc.Delivery{})
}

// begin opens an endless count stream on the core alone.
func begin(b *testing.B, s *vgirpc.Server, c *vgitest.Contract, reply *vgirpc.Reply) *vgirpc.Dispatch {
	b.Helper()
	if err := s.Seal(); err != nil {
		b.Fatal(err)
	}
	p := record(b, func(client *vgirpc.Client) error {
		stream, err := c.Count.Open(context.Background(), client, vgitest.CountParams{N: 1 << 60})
		if err != nil {
			return err
		}
		for _, err := range stream.Batches() {
			return err
		}
		return io.EOF
	})
	r := wire.NewReader(bytes.NewReader(p), wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		b.Fatal(err)
	}
	batch, err := r.Next()
	if err != nil {
		b.Fatal(err)
	}
	d := s.Begin(b.Context(), s.Route(batch.Meta), &vgirpc.Request{Meta: batch.Meta, Batch: batch, Peer: &vgirpc.Peer{}}, reply)
	if !d.Open() {
		b.Fatal("the stream did not open")
	}
	return d
}

func BenchmarkPairUnary(b *testing.B) {
	c := vgitest.NewContract()
	client := newClient(b, vgitest.NewServer(b, c, vgirpc.ServerOptions{}), vgirpc.ClientOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Add.Call(b.Context(), client, vgitest.AddParams{A: 1, B: 2}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkServeTurns serves streams of a thousand turns; its figures are for
// one stream.
func BenchmarkServeTurns(b *testing.B) {
	for name, opts := range map[string]vgirpc.ServerOptions{"inline": {}, "with shared memory": {SharedMemory: inert}} {
		b.Run(name, func(b *testing.B) {
			conn := serveTurns(b, opts)
			b.ReportAllocs()
			for b.Loop() {
				if err := conn.ServeOne(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// inert is shared memory that nobody has asked for.
func inert(*vgirpc.Peer) (vgirpc.SharedMemory, error) { return inertMemory{}, nil }

type inertMemory struct{ vgirpc.SharedMemory }

func (inertMemory) Request(meta wire.Metadata) (wire.Metadata, error) { return meta, nil }
func (inertMemory) Answers() bool                                     { return true }
func (inertMemory) Turn() error                                       { return nil }
func (inertMemory) Close() error                                      { return nil }
func (inertMemory) Built()                                            {}

func (inertMemory) Place(_ context.Context, _ *wire.Schema, cycle []wire.Batch, _ int64) ([]wire.Batch, int64, error) {
	return cycle, 0, nil
}

func TestATurnAllocatesNothingForSharedMemory(t *testing.T) {
	without, with := serveTurns(t, vgirpc.ServerOptions{}), serveTurns(t, vgirpc.ServerOptions{SharedMemory: inert})
	count := func(conn *vgirpc.Conn) float64 {
		return testing.AllocsPerRun(10, func() {
			if err := conn.ServeOne(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if a, b := count(without), count(with); b > a+turnsOfAStream/4 { // under the race detector, pools lose things
		t.Errorf("a stream of %d turns takes %v allocations, and %v with shared memory", turnsOfAStream, a, b)
	}
}

// turnsOfAStream is how long the streams of serveTurns are.
const turnsOfAStream = 1000

// serveTurns is a connection that serves one stream after the other.
func serveTurns(tb testing.TB, opts vgirpc.ServerOptions) *vgirpc.Conn {
	tb.Helper()
	const turns = turnsOfAStream
	c := vgitest.NewContract()
	s := vgitest.NewServer(tb, c, opts)
	open := record(tb, func(client *vgirpc.Client) error {
		stream, err := c.Count.Open(context.Background(), client, vgitest.CountParams{N: turns})
		if err != nil {
			return err
		}
		for _, err := range stream.Batches() {
			return err
		}
		return io.EOF
	})
	var tick bytes.Buffer
	w := wire.NewWriter(&tick)
	empty := wire.EmptyBatch(wire.EmptySchema(), nil)
	if err := errors.Join(w.Open(wire.EmptySchema()), w.Batch(&empty), w.Flush()); err != nil {
		tb.Fatal(err)
	}
	one := tick.Bytes()[len(wire.EmptySchema().Message()):]
	p := append(bytes.Clone(open), bytes.Repeat(one, turns)...) // the client sent the first tick itself
	p = append(p, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0)
	conn, err := s.NewConn(tb.Context(), &replay{p: p}, &vgirpc.Peer{Kind: vgirpc.TransportPipe})
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}
