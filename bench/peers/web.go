//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The path of a call, which every peer has in its own form.
const (
	serviceName = "bench.Peers"
	echoPath    = "/" + serviceName + "/Echo"
)

// serveHandler serves HTTP/1.1 and HTTP/2 until ctx ends.
func serveHandler(ctx context.Context, s serving, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.Serve(s.listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// servePlainHTTP is the floor of HTTP: a request is read to its end, and
// answered with canned bytes.
func servePlainHTTP(ctx context.Context, s serving) error {
	reply := make([]byte, s.sizes.reply)
	return serveHandler(ctx, s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		s.pause()
		w.Header()["Content-Type"] = []string{"application/octet-stream"}
		_, _ = w.Write(reply) // a client that is gone needs no answer
	}))
}

func dialPlainHTTP(_ context.Context, d dialing) (*session, error) {
	rt := roundTripper(d, false)
	client := &http.Client{Transport: rt}
	request := make([]byte, d.sizes.request)
	return &session{
		call: func(ctx context.Context, v float64) (float64, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+echoPath, bytes.NewReader(request))
			if err != nil {
				return 0, err
			}
			resp, err := client.Do(req)
			if err != nil {
				return 0, err
			}
			n, err := io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if err == nil && (resp.StatusCode != http.StatusOK || n != int64(d.sizes.reply)) {
				err = fmt.Errorf("%s with %d bytes", resp.Status, n)
			}
			return v, err
		},
		close: func() error {
			rt.CloseIdleConnections()
			return nil
		},
	}, nil
}

// uncompressed is the size below which connect-go sends what it has as it is.
// By default it would compress the smallest message, which costs it more than
// all the rest.
const uncompressed = 1 << 10

func serveConnect(ctx context.Context, s serving) error {
	mux := http.NewServeMux()
	mux.Handle(echoPath, connect.NewUnaryHandler(echoPath,
		func(_ context.Context, req *connect.Request[wrapperspb.DoubleValue]) (*connect.Response[wrapperspb.DoubleValue], error) {
			s.pause()
			return connect.NewResponse(wrapperspb.Double(req.Msg.GetValue())), nil
		}, connect.WithCompressMinBytes(uncompressed)))
	return serveHandler(ctx, s, mux)
}

func dialConnect(h2 bool) func(context.Context, dialing) (*session, error) {
	return func(_ context.Context, d dialing) (*session, error) {
		rt := roundTripper(d, h2)
		c := connect.NewClient[wrapperspb.DoubleValue, wrapperspb.DoubleValue](&http.Client{Transport: rt}, baseURL+echoPath)
		return &session{
			call: func(ctx context.Context, v float64) (float64, error) {
				resp, err := c.CallUnary(ctx, connect.NewRequest(wrapperspb.Double(v)))
				if err != nil {
					return 0, err
				}
				return resp.Msg.GetValue(), nil
			},
			close: func() error {
				rt.CloseIdleConnections()
				return nil
			},
		}, nil
	}
}
