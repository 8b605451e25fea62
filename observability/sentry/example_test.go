package sentry_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	sdk "github.com/getsentry/sentry-go"

	"github.com/vgirpc/vgirpc-go/observability/sentry"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

func Example() {
	client, err := sdk.NewClient(sdk.ClientOptions{
		Dsn: "https://key@sentry.invalid/7",
		BeforeSend: func(event *sdk.Event, _ *sdk.EventHint) *sdk.Event {
			fmt.Println(event.Transaction, event.Tags["rpc.code"], event.Exception[0].Value)
			return nil // and nothing is sent
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	reporter, err := sentry.New(sentry.Options{Hub: sdk.NewHub(client, sdk.NewScope())})
	if err != nil {
		log.Fatal(err)
	}
	files := vgirpc.NewProtocol("Files", "1.0.0")
	read := vgirpc.NewUnary[vgirpc.None, string](files, "read")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Observers: []vgirpc.Observer{reporter}, Logger: slog.New(slog.DiscardHandler),
	}, files)
	if err != nil {
		log.Fatal(err)
	}
	vgirpc.HandleUnary(server, read, func(context.Context, vgirpc.None) (string, error) {
		return "", vgirpc.Errorf(vgirpc.DataLoss, "the disk is on fire")
	})

	ctx := context.Background()
	c, err := vgirpc.DialServer(ctx, server, vgirpc.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	_, _ = read.Call(ctx, c, vgirpc.None{})
	_ = c.Close()
	if err := reporter.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// rpc read DATA_LOSS the disk is on fire
}
