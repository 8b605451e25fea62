package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
	"github.com/vgirpc/vgirpc-go/internal/accept"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// recordedSocket listens on one address, and dials another.
type recordedSocket struct {
	a              *app
	listen, target address
}

func (r *recordedSocket) transport() string { return r.listen.network }

// open listens, and announces it as a worker does.
func (l address) open(ctx context.Context) (net.Listener, string, error) {
	if l.network == "unix" {
		listener, err := listenUnix(ctx, l.place)
		return listener, "UNIX:" + l.place, err
	}
	listener, err := vgirpc.ListenTCP(ctx, l.place)
	if err != nil {
		return nil, "", err
	}
	return listener, "TCP:" + listener.Addr().String(), nil
}

// run serves until ctx ends, which is no error.
func (r *recordedSocket) run(ctx context.Context, w *recording.Writer) error {
	l, announcement, err := r.listen.open(ctx)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	fmt.Fprintln(r.a.out, announcement)
	return serveConns(ctx, l, r.a.err, func(nc net.Conn) { r.serve(ctx, nc, w) })
}

// serveConns gives each connection to serve, until ctx ends, which is no error. It
// waits for the connections; serve ends when ctx does. A want of descriptors passes:
// it is told to w.
func serveConns(ctx context.Context, l net.Listener, w io.Writer, serve func(net.Conn)) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	defer func() { _ = l.Close() }() // ahead of the wait: who comes then is turned away
	short := false
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			closeAll(nc)
			return nil
		case err == nil:
			short = false
			conns.Go(func() { serve(nc) })
		case !accept.Passes(err):
			return fmt.Errorf("accept: %w", err)
		default:
			if !short {
				fmt.Fprintln(w, "vgi: accept failed, trying again:", clean(err.Error()))
			}
			short = true
			select {
			case <-ctx.Done():
			case <-time.After(accept.Backoff):
			}
		}
	}
}

// serve stands between one client and the server.
func (r *recordedSocket) serve(ctx context.Context, client net.Conn, w *recording.Writer) {
	conn := w.Open()
	defer conn.Close()
	server, err := new(net.Dialer).DialContext(ctx, r.target.network, r.target.place)
	if err != nil {
		conn.Fail(err)
		fmt.Fprintln(r.a.err, "vgi record:", clean(err.Error()))
		abort(client)
		return
	}
	defer context.AfterFunc(ctx, func() { closeAll(client, server) })()
	var ways sync.WaitGroup
	ways.Go(func() { half(server, client, conn.Tap(recording.Client)) })
	ways.Go(func() { half(client, server, conn.Tap(recording.Server)) })
	ways.Wait()
	closeAll(client, server)
}

// half moves one direction, and what ends it: an end as an end, an error as an
// error.
func half(to, from net.Conn, tap *recording.Tap) {
	readErr, writeErr := pumpFiles(to, from, tap)
	switch {
	case writeErr != nil:
		tap.End(writeErr)
		if c, ok := from.(interface{ CloseRead() error }); ok {
			_ = c.CloseRead() // it may still listen
		}
		if reset(writeErr) {
			abort(from)
		}
	case readErr != nil:
		tap.End(readErr)
		abort(to)
	default:
		tap.HalfClose()
		if c, ok := to.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite() // who is gone needs no telling
		}
	}
}

// reset reports whether the peer has given up the connection altogether.
func reset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// abort closes a connection so that its peer sees an error.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
