package vgirpc_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// attempt runs f and returns what it panicked with.
func attempt(f func()) (caught any) {
	defer func() { caught = recover() }()
	f()
	return nil
}

func TestACallerThatPanicsLeavesNobodyWaiting(t *testing.T) {
	p := vgirpc.NewProtocol("test.Panics", "1.0.0")
	chatty := vgirpc.NewUnary[vgirpc.None, string](p, "chatty")
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, p)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(server, chatty, func(ctx context.Context, _ vgirpc.None) (string, error) {
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, "listen")
		return "said", nil
	})
	synctest.Test(t, func(t *testing.T) {
		client, err := vgirpc.DialServer(t.Context(), server, vgirpc.ClientOptions{
			OnLog: func(context.Context, vgirpc.LogMessage) { panic("no") },
		})
		if err != nil {
			t.Fatal(err)
		}
		if caught := attempt(func() { _, _ = chatty.Call(t.Context(), client, vgirpc.None{}) }); caught == nil {
			t.Fatal("OnLog did not panic through the call")
		}
		_, err = chatty.Call(t.Context(), client, vgirpc.None{})
		if vgirpc.CodeOf(err) != vgirpc.Unavailable {
			t.Errorf("the next call: got %v, want UNAVAILABLE", err)
		}
		_ = client.Close()
	})
}

func TestAPanicInTheLoopOverAStreamEndsTheStream(t *testing.T) {
	server, err := newServer()
	if err != nil {
		t.Fatal(err)
	}
	client, err := vgirpc.DialServer(t.Context(), server, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	stream, err := Count.Open(t.Context(), client, CountParams{N: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if caught := attempt(func() {
		for range stream.All() {
			panic("no")
		}
	}); caught == nil {
		t.Fatal("the loop did not panic")
	}
	if sum, err := Add.Call(t.Context(), client, AddParams{A: 1, B: 2}); err != nil || sum != 3 {
		t.Errorf("the next call on the connection: %v, %v", sum, err)
	}
}
