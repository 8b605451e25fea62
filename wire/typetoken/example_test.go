package typetoken_test

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/vgirpc/vgirpc-go/wire/typetoken"
)

// A protocol's hash is taken over its canonical description, whatever the order
// in which the methods were registered.
func Example() {
	value := arrow.NewSchema([]arrow.Field{
		{Name: "values", Type: arrow.ListOf(arrow.PrimitiveTypes.Float64)},
	}, nil)
	result := arrow.NewSchema([]arrow.Field{{Name: "result", Type: arrow.PrimitiveTypes.Float64, Nullable: true}}, nil)
	methods := []typetoken.Method{{Name: "mean", Type: "unary", HasReturn: true, Params: value, Result: result}}

	preimage, err := typetoken.Preimage("demo.Stats.v1", methods)
	if err != nil {
		panic(err)
	}
	hash, err := typetoken.ProtocolHash("demo.Stats.v1", methods)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(preimage))
	fmt.Println(hash)
	// Output:
	// {"methods":[{"has_header":false,"has_return":true,"name":"mean","params":[{"name":"values","nullable":false,"type":"list<item?:float64>"}],"result":[{"name":"result","nullable":true,"type":"float64"}],"type":"unary"}],"protocol":"demo.Stats.v1"}
	// 784b195dd5350f56f032c6206a75ef5196a4d26f3e760ea17ceb41cd71887430
}
