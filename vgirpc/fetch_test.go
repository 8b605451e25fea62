package vgirpc_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// slowStore takes its time to find the one batch that it has.
type slowStore struct {
	batch *wire.Batch
	takes time.Duration
}

func (s *slowStore) Place(_ context.Context, _ *wire.Schema, cycle []wire.Batch, _ int64) ([]wire.Batch, int64, error) {
	return cycle, 0, nil
}

func (s *slowStore) Resolve(context.Context, *wire.Batch, *wire.Schema, func(wire.Metadata)) (*wire.Batch, func(), error) {
	time.Sleep(s.takes) // in a bubble
	return s.batch, func() {}, nil
}

func TestAFetchThatTakesLongIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vgitest.NewContract()
		var params wire.Batch
		record := shown(func(b *wire.Batch) { params = *b })
		_, _ = c.Add.Call(t.Context(), vgirpc.NewClientOn(record, vgirpc.ClientOptions{}), vgitest.AddParams{A: 1, B: 2})
		params.Cols = slices.Clone(params.Cols)

		store := &slowStore{batch: &params, takes: 10 * time.Minute}
		s := vgitest.NewServer(t, c, vgirpc.ServerOptions{Offload: store, Conns: vgirpc.ConnOptions{
			FirstByteTimeout: time.Second, ProgressTimeout: time.Second, IdleTimeout: time.Second,
		}})
		near, far := vgirpc.NewPair()
		conn, err := s.NewConn(t.Context(), far, &vgirpc.Peer{Kind: vgirpc.TransportUnix, UID: -1, PID: -1})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.ServeConn(context.Background(), conn) }()
		client := vgirpc.NewClient(near, vgirpc.ClientOptions{})
		pointer := wire.EmptyBatch(params.Schema, params.Meta.With(wire.KeyLocation, "https://store.example/object"))
		_, release, err := client.CallBatch(t.Context(), c.Add.Method, &pointer)
		if err != nil {
			t.Fatalf("after %v: %v", store.takes, err)
		}
		release()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// shown is a transport that shows what it is given, and fails.
type shown func(*wire.Batch)

func (r shown) Call(_ context.Context, req *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	b := req.Batch
	b.Cols = slices.Clone(b.Cols)
	r(&b)
	return nil, nil, context.Canceled
}

func (shown) Open(context.Context, *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	return nil, context.Canceled
}

func (shown) Close() error { return nil }
