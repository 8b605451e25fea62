package vgirpc_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

// newClient calls s over an in-process pair.
func newClient(tb testing.TB, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
	tb.Helper()
	c, err := vgirpc.DialServer(tb.Context(), s, opts)
	if err != nil {
		tb.Fatal(err)
	}
	closeAtEnd(tb, c)
	return c
}

func closeAtEnd(tb testing.TB, c *vgirpc.Client) {
	tb.Helper()
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
}

// serve serves on l until the test is over.
func serve(tb testing.TB, s *vgirpc.Server, l net.Listener) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
}

func TestEveryTransportPassesTheHarness(t *testing.T) {
	for name, dial := range map[string]vgitest.Dialer{
		"in-process pair": func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
			t.Helper()
			return newClient(t, s, opts)
		},
		"Unix socket": func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
			t.Helper()
			path := filepath.Join(t.TempDir(), "s")
			l, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{SameUser: true})
			if err != nil {
				t.Fatal(err)
			}
			serve(t, s, l)
			c, err := vgirpc.DialUnix(t.Context(), path, opts)
			if err != nil {
				t.Fatal(err)
			}
			closeAtEnd(t, c)
			return c
		},
		"TCP": func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
			t.Helper()
			l, err := vgirpc.ListenTCP(t.Context(), "0")
			if err != nil {
				t.Fatal(err)
			}
			serve(t, s, l)
			c, err := vgirpc.DialTCP(t.Context(), l.Addr().String(), opts)
			if err != nil {
				t.Fatal(err)
			}
			closeAtEnd(t, c)
			return c
		},
		"stored and resumed between all turns": func(t *testing.T, s *vgirpc.Server, opts vgirpc.ClientOptions) *vgirpc.Client {
			t.Helper()
			near, far := vgirpc.NewPair()
			done := make(chan error, 1)
			go func() { done <- vgitest.ServeResuming(context.Background(), s, far) }()
			c := vgirpc.NewClient(near, opts)
			t.Cleanup(func() {
				if err := errors.Join(c.Close(), <-done); err != nil {
					t.Error(err)
				}
			})
			return c
		},
	} {
		t.Run(name, func(t *testing.T) { vgitest.TestTransport(t, dial) })
	}
}
