//go:build unix

package vgirpc_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
)

func TestAUnixSocketIsPrivateFromTheStart(t *testing.T) {
	for _, mode := range []fs.FileMode{0, 0o660, 0o600} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{Mode: mode})
		if err != nil {
			t.Fatal(err)
		}
		want := mode
		if want == 0 {
			want = 0o600
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode %v, %v, want %v", info.Mode().Perm(), err, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func TestAStaleSocketIsReplacedAndALiveOneIsNot(t *testing.T) {
	t.Run("stale", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		if err := dead.Close(); err != nil {
			t.Fatal(err)
		}
		l, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	})
	t.Run("live", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		first, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = first.Close() }()
		if l, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{}); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("got %v, %v, want an error", l, err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the live socket is gone: %v", err)
		}
	})
	t.Run("a file of another kind", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vgirpc.ListenUnix(t.Context(), path, vgirpc.UnixOptions{}); err == nil || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("got %v, want an error", err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
			t.Errorf("the file was touched: %q, %v", got, err)
		}
	})
}

func TestTwoStartersOfOneSocketSettleItBetweenThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	type outcome struct {
		l   net.Listener
		err error
	}
	results := make(chan outcome)
	const starters = 8
	for range starters {
		go func() {
			l, err := vgirpc.ListenUnix(context.Background(), path, vgirpc.UnixOptions{})
			results <- outcome{l, err}
		}()
	}
	won := 0
	for range starters {
		if r := <-results; r.err == nil {
			won++
			defer func() { _ = r.l.Close() }()
		}
	}
	if won != 1 {
		t.Errorf("%d of %d listen on the same path", won, starters)
	}
}

func TestPollServesACallOnlyWhenOneIsThere(t *testing.T) {
	c := vgitest.NewContract()
	s := vgitest.NewServer(t, c, vgirpc.ServerOptions{})
	l, err := vgirpc.ListenUnix(t.Context(), filepath.Join(t.TempDir(), "s"), vgirpc.UnixOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := vgirpc.DialUnix(t.Context(), l.Addr().String(), vgirpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.NewConn(t.Context(), nc, &vgirpc.Peer{Kind: vgirpc.TransportUnix})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if served, err := conn.Poll(time.Millisecond); served || err != nil {
		t.Fatalf("with nothing there: %v, %v", served, err)
	}
	result := make(chan error, 1)
	go func() {
		got, err := c.Add.Call(context.Background(), client, vgitest.AddParams{A: 1, B: 2})
		if err == nil && got != 3 {
			err = errors.New("wrong sum")
		}
		result <- err
	}()
	if served, err := conn.Poll(time.Minute); !served || err != nil {
		t.Fatalf("with a call there: %v, %v", served, err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Poll(time.Minute); err == nil {
		t.Error("no end of the connection after the client closed it")
	}
}
