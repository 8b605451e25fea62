package codec_test

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/vgirpc/vgirpc-go/vgirpc/internal/codec"
	"github.com/vgirpc/vgirpc-go/wire"
)

// A plan is compiled once; it then makes columns of values, and values of
// columns.
func Example() {
	type reading struct {
		Sensor string  `vgi:"sensor"`
		Value  float64 `vgi:"value"`
		Note   *string
	}
	plan, err := codec.Compile(reflect.TypeFor[reading](), codec.Row)
	if err != nil {
		fmt.Println(err)
		return
	}
	var enc codec.Encoder
	var batch wire.Batch
	rows := []reading{{Sensor: "a", Value: 1.5}, {Sensor: "b", Value: 2.5}}
	if err := plan.Encode(&enc, unsafe.Pointer(&rows[0]), len(rows), &batch); err != nil {
		fmt.Println(err)
		return
	}
	got := make([]reading, batch.Rows)
	if err := plan.DecodeRows(&batch, unsafe.Pointer(&got[0]), len(got)); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(plan.Schema().Arrow())
	fmt.Println(got)
	// Output:
	// schema:
	//   fields: 3
	//     - sensor: type=utf8
	//     - value: type=float64
	//     - note: type=utf8, nullable
	// [{a 1.5 <nil>} {b 2.5 <nil>}]
}
