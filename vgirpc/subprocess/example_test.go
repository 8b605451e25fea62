//go:build unix

package subprocess_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

func Example() {
	ctx := context.Background()
	client, err := subprocess.New(ctx, subprocess.Options{
		// A program that serves its standard input and output; here it is the
		// test binary, which an environment variable tells to.
		Command: []string{os.Args[0]},
		Env:     append(os.Environ(), "SUBPROCESS_TEST_MODE=serve"),
		Logger:  slog.New(slog.DiscardHandler),
		Restart: subprocess.Restart{Attempts: 5, HealthyAfter: time.Minute},
	}, vgirpc.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	contract := vgitest.NewContract()
	sum, err := contract.Add.Call(ctx, client, vgitest.AddParams{A: 1, B: 2})
	fmt.Println(sum, err)
	fmt.Println(client.Close())
	// Output:
	// 3 <nil>
	// <nil>
}
