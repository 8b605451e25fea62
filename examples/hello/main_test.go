package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/examples/hello/greeting"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

// asServer makes the test binary the server.
const asServer = "HELLO_TEST_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestHelloOverStdio(t *testing.T) {
	client, err := subprocess.New(t.Context(), subprocess.Options{
		Command: os.Args[:1], Env: append(os.Environ(), asServer+"=1"), Stderr: os.Stderr,
	}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Errorf("the server did not end well: %v", err)
		}
	}()

	t.Run("greets", func(t *testing.T) {
		got, err := greeting.Hello.Call(t.Context(), client, greeting.HelloParams{Name: "Ada"})
		if err != nil || got != "Hello, Ada!" {
			t.Errorf("answer %q, %v", got, err)
		}
	})

	t.Run("counts down", func(t *testing.T) {
		stream, err := greeting.Countdown.Open(t.Context(), client, greeting.CountdownParams{From: 3})
		if err != nil {
			t.Fatal(err)
		}
		var got []greeting.Number
		for rows, err := range stream.All() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rows...)
		}
		if diff := cmp.Diff([]greeting.Number{{N: 3}, {N: 2}, {N: 1}}, got); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}
