package encoding_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/encoding"
)

// A request is decoded under a limit, and its response gets the coding that the
// client likes best.
func Example() {
	codings, err := encoding.New(encoding.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := http.Header{"Content-Encoding": {"gzip"}, "Accept-Encoding": {"br, zstd"}}
	sent := codings.Encode(nil, encoding.Gzip, []byte("hello"))

	coding, err := codings.Requested(request)
	if err != nil {
		fmt.Println(err) // status 415
		return
	}
	body := codings.NewReader(bytes.NewReader(sent), coding, 1<<20)
	defer body.Close()
	p, err := io.ReadAll(body)
	if err != nil {
		fmt.Println(err) // status 413 or 400, by its type
		return
	}
	coding, name := codings.Negotiate(request)
	fmt.Printf("%s; %s: %s\n", p, name, coding)
	// Output: hello; Content-Encoding: zstd
}
