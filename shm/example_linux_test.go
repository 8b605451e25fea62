package shm_test

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/shm"
	"github.com/vgirpc/vgirpc-go/wire"
)

// A client tells the server of its segment, and sends a batch through it.
func Example() {
	ctx := context.Background()
	client, err := shm.NewOwner(shm.OwnerOptions{Size: 8 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	server, err := shm.NewGuest(shm.GuestOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	// The request says where, and the input is a pointer.
	if _, err := server.Request(client.Advertise(nil)); err != nil {
		fmt.Println(err)
		return
	}
	input := numbers(100_000)
	sent, _, _ := client.Place(ctx, input.Schema, []wire.Batch{*input}, -1)
	fmt.Println(sent[0].Kind(), sent[0].Rows)

	// It is the server's turn.
	got, release, err := server.Resolve(ctx, &sent[0], nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	release()
	fmt.Println(got.Kind(), got.Rows, server.Turn())
	// Output:
	// shared memory pointer 0
	// data 100000 <nil>
}

func numbers(rows int) *wire.Batch {
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
	}
	s, err := wire.NewSchema(schema)
	if err != nil {
		panic(err)
	}
	out, err := wire.NewBatch(s, b.NewRecordBatch(), nil)
	if err != nil {
		panic(err)
	}
	return out
}
