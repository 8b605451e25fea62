package vgirpc_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// However much a method has to say, what it sends can be read: readers take 16 MiB
// of a message's metadata, and an error stands there twice, once with its control
// characters escaped sixfold.
func TestALongTextIsCutAndTheConnectionGoesOn(t *testing.T) {
	const long = 40 << 20
	talk := vgirpc.NewProtocol("test.Talk.v1", "1.0.0")
	fail := vgirpc.NewUnary[vgitest.TextParams, vgirpc.None](talk, "fail")
	say := vgirpc.NewUnary[vgitest.TextParams, string](talk, "say")
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, talk)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(s, fail, func(_ context.Context, p vgitest.TextParams) (vgirpc.None, error) {
		return vgirpc.None{}, errors.New(strings.Repeat(p.Text, long/len(p.Text)))
	})
	vgirpc.HandleUnary(s, say, func(ctx context.Context, p vgitest.TextParams) (string, error) {
		text := strings.Repeat(p.Text, long/len(p.Text))
		vgirpc.CallFrom(ctx).Log(vgirpc.LevelInfo, text, "more", text)
		return p.Text, nil
	})
	var logged []string
	client, err := vgirpc.DialServer(t.Context(), s, vgirpc.ClientOptions{
		OnLog: func(_ context.Context, m vgirpc.LogMessage) { logged = append(logged, m.Message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for _, text := range []string{"x", "\x01", "ä"} {
		cut := strings.Repeat(text, wire.MaxTextBytes/len(text)) + "…"
		_, err := fail.Call(t.Context(), client, vgitest.TextParams{Text: text})
		if e, ok := errors.AsType[*vgirpc.Error](err); !ok || e.Code != vgirpc.Unknown || e.Message != cut {
			t.Errorf("%q: the error is %.100q", text, err)
		}
		logged = nil
		got, err := say.Call(t.Context(), client, vgitest.TextParams{Text: text})
		if err != nil || got != text || len(logged) != 1 || logged[0] != cut {
			t.Errorf("%q: got %q, %v and %d logs", text, got, err, len(logged))
		}
	}
}
