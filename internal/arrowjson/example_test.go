package arrowjson_test

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/vgirpc/vgirpc-go/internal/arrowjson"
)

// A duration that a person writes, and as a program and a person see it.
func Example() {
	field := arrow.Field{Name: "wait", Type: arrow.FixedWidthTypes.Duration_ms}
	v, err := arrowjson.Parse([]byte(`"1m30.5s"`), 64)
	if err != nil {
		fmt.Println(err)
		return
	}
	b := array.NewBuilder(memory.DefaultAllocator, field.Type)
	if err := (arrowjson.ReadOptions{}).Append(b, field, v); err != nil {
		fmt.Println(err)
		return
	}
	column := b.NewArray()
	for _, o := range []arrowjson.WriteOptions{{}, {DurationUnits: true}} {
		text, err := o.Append(nil, column, 0)
		fmt.Println(string(text), err)
	}
	// Output:
	// "90.5s" <nil>
	// "90500ms" <nil>
}
