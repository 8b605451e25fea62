package external_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/wire"
)

// bucket is a store of one object.
type bucket struct {
	url    string
	object []byte
}

// Upload implements external.Store.
func (b *bucket) Upload(_ context.Context, data []byte, _ string) (string, error) {
	b.object = append([]byte(nil), data...)
	return b.url + "/object", nil
}

// ServeHTTP answers with the object.
func (b *bucket) ServeHTTP(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b.object) }

// A batch over the threshold is uploaded, and found again by its pointer.
func Example() {
	store := new(bucket)
	server := httptest.NewServer(store)
	defer server.Close()
	store.url = server.URL

	offload, err := external.New(external.Options{
		Store:          store,
		Threshold:      1024,
		AllowedOrigins: []string{"http://127.0.0.1"}, // public https origins need no listing
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer offload.Close()

	schema, err := wire.NewSchema(arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	column := array.NewInt64Builder(memory.DefaultAllocator)
	column.AppendValues(make([]int64, 1000), nil)
	data, err := wire.NewBatch(schema, array.NewRecordBatch(schema.Arrow(), []arrow.Array{column.NewArray()}, 1000), nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	placed, _, err := offload.Place(ctx, schema, []wire.Batch{*data}, -1)
	if err != nil {
		fmt.Println(err)
		return
	}
	pointer := placed[0]
	fmt.Println(pointer.Rows, "rows,", pointer.Kind())

	batch, release, err := offload.Resolve(ctx, &pointer, schema, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer release()
	fmt.Println(batch.Rows, "rows,", batch.Kind())
	// Output:
	// 0 rows, external pointer
	// 1000 rows, data
}
