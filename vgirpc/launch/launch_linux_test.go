package launch_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vgirpc/vgirpc-go/vgirpc/launch"
)

// TestFullQueue is about a listener that takes no more connections for now,
// which Linux tells from none.
func TestFullQueue(t *testing.T) {
	b := newBench(t)
	l := b.launcher(t, "serve", launch.Options{})
	fd, queued := fill(t, l.Socket())
	noError(t, os.WriteFile(filepath.Join(b.dir, l.Key()+".meta"), []byte("{}"), 0o600))
	rows, err := launch.Status(t.Context(), b.dir)
	noError(t, err)
	equal(t, rows, []launch.Worker{{Key: l.Key(), Socket: l.Socket(), Alive: true}})
	got, err := launch.GC(t.Context(), b.dir)
	noError(t, err)
	equal(t, got, launch.Collected{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = l.Launch(ctx)
	equal(t, errors.Is(err, context.DeadlineExceeded), true)
	launched := make(chan error, 1)
	go func() {
		_, err := l.Launch(t.Context())
		launched <- err
	}()
	c, _, err := unix.Accept(fd)
	noError(t, err)
	noError(t, <-launched)
	equal(t, b.started(t), nilPIDs)
	for _, s := range append(queued, c, fd) {
		noError(t, unix.Close(s))
	}
}

// fill listens on a path until its queue is full.
func fill(t *testing.T, path string) (listener int, queued []int) {
	t.Helper()
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	noError(t, err)
	noError(t, unix.Bind(listener, &unix.SockaddrUnix{Name: path}))
	noError(t, unix.Listen(listener, 0))
	for range 100 {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		noError(t, err)
		noError(t, unix.SetNonblock(s, true))
		queued = append(queued, s)
		if err := unix.Connect(s, &unix.SockaddrUnix{Name: path}); err != nil {
			return listener, queued
		}
	}
	t.Fatal("the queue does not fill")
	return 0, nil
}
