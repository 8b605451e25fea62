package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/vgirpc/vgirpc-go/observability/admin"
)

func Example() {
	server, err := admin.New(admin.Options{
		Checks: func(context.Context) []admin.Check {
			return []admin.Check{{Name: "storage", Err: errors.New("no route to host")}}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()

	for _, path := range []string{"/livez", "/readyz"} {
		resp, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			log.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Printf("%s: %d %s", path, resp.StatusCode, body)
	}
	if err := errors.Join(server.Shutdown(context.Background()), <-done); err != nil {
		log.Fatal(err)
	}
	// Output:
	// /livez: 200 ok
	// /readyz: 503 not ready
}
