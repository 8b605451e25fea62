package shm

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/vgirpc/vgirpc-go/wire"
)

// BenchmarkMove moves one batch of one column through a segment and frees it.
func BenchmarkMove(b *testing.B) {
	for _, size := range []int{128 << 10, 1 << 20, 16 << 20} {
		rec := build([]arrow.Field{field("n", arrow.PrimitiveTypes.Int64)}, func(rb *array.RecordBuilder) {
			rb.Field(0).(*array.Int64Builder).AppendValues(make([]int64, size/8), nil)
		})
		in := batch(b, rec)
		for name, life := range map[string]wire.Lifetime{"copy": wire.Own, "borrow": wire.Borrow, "zero-copy": wire.Borrow} {
			opts := Options{ZeroCopy: name == "zero-copy"}
			b.Run(fmt.Sprintf("size=%d/%s", size, name), func(b *testing.B) {
				s := anonymousSegment(b, int64(2*size+HeaderBytes+4096))
				c, err := NewChannel(s, opts)
				noError(b, err)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					placed, _, err := c.Place(b.Context(), in.Schema, []wire.Batch{*in}, -1)
					noError(b, err)
					_, release, err := c.Fetch(&placed[0], life)
					noError(b, err)
					release()
					noError(b, c.Turn())
				}
			})
		}
	}
}
