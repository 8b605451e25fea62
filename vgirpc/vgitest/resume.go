package vgitest

import (
	"context"
	"errors"
	"io"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// ServeResuming serves one connection as [vgirpc.Server.ServePipe] does, but
// stores every open stream after each turn and resumes it from what was stored:
// what passes [TestTransport] over it can live between the requests of HTTP. It
// is also the shortest example of a transport.
func ServeResuming(ctx context.Context, s *vgirpc.Server, rw io.ReadWriteCloser) error {
	defer func() { _ = rw.Close() }()
	if err := s.Start(ctx, vgirpc.TransportPipe); err != nil {
		return err
	}
	ctx, err := s.Connect(ctx, &vgirpc.Peer{Kind: vgirpc.TransportPipe})
	if err != nil {
		return err
	}
	c := &resuming{s: s, r: wire.NewReader(rw, wire.Limits{}, nil), w: wire.NewWriter(rw)}
	for {
		if err := c.serveOne(ctx); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// resuming is one connection of ServeResuming.
type resuming struct {
	s     *vgirpc.Server
	r     *wire.Reader
	w     *wire.Writer
	reply vgirpc.Reply
	stray bool // the last request named no known method: input may follow
}

func (c *resuming) serveOne(ctx context.Context) error {
	if _, err := c.r.NextStream(); err != nil {
		return err
	}
	meta, err := c.r.Announce()
	if errors.Is(err, io.EOF) && c.stray {
		return nil // that input, without a batch
	}
	if err != nil {
		return err
	}
	stray, route := c.stray, c.s.Route(meta)
	if c.stray = !route.Resolved(); stray && !meta.Has(wire.KeyMethod) {
		return c.r.Drain() // the input of a stream that was refused
	}
	batch, err := c.r.Take(wire.Own)
	if err := c.r.Drain(); err != nil {
		return err
	}
	req := &vgirpc.Request{Meta: meta, Batch: batch, Err: err, Peer: &vgirpc.Peer{Kind: vgirpc.TransportPipe}}
	d := c.s.Begin(ctx, route, req, &c.reply)
	defer func() {
		if d != nil {
			d.End(vgirpc.Delivery{})
		}
	}()
	if c.reply.HeaderSchema != nil {
		if err := c.send(c.reply.HeaderSchema, c.reply.Header, true); err != nil {
			return err
		}
	}
	open := d.Open()
	if err := c.send(c.reply.Schema, c.reply.Batches, c.reply.Done); err != nil || !route.Streams() {
		return err
	}
	if _, err := c.r.NextStream(); err != nil {
		return err
	}
	for open && !c.reply.Done {
		if d, err = c.turn(ctx, d, req); err != nil {
			return err
		}
	}
	return c.r.Drain()
}

// turn takes d one step further in a call of its own, which it returns: nil when
// d could not be resumed. At the end of the input it stays with d.
func (c *resuming) turn(ctx context.Context, d *vgirpc.Dispatch, req *vgirpc.Request) (*vgirpc.Dispatch, error) {
	in, err := c.r.Next()
	if errors.Is(err, io.EOF) {
		c.reply.Done = true
		return d, c.send(c.reply.Schema, nil, true)
	}
	if err != nil {
		return d, err
	}
	snap, err := d.Snapshot()
	if err != nil {
		return d, err
	}
	d.End(vgirpc.Delivery{})
	if d, err = c.s.Resume(ctx, snap, req, &c.reply); err != nil {
		return nil, err
	}
	d.Turn(in, &c.reply)
	return d, c.send(c.reply.Schema, c.reply.Batches, c.reply.Done)
}

// send writes batches, opening the stream before the first and ending it after
// the last.
func (c *resuming) send(schema *wire.Schema, batches []wire.Batch, done bool) error {
	if !c.w.IsOpen() && (len(batches) > 0 || done) {
		if err := c.w.Open(schema); err != nil {
			return err
		}
	}
	for i := range batches {
		if err := c.w.Batch(&batches[i]); err != nil {
			return err
		}
	}
	if done {
		if err := c.w.Close(); err != nil {
			return err
		}
	}
	return c.w.Flush()
}
