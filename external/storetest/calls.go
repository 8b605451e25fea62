package storetest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

type echoParams struct {
	Text string `vgi:"text"`
}

// calls sends what is too large for a request or a response through the store,
// between a server and a client that have only its origins in common.
func calls(t *testing.T, f Fixture) {
	store := f.Open(t, longEnough)
	protocol := vgirpc.NewProtocol("Echo", "1.0.0")
	echo := vgirpc.NewUnary[echoParams, string](protocol, "echo")
	offload, err := external.New(external.Options{Store: store, Threshold: 64 << 10, Compression: external.Zstd})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = offload.Close() }()
	server, err := vgirpc.NewServer(vgirpc.ServerOptions{Offload: offload, Logger: slog.New(slog.DiscardHandler)}, protocol)
	if err != nil {
		t.Fatal(err)
	}
	vgirpc.HandleUnary(server, echo, func(_ context.Context, p echoParams) (string, error) { return p.Text, nil })
	const limit = 128 << 10
	serving := httpserver.Options{MaxResponseBytes: limit, MaxExternalizedResponseBytes: 1 << 20}
	urls, vends := store.(external.UploadURLs)
	if vends {
		serving.MaxRequestBytes, serving.Uploads = limit, urls
	}
	handler, err := httpserver.New(server, serving)
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(handler)
	defer listening.Close()

	var found []string
	if s, ok := store.(interface{ Origins() []string }); ok {
		found = s.Origins()
	}
	fetching, err := external.New(external.Options{AllowedOrigins: found})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fetching.Close() }()
	transport, err := httpclient.New(listening.URL,
		httpclient.Options{Uploads: &httpclient.Uploads{Origins: found}}, vgirpc.ClientOptions{Offload: fetching})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = transport.Close() }()

	for name, size := range map[string]int{"small": 100, "large": 512 << 10} {
		t.Run(name, func(t *testing.T) {
			text := strings.Repeat(name+" ", size/len(name))
			got, err := echo.Call(t.Context(), transport.Client(), echoParams{Text: text})
			if err != nil || got != text {
				t.Errorf("%d of %d bytes came back: %v", len(got), len(text), err)
			}
		})
	}
	t.Run("larger than what a response may move", func(t *testing.T) {
		_, err := echo.Call(t.Context(), transport.Client(), echoParams{Text: strings.Repeat("x", 2<<20)})
		if vgirpc.CodeOf(err) != vgirpc.ResourceExhausted {
			t.Errorf("got %v", err)
		}
	})
}
