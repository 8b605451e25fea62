package httpserver_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

type statsRow struct {
	N int64 `vgi:"n"`
}

type statsState struct {
	Left int64 `vgi:"left"`
}

// Produce sends a row as long as there are some left.
func (s *statsState) Produce(_ context.Context, out *vgirpc.Emitter[statsRow]) error {
	if s.Left--; s.Left < 0 {
		return io.EOF
	}
	return out.Emit(statsRow{s.Left})
}

func TestStatsTellOfCallsSessionsAndTheCache(t *testing.T) {
	for _, tt := range []struct {
		name         string
		cache        int
		hits, misses int64
	}{
		{"with a cache", 0, 3, 0},
		{"without one", -1, 0, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			contract := vgirpc.NewProtocol("test.Stats", "1.0.0")
			open := vgirpc.NewUnary[vgirpc.None, string](contract, "open")
			count := vgirpc.NewProducer[vgirpc.None, statsRow](contract, "count")
			server, err := vgirpc.NewServer(vgirpc.ServerOptions{}, contract)
			if err != nil {
				t.Fatal(err)
			}
			var h *httpserver.Handler
			var within httpserver.Stats
			vgirpc.HandleUnary(server, open, func(ctx context.Context, _ vgirpc.None) (string, error) {
				within = h.Stats()
				return "", httpserver.OpenSession(ctx, "state", 0)
			})
			vgirpc.HandleProducer(server, count, func(context.Context, vgirpc.None) (*statsState, error) { return &statsState{3}, nil })
			if h, err = httpserver.New(server, httpserver.Options{CallCache: tt.cache, Sticky: &httpserver.Sticky{}}); err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(h)
			defer s.Close()
			c, err := httpclient.Dial(t.Context(), s.URL, httpclient.Options{}, vgirpc.ClientOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			stream, err := count.Open(t.Context(), c, vgirpc.None{})
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range stream.All() {
				if err != nil {
					t.Fatal(err)
				}
			}
			before := h.Stats()
			resp, err := http.Post(s.URL+"/test.Stats/open", "text/plain", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			// Without VGI-Session-Accept there is no session, but the call was made.
			_, _ = open.Call(t.Context(), c, vgirpc.None{})
			if within.InFlight != 1 {
				t.Errorf("%d calls in flight while there is one", within.InFlight)
			}
			got := h.Stats()
			if got.ReceivedBytes <= before.ReceivedBytes || got.SentBytes <= before.SentBytes || before.ReceivedBytes == 0 || before.SentBytes == 0 {
				t.Errorf("bytes before %+v and after another call %+v", before, got)
			}
			got.ReceivedBytes, got.SentBytes = 0, 0
			if diff := cmp.Diff(httpserver.Stats{CallCacheHits: tt.hits, CallCacheMisses: tt.misses}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
