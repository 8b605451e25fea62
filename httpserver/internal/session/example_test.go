package session_test

import (
	"context"
	"fmt"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/session"
)

func Example() {
	ctx := context.Background()
	registry, err := session.New(session.Options{ServerID: "server-1"})
	if err != nil {
		fmt.Println(err)
		return
	}

	// One request opens a session; its response carries the token.
	call, _ := registry.Begin(ctx, "", false, true, nil)
	if err := call.Open("what the method leaves behind", 0); err != nil {
		fmt.Println(err)
	}
	token, _ := call.Finish()

	// The next one brings it back.
	call, _ = registry.Begin(ctx, token, true, true, nil)
	fmt.Println(call.Action(), call.State())
	call.Finish()

	fmt.Println(registry.Shutdown(ctx), registry.Len())
	// Output:
	// resume what the method leaves behind
	// <nil> 0
}
