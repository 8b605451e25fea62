package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/vgirpc/vgirpc-go/cmd/vgi/internal/recording"
)

// serveRecording answers as the recorded server did, until ctx ends.
func (a *app) serveRecording(ctx context.Context, at string, info recording.Info, frames []recording.Frame) error {
	overHTTP := strings.HasPrefix(at, "http://")
	if overHTTP != (info.Transport == "http") {
		return usagef("--serve %s: the recording is of %s, and the two differ in more than their bytes; 'vgi replay FILE URL' goes from one to the other",
			at, info.Transport)
	}
	mock, err := recording.NewMock(info, frames)
	if err != nil {
		return err
	}
	if at == "stdio:" {
		err := mock.Serve(struct {
			io.Reader
			io.Writer
		}{a.in, a.out})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to end, as at any other address
		}
		return err
	}
	if overHTTP {
		return a.serveRecordedHTTP(ctx, at, mock)
	}
	where, err := parseAddress(at)
	if err != nil {
		return err
	}
	l, announcement, err := where.open(ctx)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	fmt.Fprintln(a.out, announcement)
	return serveConns(ctx, l, a.err, func(nc net.Conn) {
		defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
		if err := mock.Serve(nc); err != nil && !errors.Is(err, net.ErrClosed) {
			fmt.Fprintln(a.err, "vgi replay:", clean(err.Error()))
		}
		_ = nc.Close()
	})
}

func (a *app) serveRecordedHTTP(ctx context.Context, at string, mock http.Handler) error {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return usagef("--serve %q: want http://HOST:PORT", at)
	}
	l, err := a.listenHTTP(ctx, u.Host)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return serveHTTP(ctx, l, mock)
}
