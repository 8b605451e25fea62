// Duckdb is a worker whose table is queried with DuckDB, from Python. The table
// is made in columns: nothing is a Go struct on its way.
//
//	go build -o orders ./examples/duckdb
//	python examples/duckdb/query.py ./orders
package main

import (
	"context"
	"io"
	"log"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/worker"
)

var (
	shop   = vgirpc.NewProtocol("example.Shop.v1", "1.0.0")
	orders = vgirpc.NewProducer[OrdersParams, Order](shop, "orders")
)

// OrdersParams are the parameters of orders.
type OrdersParams struct {
	Rows int64 `vgi:"rows"`
}

// Order is a row of the table. It says what the columns are.
type Order struct {
	ID       int64   `vgi:"id"`
	Customer int32   `vgi:"customer"`
	Amount   float64 `vgi:"amount"`
}

func main() {
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, shop)
	if err != nil {
		log.Fatal(err)
	}
	vgirpc.HandleProducer(server, orders, func(_ context.Context, p OrdersParams) (*scan, error) {
		if p.Rows < 0 {
			return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "rows is %d: want 0 or more", p.Rows)
		}
		return &scan{Rows: p.Rows}, nil
	})
	worker.Main(server)
}

// batchRows is how many rows one batch has: enough that a batch's own cost does
// not count, and little enough for a cache.
const batchRows = 65_536

// scan is an open stream of orders.
type scan struct{ At, Rows int64 }

// Produce sends the next batch. The first one is sent even when it is empty, so
// that the caller learns the columns.
func (s *scan) Produce(_ context.Context, out *vgirpc.Emitter[Order]) error {
	if s.At > 0 && s.At >= s.Rows {
		return io.EOF
	}
	n := min(s.Rows-s.At, batchRows)
	// In Go's own memory, which the garbage collector has: nothing to release.
	ids := array.NewInt64Builder(memory.DefaultAllocator)
	customers := array.NewInt32Builder(memory.DefaultAllocator)
	amounts := array.NewFloat64Builder(memory.DefaultAllocator)
	for i := s.At; i < s.At+n; i++ {
		ids.Append(i)
		customers.Append(int32(i % 100))
		amounts.Append(float64(i%1000) / 4)
	}
	s.At += max(n, 1)
	schema := out.Schema().Arrow()
	columns := []arrow.Array{ids.NewArray(), customers.NewArray(), amounts.NewArray()}
	return out.EmitRecord(array.NewRecordBatch(schema, columns, n))
}
