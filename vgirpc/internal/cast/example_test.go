package cast_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/cast"
)

// An exchange that declared doubles takes integers, as long as no value changes.
func Example() {
	received := arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	declared := arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Float64}}, nil)
	for _, rows := range []string{`[{"value": 1}, {"value": 2}]`, `[{"value": 1}, {"value": 9007199254740993}]`} {
		rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, received, strings.NewReader(rows))
		if err != nil {
			panic(err)
		}
		out, err := cast.Record(rec, declared)
		rec.Release()
		if value := new(cast.ValueError); errors.As(err, &value) {
			fmt.Println(err)
			continue
		}
		fmt.Println(out.Column(0))
		out.Release()
	}
	// Output:
	// [1 2]
	// Input value mismatch: field "value", row 1: the value would lose precision (int64 to double)
}
