//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/external/localstore"
	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

type (
	smallParams struct {
		Value float64 `vgi:"value"`
	}
	noParams     struct{}
	blocksParams struct {
		Rows int64 `vgi:"rows"`
	}
	word struct {
		Value int64 `vgi:"value"`
	}
)

// What the peer serves. Its rows are measured on both sides by this program.
var (
	offBand     = vgirpc.NewProtocol("bench.OffBand.v1", "1.0.0")
	smallMethod = vgirpc.NewUnary[smallParams, float64](offBand, "small")
	foldMethod  = vgirpc.NewExchange[noParams, word, word](offBand, "fold")
	blockMethod = vgirpc.NewProducer[blocksParams, word](offBand, "blocks")
)

// numbers is a batch of numbers that are rewritten where they lie.
type numbers struct {
	batch *wire.Batch
	data  []byte
}

func newNumbers(schema *wire.Schema, rows int) (numbers, error) {
	data := make([]byte, 8*rows)
	column := array.NewData(arrow.PrimitiveTypes.Int64, rows, []*memory.Buffer{nil, memory.NewBufferBytes(data)}, nil, 0, 0)
	values := array.NewInt64Data(column)
	rec := array.NewRecordBatch(schema.Arrow(), []arrow.Array{values}, int64(rows))
	b, err := wire.NewBatch(schema, rec, nil)
	return numbers{b, data}, err
}

// write gives every byte the value b, as fast as memory allows.
func write(data []byte, b byte) {
	var some [4096]byte
	for i := range some {
		some[i] = b
	}
	for len(data) > 0 {
		data = data[copy(data, some[:]):]
	}
}

// in gives the numbers memory of mem, where that is not the heap, on which they keep
// what they have.
func (n *numbers) in(mem memory.Allocator) {
	if mem != memory.DefaultAllocator {
		n.data = mem.Allocate(len(n.data))
		n.batch.Cols[0].Data = n.data
	}
}

// check reads every byte, and fails when one is not b.
func check(data []byte, b byte) error {
	if n := bytes.Count(data, []byte{b}); n != len(data) {
		return fmt.Errorf("%d of %d bytes are not %d", len(data)-n, len(data), b)
	}
	return nil
}

// folder is an open stream that answers numbers with as many others.
type folder struct{ out numbers }

// ExchangeBatch reads every byte, and writes every byte of the answer.
func (f *folder) ExchangeBatch(ctx context.Context, in *wire.Batch, out *vgirpc.Emitter[word]) error {
	data := in.Cols[0].Data
	if len(f.out.data) != len(data) {
		var err error
		if f.out, err = newNumbers(out.Schema(), in.Rows); err != nil {
			return err
		}
	}
	if err := check(data, data[0]); err != nil {
		return err
	}
	f.out.in(vgirpc.CallFrom(ctx).Allocator())
	write(f.out.data, data[0]+1)
	return out.EmitBatch(f.out.batch)
}

// blockByte is what blocks are made of.
const blockByte = 7

// publisher is an open stream that sends one block again and again.
type publisher struct {
	rows  int
	block numbers
}

// Produce sends the block.
func (p *publisher) Produce(_ context.Context, out *vgirpc.Emitter[word]) error {
	if p.block.batch == nil {
		var err error
		if p.block, err = newNumbers(out.Schema(), p.rows); err != nil {
			return err
		}
		write(p.block.data, blockByte)
	}
	return out.EmitBatch(p.block.batch)
}

// peerMain is the worker of the rows that leave the connection.
func peerMain(ctx context.Context, args []string) (err error) {
	fs := flag.NewFlagSet("peer", flag.ContinueOnError)
	path := fs.String("unix", "", "path of the socket")
	stores := fs.Bool("store", false, "large batches leave through files beside the socket, served over HTTP")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *path == "" || fs.NArg() > 0 {
		return errors.New("peer needs --unix PATH, and no other arguments")
	}
	opts := vgirpc.ServerOptions{SharedMemory: shm.Serve(shm.Options{ZeroCopy: true})} // where the memory is sealed
	if *stores {
		store, err := openStore(filepath.Join(filepath.Dir(*path), "objects"))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		if opts.Offload, err = external.New(external.Options{Store: store}); err != nil {
			return err
		}
	}
	return servePeer(ctx, *path, opts)
}

// openStore is a directory whose objects are gone soon after they were fetched.
func openStore(dir string) (*localstore.Store, error) {
	return localstore.Start(loopback+"0", localstore.Options{URL: "file://" + dir, TTL: 10 * time.Second, SweepEvery: 5 * time.Second})
}

func servePeer(ctx context.Context, path string, opts vgirpc.ServerOptions) error {
	server, err := vgirpc.NewServer(opts, offBand)
	if err != nil {
		return err
	}
	vgirpc.HandleUnary(server, smallMethod, func(_ context.Context, p smallParams) (float64, error) { return p.Value, nil })
	vgirpc.HandleBatchExchange(server, foldMethod, func(context.Context, noParams) (*folder, error) { return &folder{}, nil })
	vgirpc.HandleProducer(server, blockMethod, func(_ context.Context, p blocksParams) (*publisher, error) {
		return &publisher{rows: int(p.Rows)}, nil
	})
	l, err := vgirpc.ListenUnix(ctx, path, vgirpc.UnixOptions{})
	if err != nil {
		return err
	}
	fmt.Printf("UNIX:%s\n", path)
	return server.Serve(ctx, l)
}
