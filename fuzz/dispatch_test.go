package fuzz_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/vgitest"
	"github.com/vgirpc/vgirpc-go/wire"
)

// tape is a connection whose peer has said all it will say, and that keeps what
// it is told.
type tape struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (t *tape) Read(p []byte) (int, error)  { return t.in.Read(p) }
func (t *tape) Write(p []byte) (int, error) { return t.out.Write(p) }
func (t *tape) Close() error                { return nil }

// said returns what a client sends for one call, up to its first reply.
func said(f *testing.F, call func(context.Context, *vgirpc.Client) error) []byte {
	f.Helper()
	t := &tape{in: bytes.NewReader(nil)}
	client := vgirpc.NewClient(t, vgirpc.ClientOptions{})
	if err := call(context.Background(), client); err == nil {
		f.Fatal("a call succeeded without a reply")
	}
	return bytes.Clone(t.out.Bytes())
}

// calls are the seeds of FuzzConnection: one call of each kind.
func calls(f *testing.F, c *vgitest.Contract) [][]byte {
	f.Helper()
	streamed := func(open func(context.Context, *vgirpc.Client) (*vgirpc.ProducerStream[vgitest.Number], error)) []byte {
		return said(f, func(ctx context.Context, client *vgirpc.Client) error {
			s, err := open(ctx, client)
			if err != nil {
				return err
			}
			return s.Close()
		})
	}
	return [][]byte{
		said(f, func(ctx context.Context, client *vgirpc.Client) error {
			_, err := c.Add.Call(ctx, client, vgitest.AddParams{A: 1, B: 2})
			return err
		}),
		said(f, func(ctx context.Context, client *vgirpc.Client) error {
			_, err := c.Echo.Call(ctx, client, vgitest.TextParams{Text: "ünïcode"})
			return err
		}),
		streamed(func(ctx context.Context, client *vgirpc.Client) (*vgirpc.ProducerStream[vgitest.Number], error) {
			return c.Count.Open(ctx, client, vgitest.CountParams{N: 3})
		}),
		said(f, func(ctx context.Context, client *vgirpc.Client) error {
			s, err := c.Sum.Open(ctx, client, vgirpc.None{})
			if err != nil {
				return err
			}
			_, err = s.Exchange(ctx, vgitest.Number{Value: 1}, vgitest.Number{Value: -1})
			return err
		}),
		said(f, func(ctx context.Context, client *vgirpc.Client) error {
			_, err := client.Describe(ctx)
			return err
		}),
	}
}

// FuzzConnection serves arbitrary bytes as a connection: requests, parameters
// and input streams. The server never panics, and whatever it answers is whole
// IPC streams.
func FuzzConnection(f *testing.F) {
	c := vgitest.NewContract()
	s := vgitest.NewServer(f, c, vgirpc.ServerOptions{Limits: limits})
	seeds := calls(f, c)
	for _, p := range seeds {
		f.Add(p)
		f.Add(append(bytes.Clone(p), seeds[0]...))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		conn := &tape{in: bytes.NewReader(p)}
		served, err := s.NewConn(t.Context(), conn, &vgirpc.Peer{Kind: vgirpc.TransportPipe})
		if err != nil {
			t.Fatal(err)
		}
		serveErr := served.Serve()
		if err := served.Close(); err != nil {
			t.Fatal(err)
		}
		r := wire.NewReader(&conn.out, wire.Limits{}, nil)
		for {
			if _, err := r.NextStream(); err != nil {
				if !errors.Is(err, io.EOF) && serveErr == nil {
					t.Fatalf("the reply does not begin as a stream: %v", err)
				}
				return
			}
			for {
				_, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err == nil {
					continue
				}
				// A caller that stops in the middle of a stream gets half a reply.
				if serveErr == nil && !errors.Is(err, wire.ErrTruncated) {
					t.Fatalf("the reply is not a stream: %v", err)
				}
				return
			}
		}
	})
}

// Steps of a FuzzDispatch program.
const (
	stepTick = iota
	stepRows
	stepWrongSchema
	stepCancel
	stepStore
	stepAbandon
	steps
)

// FuzzDispatch takes its input for a program of turns: the first byte chooses
// the method, each further byte a step. The core keeps its promises whatever
// the order: one data batch for each accepted turn, nothing after Done.
func FuzzDispatch(f *testing.F) {
	for method := range byte(4) {
		f.Add([]byte{method, stepTick, stepTick, stepStore, stepTick, stepTick})
		f.Add([]byte{method, stepRows, stepStore, stepRows, stepWrongSchema})
		f.Add([]byte{method, stepRows, stepCancel, stepRows})
		f.Add([]byte{method, stepAbandon})
	}
	c := vgitest.NewContract()
	s := vgitest.NewServer(f, c, vgirpc.ServerOptions{})
	requests := calls(f, c)
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) == 0 {
			return
		}
		m := machine{t: t, s: s}
		m.begin(requests[int(program[0])%len(requests)])
		for _, step := range program[1:] {
			if !m.step(step % steps) {
				break
			}
		}
		m.d.End(vgirpc.Delivery{})
	})
}

// machine runs one FuzzDispatch program.
type machine struct {
	t     *testing.T
	s     *vgirpc.Server
	d     *vgirpc.Dispatch
	req   vgirpc.Request
	reply vgirpc.Reply
}

func (m *machine) begin(request []byte) {
	m.t.Helper()
	if err := m.s.Seal(); err != nil {
		m.t.Fatal(err)
	}
	r := wire.NewReader(bytes.NewReader(request), wire.Limits{}, nil)
	if _, err := r.NextStream(); err != nil {
		m.t.Fatal(err)
	}
	b, err := r.Next()
	if err != nil {
		m.t.Fatal(err)
	}
	m.req = vgirpc.Request{Meta: b.Meta, Batch: b, Peer: &vgirpc.Peer{}}
	m.d = m.s.Begin(context.Background(), m.s.Route(b.Meta), &m.req, &m.reply)
	m.check()
}

// step takes one step and reports whether the stream is still open.
func (m *machine) step(step byte) bool {
	m.t.Helper()
	if !m.d.Open() {
		return false
	}
	switch step {
	case stepStore:
		return m.store()
	case stepAbandon:
		m.d.Abandon(io.ErrUnexpectedEOF)
		return false
	case stepCancel:
		in := wire.EmptyBatch(wire.EmptySchema(), wire.Metadata{{Key: wire.KeyCancel, Value: "1"}})
		m.d.Turn(&in, &m.reply)
		if !m.reply.Done || len(m.reply.Batches) > 0 {
			m.t.Fatalf("a cancel was answered with %d batches, done %v", len(m.reply.Batches), m.reply.Done)
		}
		return false
	default:
		m.d.Turn(m.input(step), &m.reply)
		m.check()
		return !m.reply.Done
	}
}

func (m *machine) input(step byte) *wire.Batch {
	m.t.Helper()
	if step == stepTick {
		b := wire.EmptyBatch(wire.EmptySchema(), nil)
		return &b
	}
	shape := shapes[0] // int64
	if step == stepWrongSchema {
		shape = shapes[2]
	}
	rec := sample(m.t, shape.typ, shape.rows)
	schema, err := wire.NewSchema(rec.Schema())
	if err != nil {
		m.t.Fatal(err)
	}
	b, err := wire.NewBatch(schema, rec, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// store stores the stream and goes on with what comes back.
func (m *machine) store() bool {
	m.t.Helper()
	snap, err := m.d.Snapshot()
	if err != nil {
		m.t.Fatal(err)
	}
	m.d.End(vgirpc.Delivery{})
	if m.d, err = m.s.Resume(context.Background(), snap, &m.req, &m.reply); err != nil {
		m.t.Fatal(err)
	}
	return true
}

// check holds a reply against what the core promises.
func (m *machine) check() {
	m.t.Helper()
	data := 0
	for i := range m.reply.Batches {
		b := &m.reply.Batches[i]
		switch b.Kind() {
		case wire.KindData:
			data++
		case wire.KindError:
			if !m.reply.Done || i != len(m.reply.Batches)-1 {
				m.t.Fatal("an error that is not the end")
			}
		case wire.KindLog:
			if data > 0 {
				m.t.Fatal("a log after the data")
			}
		default:
			m.t.Fatalf("a batch of kind %d", b.Kind())
		}
	}
	if data > 1 {
		m.t.Fatalf("%d data batches in one step", data)
	}
}
