// Client calls the hello worker: it starts the command that it is given, talks
// to it over standard input and output, and prints what it answers.
//
//	go run ./examples/hello/client go run ./examples/hello
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/vgirpc/vgirpc-go/examples/hello/greeting"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("name the worker's command: client COMMAND [ARGUMENT]...")
	}
	if err := run(context.Background(), os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, command []string) error {
	client, err := subprocess.New(ctx, subprocess.Options{Command: command, Stderr: os.Stderr}, vgirpc.ClientOptions{})
	if err != nil {
		return err
	}
	if err := call(ctx, client); err != nil {
		_ = client.Close() // the call's error says more
		return err
	}
	return client.Close()
}

func call(ctx context.Context, client *vgirpc.Client) error {
	text, err := greeting.Hello.Call(ctx, client, greeting.HelloParams{Name: "Ada"})
	if err != nil {
		return err
	}
	fmt.Println(text)
	stream, err := greeting.Countdown.Open(ctx, client, greeting.CountdownParams{From: 3})
	if err != nil {
		return err
	}
	for rows, err := range stream.All() {
		if err != nil {
			return err
		}
		fmt.Println(rows[0].N)
	}
	return nil
}
