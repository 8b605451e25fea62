package httpserver_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

func TestAPeerOverHTTPHasNoUserGroupOrProcess(t *testing.T) {
	p := vgirpc.NewProtocol("test.Peer", "1.0.0")
	ask := vgirpc.NewUnary[vgirpc.None, vgirpc.None](p, "ask")
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)}, p)
	if err != nil {
		t.Fatal(err)
	}
	var got vgirpc.Peer
	vgirpc.HandleUnary(s, ask, func(ctx context.Context, _ vgirpc.None) (vgirpc.None, error) {
		got = *vgirpc.CallFrom(ctx).Peer()
		return vgirpc.None{}, nil
	})
	h, err := httpserver.New(s, httpserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(h)
	defer web.Close()
	c, err := httpclient.Dial(t.Context(), web.URL, httpclient.Options{MaxResponseBytes: -1}, vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := ask.Call(t.Context(), c, vgirpc.None{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{-1, -1, -1}, []int{got.UID, got.GID, got.PID}); diff != "" {
		t.Error(diff)
	}
}
