package recording_test

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
	"github.com/vgirpc/vgirpc-go/wire"
)

// A client's request is recorded without its payload, and read again.
func Example() {
	var request bytes.Buffer
	batch := wire.EmptyBatch(wire.EmptySchema(), wire.Metadata{
		{Key: wire.KeyMethod, Value: "greet"}, {Key: "who", Value: "Alice"},
	})
	out := wire.NewWriter(&request)
	if err := errors.Join(out.Open(batch.Schema), out.Batch(&batch), out.Close(), out.Flush()); err != nil {
		fmt.Println(err)
		return
	}

	var file bytes.Buffer
	w, err := recording.New(&file, recording.Options{Transport: "stdio"})
	if err != nil {
		fmt.Println(err)
		return
	}
	conn := w.Open()
	tap := conn.Tap(recording.Client)
	_, _ = tap.Write(request.Bytes()) // a tap never fails
	tap.HalfClose()
	conn.Close()
	if err := w.Close(); err != nil {
		fmt.Println(err)
		return
	}

	_, frames, err := recording.ReadAll(&file)
	for _, f := range frames {
		fmt.Println(f.From, f.Kind, f.Meta)
	}
	fmt.Println(err)
	// Output:
	// recorder open []
	// client schema []
	// client batch [{vgi_rpc.method greet} {who [redacted, 5 bytes]}]
	// client end []
	// client half-close []
	// recorder close []
	// recorder finish []
	// <nil>
}
