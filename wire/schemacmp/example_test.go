package schemacmp_test

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire/schemacmp"
)

// A refusal says what was expected, and where.
func Example() {
	expected := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.PrimitiveTypes.Float64},
		{Name: "b", Type: arrow.PrimitiveTypes.Float64},
	}, nil)
	received := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.PrimitiveTypes.Float64},
		{Name: "b", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil)
	fmt.Println(schemacmp.Equal(expected, received))
	fmt.Println(schemacmp.Diff(expected, received))
	// Output:
	// false
	// field 1: expected b: double not null, received b: int64
}
