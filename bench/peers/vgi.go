//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/vgirpc/vgirpc-go/httpserver"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
	"github.com/vgirpc/vgirpc-go/vgirpc/subprocess"
)

type (
	echoParams struct {
		Value float64 `vgi:"value"`
	}
	blocksParams struct {
		Count int64 `vgi:"count"`
	}
	blockRow struct {
		Value float64 `vgi:"value"`
	}
)

var (
	contract = vgirpc.NewProtocol("bench.Peers.v1", "1.0.0")
	vgiEcho  = vgirpc.NewUnary[echoParams, float64](contract, "echo")
	blocks   = vgirpc.NewProducer[blocksParams, blockRow](contract, "blocks")
)

// counter is an open stream of blocks.
type counter struct{ Left int64 }

// Produce sends the block until as many as were asked for are sent.
func (c *counter) Produce(_ context.Context, out *vgirpc.Emitter[blockRow]) error {
	if c.Left == 0 {
		return io.EOF
	}
	c.Left--
	return out.EmitRecord(block())
}

func newVGIServer(s serving) (*vgirpc.Server, error) {
	opts := vgirpc.ServerOptions{Conns: vgirpc.ConnOptions{MaxConns: -1}}
	server, err := vgirpc.NewServer(opts, contract)
	if err != nil {
		return nil, err
	}
	vgirpc.HandleUnary(server, vgiEcho, func(_ context.Context, p echoParams) (float64, error) {
		s.pause()
		return p.Value, nil
	})
	vgirpc.HandleProducer(server, blocks, func(_ context.Context, p blocksParams) (*counter, error) {
		return &counter{p.Count}, nil
	})
	return server, nil
}

func serveVGI(ctx context.Context, s serving) error {
	server, err := newVGIServer(s)
	if err != nil {
		return err
	}
	if s.listener != nil {
		return server.Serve(ctx, s.listener)
	}
	if err := server.Start(ctx, vgirpc.TransportPipe); err != nil {
		return err
	}
	stdio, err := vgirpc.TakeStdio()
	if err != nil {
		return err
	}
	return server.ServePipe(ctx, stdio)
}

func dialVGI(ctx context.Context, d dialing) (*session, error) {
	var c *vgirpc.Client
	var err error
	switch d.network {
	case "pipe":
		c, err = subprocess.New(ctx, subprocess.Options{Command: d.command}, vgirpc.ClientOptions{})
	case "unix":
		c, err = vgirpc.DialUnix(ctx, d.address, vgirpc.ClientOptions{})
	default:
		c, err = vgirpc.DialTCP(ctx, d.address, vgirpc.ClientOptions{})
	}
	if err != nil {
		return nil, err
	}
	return vgiSession(c), nil
}

func vgiSession(c *vgirpc.Client) *session {
	return &session{
		call: func(ctx context.Context, v float64) (float64, error) {
			return vgiEcho.Call(ctx, c, echoParams{v})
		},
		stream: func(ctx context.Context, batches int, got func()) error {
			s, err := blocks.Open(ctx, c, blocksParams{int64(batches)})
			if err != nil {
				return err
			}
			for b, err := range s.Batches() {
				if err != nil {
					return err
				}
				rec, err := b.Record()
				if err != nil {
					return err
				}
				err = look(rec)
				rec.Release()
				if err != nil {
					return err
				}
				got()
			}
			return s.Close()
		},
		close: c.Close,
	}
}

// counted counts what passes a connection, so that the floor moves as much.
type counted struct {
	io.ReadWriteCloser
	read, written atomic.Int64
}

// Read counts what is read.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// Write counts what is written.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// smallCallSizes is what a small call of vgi-rpc puts on a byte stream.
func smallCallSizes(ctx context.Context) (sizes, error) {
	server, err := newVGIServer(serving{})
	if err != nil {
		return sizes{}, err
	}
	if err := server.Start(ctx, vgirpc.TransportPipe); err != nil {
		return sizes{}, err
	}
	near, far := vgirpc.NewPair()
	served := make(chan error, 1)
	go func() { served <- server.ServePipe(ctx, far) }()
	conn := &counted{ReadWriteCloser: near}
	c := vgirpc.NewClient(conn, vgirpc.ClientOptions{})
	_, err = vgiEcho.Call(ctx, c, echoParams{1})
	err = errors.Join(err, c.Close(), <-served)
	return sizes{int(conn.written.Load()), int(conn.read.Load())}, err
}

func serveVGIOverHTTP(ctx context.Context, s serving) error {
	server, err := newVGIServer(s)
	if err != nil {
		return err
	}
	keys, err := httpserver.NewKeyRing([]byte(baseURL)) // any will do: nothing is sealed
	if err != nil {
		return err
	}
	h, err := httpserver.New(server, httpserver.Options{Keys: keys})
	if err != nil {
		return err
	}
	hs, err := httpserver.NewServer(h, httpserver.ServeOptions{})
	if err != nil {
		return err
	}
	return hs.Serve(ctx, s.listener)
}

func dialVGIOverHTTP(h2 bool) func(context.Context, dialing) (*session, error) {
	return func(ctx context.Context, d dialing) (*session, error) {
		rt := roundTripper(d, h2)
		c, err := httpclient.Dial(ctx, baseURL, httpclient.Options{Transport: rt}, vgirpc.ClientOptions{})
		if err != nil {
			return nil, err
		}
		s := vgiSession(c)
		s.close = func() error {
			rt.CloseIdleConnections()
			return c.Close()
		}
		return s, nil
	}
}

// baseURL names the server; the connection is made to its address in any case.
const baseURL = "http://peers.invalid"

// roundTripper speaks HTTP to a server, over as many connections as there are
// callers, or over one.
func roundTripper(d dialing, h2 bool) *http.Transport {
	rt := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, d.network, d.address)
		},
		MaxIdleConnsPerHost: d.callers,
		DisableCompression:  true, // each peer's client knows what it wants
		Protocols:           new(http.Protocols),
	}
	rt.Protocols.SetHTTP1(!h2)
	rt.Protocols.SetUnencryptedHTTP2(h2)
	return rt
}
