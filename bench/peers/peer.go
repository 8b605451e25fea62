//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// peer is one of those who are compared: how it serves and how it is called.
type peer struct {
	serve func(ctx context.Context, s serving) error
	dial  func(ctx context.Context, d dialing) (*session, error)
}

// serving is what a server process is told.
type serving struct {
	listener net.Listener // nil for a pipe
	wait     time.Duration
	sizes    sizes
}

// pause is the work of a call.
func (s serving) pause() {
	if s.wait > 0 {
		time.Sleep(s.wait)
	}
}

// dialing is what a client is told.
type dialing struct {
	network, address string   // of the server
	command          []string // that starts a server on its standard input and output
	callers          int      // that will share the session
	sizes            sizes
}

// session is a connection of a peer's client, or what stands for one. What it
// does not do is nil. It is used by many callers at once when the load says so.
type session struct {
	call func(ctx context.Context, v float64) (float64, error)
	// stream asks for a number of batches and calls got when each is there.
	stream func(ctx context.Context, batches int, got func()) error
	close  func() error
}

// peers is all of them, by name.
func peers() map[string]peer {
	return map[string]peer{
		"memcpy":       {nil, dialMemory},
		"raw":          {serveRaw, dialRaw},
		"http":         {servePlainHTTP, dialPlainHTTP},
		"vgi":          {serveVGI, dialVGI},
		"vgi-http":     {serveVGIOverHTTP, dialVGIOverHTTP(false)},
		"vgi-h2":       {serveVGIOverHTTP, dialVGIOverHTTP(true)},
		"grpc":         {serveGRPC, dialGRPC},
		"connect":      {serveConnect, dialConnect(false)},
		"connect-h2":   {serveConnect, dialConnect(true)},
		"flight":       {serveFlight(false), dialFlight(false)},
		"flight-tuned": {serveFlight(true), dialFlight(true)},
	}
}

const (
	batchRows  = 1 << 17 // of float64: 1 MiB
	batchBytes = 8 * batchRows
)

// block is the record that every stream repeats.
var block = sync.OnceValue(func() arrow.RecordBatch {
	values := make([]float64, batchRows)
	for i := range values {
		values[i] = float64(i)
	}
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	b.AppendValues(values, nil)
	schema := arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Float64}}, nil)
	return array.NewRecordBatch(schema, []arrow.Array{b.NewArray()}, batchRows)
})

var errWrongBatch = errors.New("not the batch that was sent")

// look reads both ends of a batch that arrived.
func look(rec arrow.RecordBatch) error {
	if rec.NumRows() != batchRows {
		return fmt.Errorf("%w: %d rows", errWrongBatch, rec.NumRows())
	}
	col, ok := rec.Column(0).(*array.Float64)
	if !ok || col.Value(1) != 1 || col.Value(batchRows-1) != batchRows-1 {
		return errWrongBatch
	}
	return nil
}
