package vgirpc_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

type silentObserver struct{}

func (silentObserver) CallStarted(ctx context.Context, _ *vgirpc.Call) context.Context { return ctx }
func (silentObserver) CallEnded(context.Context, *vgirpc.Call, *vgirpc.CallEnd)        {}

func TestConfigure(t *testing.T) {
	newServer := func(t *testing.T, opts vgirpc.ServerOptions) *vgirpc.Server {
		t.Helper()
		s, err := vgirpc.NewServer(opts, vgirpc.NewProtocol("test.Configure", ""))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	options := func(t *testing.T, s *vgirpc.Server) (opts vgirpc.ServerOptions) {
		t.Helper()
		if err := s.Configure(func(o *vgirpc.ServerOptions) { opts = *o }); err != nil {
			t.Fatal(err)
		}
		return opts
	}

	t.Run("changes the options of a server that has not served", func(t *testing.T) {
		s := newServer(t, vgirpc.ServerOptions{Version: "1.2.3"})
		err := s.Configure(func(o *vgirpc.ServerOptions) {
			o.ServerID = "named"
			o.Conns.MaxConns = 7
			o.Limits.Validation = wire.ValidateOff
		})
		if err != nil {
			t.Fatal(err)
		}
		got := options(t, s)
		if s.ID() != "named" || got.Conns.MaxConns != 7 || got.Limits.Validation != wire.ValidateOff || got.Version != "1.2.3" {
			t.Errorf("options are %+v", got)
		}
	})

	t.Run("shows the defaults that were filled in", func(t *testing.T) {
		s := newServer(t, vgirpc.ServerOptions{})
		if got := options(t, s); got.ServerID != s.ID() || got.Limits.Budget == nil {
			t.Errorf("options are %+v", got)
		}
	})

	t.Run("leaves the slices of the server's maker alone", func(t *testing.T) {
		mine := make([]vgirpc.Observer, 0, 1)
		s := newServer(t, vgirpc.ServerOptions{Observers: mine})
		err := s.Configure(func(o *vgirpc.ServerOptions) { o.Observers = append(o.Observers, silentObserver{}) })
		if err != nil {
			t.Fatal(err)
		}
		if mine[:1][0] != nil {
			t.Error("the observer was appended to the caller's array")
		}
		if got := options(t, s); len(got.Observers) != 1 {
			t.Errorf("%d observers, want 1", len(got.Observers))
		}
	})

	t.Run("refuses an option that makes no sense and changes nothing", func(t *testing.T) {
		s := newServer(t, vgirpc.ServerOptions{ServerID: "before"})
		err := s.Configure(func(o *vgirpc.ServerOptions) {
			o.ServerID = "after"
			o.Conns.IdleTimeout = time.Nanosecond
		})
		if err == nil || !strings.Contains(err.Error(), "IdleTimeout") {
			t.Errorf("error %v does not name the option", err)
		}
		if s.ID() != "before" {
			t.Errorf("the identifier is %q", s.ID())
		}
	})

	t.Run("refuses after the server was sealed", func(t *testing.T) {
		s := newServer(t, vgirpc.ServerOptions{})
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
		called := false
		if err := s.Configure(func(*vgirpc.ServerOptions) { called = true }); err == nil || called {
			t.Errorf("error %v, change called: %v", err, called)
		}
	})
}
