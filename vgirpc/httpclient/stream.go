package httpclient

import (
	"context"
	"io"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// stream is an open stream: the tokens that the next request carries.
type stream struct {
	t   *Transport
	s   *Session // nil outside one
	req *vgirpc.ClientRequest
	to  *endpoint

	params *wire.Batch // until the stream is opened
	header *wire.Batch
	input  *wire.Schema // of the last input

	cursor, call string        // "" before the first response; cursor also after the last
	meta         wire.Metadata // of the request being made

	first   *wire.Batch // a producer's first batch, which came when it was opened
	pending error       // for the next turn
	ended   bool
}

// open opens a stream, or makes it ready to be opened by its first turn.
func (t *Transport) open(ctx context.Context, s *Session, req *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	st := &stream{t: t, s: s, req: req, to: t.endpoint(req.Method)}
	if st.producer() && !req.Method.HasHeader() {
		params := keep(&req.Batch, true) // the caller may use their memory again
		st.params = &params
		return st, nil
	}
	if err := st.init(ctx, &req.Batch); err != nil {
		return nil, err
	}
	return st, nil
}

func (s *stream) producer() bool { return s.req.Method.Kind() == vgirpc.KindProducer }

// init sends the request of the stream, and reads the header and the first turn
// of a producer.
func (s *stream) init(ctx context.Context, params *wire.Batch) error {
	s.params = nil
	r, err := s.t.post(ctx, s.s, s.to.init, s.req, params)
	if err != nil {
		return err
	}
	defer r.release()
	if s.req.Method.HasHeader() {
		header, err := r.one(s.req)
		if err != nil {
			return err
		}
		if header == nil {
			return protocolError(nil, "the header of %s is missing", s.req.Method)
		}
		kept := keep(header, !header.Owned)
		s.header = &kept
	}
	first, err := s.read(r, true)
	if err != nil {
		return err
	}
	switch {
	case s.producer():
		s.first = first
	case s.cursor == "":
		return protocolError(nil, "%s was opened without a state token", s.req.Method)
	case first != nil:
		// The Python reference takes an exchange whose input has no columns for
		// a producer, and runs a turn with the opening. It answers no input.
		s.t.opts.Logger.DebugContext(ctx, "a batch that an exchange sent before its first input is dropped", "method", s.req.Method.String())
	}
	return nil
}

// read reads the stream of one turn to its end: its batch, nil when there is
// none, and the tokens for the next. An error that follows a batch is that of
// the next turn.
func (s *stream) read(r *reply, opening bool) (*wire.Batch, error) {
	s.cursor = ""
	if err := r.stream(); err != nil {
		return nil, err
	}
	var out *wire.Batch
	for {
		b, err := r.next(s.req)
		if err == io.EOF { //nolint:errorlint // the end of the stream, by identity
			return out, r.finish()
		}
		if err != nil && out != nil && vgirpc.IsRemote(err) {
			s.cursor, s.pending = "", err
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		// An exchange's cursor comes with its output, or after it from a server
		// that takes it for a producer.
		sentinel := b.Kind() == wire.KindState && (opening || s.producer() || out != nil)
		if opening && !sentinel && !s.producer() && b.Meta.Has(wire.KeyStreamState) {
			return nil, protocolError(nil, "%s sent a batch before it was sent one", s.req.Method)
		}
		s.takeTokens(b, opening)
		if sentinel {
			continue
		}
		if out != nil {
			return nil, protocolError(nil, "%s sent two batches in one turn", s.req.Method)
		}
		kept := keep(b, !b.Owned)
		out = &kept
	}
}

// takeTokens takes the tokens out of b's metadata. The call token comes once.
func (s *stream) takeTokens(b *wire.Batch, opening bool) {
	found := false
	for _, p := range b.Meta {
		switch p.Key {
		case wire.KeyStreamState:
			s.cursor, found = p.Value, true
		case wire.KeyCallState:
			found = true
			if opening {
				s.call = p.Value
			}
		}
	}
	if found {
		b.Meta = b.Meta.Without(func(key string) bool { return key == wire.KeyStreamState || key == wire.KeyCallState })
	}
}

// Resolved is told of the batch that the pointer of the last turn stood for. The
// Python reference puts an exchange's cursor on the batch before it is uploaded,
// so that the pointer itself comes without one.
func (s *stream) Resolved(b *wire.Batch) {
	cursor := s.cursor
	s.takeTokens(b, false)
	if cursor != "" || s.producer() {
		s.cursor = cursor
	}
}

// cancelGrace is how long telling the server may take that its caller has left.
const cancelGrace = 5 * time.Second

// abandon ends the stream when ctx has ended while the turn is the caller's. A
// stream that has not been opened is not opened for that.
func (s *stream) abandon(ctx context.Context) {
	if s.params != nil {
		s.ended = true
		return
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer cancel()
	_ = s.Cancel(grace) // the caller is told of his context
}

// Header implements [vgirpc.TurnStream].
func (s *stream) Header() *wire.Batch { return s.header }

// Turn implements [vgirpc.TurnStream].
func (s *stream) Turn(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	if s.ended {
		return nil, io.EOF
	}
	if ctx.Err() != nil {
		s.abandon(ctx)
		return nil, vgirpc.ContextError(ctx)
	}
	out, err := s.turn(ctx, in)
	if err != nil {
		s.ended = true
	}
	return out, err
}

func (s *stream) turn(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	if s.params != nil {
		params := *s.params
		params.Meta = withTick(params.Meta, in.Meta)
		if err := s.init(ctx, &params); err != nil {
			return nil, err
		}
	}
	if out := s.first; out != nil {
		s.first = nil
		return out, nil
	}
	for {
		if err := s.pending; err != nil {
			return nil, err
		}
		if s.cursor == "" {
			return nil, io.EOF
		}
		out, err := s.next(ctx, in)
		if out != nil || err != nil {
			return out, err
		}
		if !s.producer() && s.cursor != "" {
			return nil, protocolError(nil, "%s did not answer its input", s.req.Method)
		}
	}
}

// next sends an input, or a tick, and reads the answer.
func (s *stream) next(ctx context.Context, in *wire.Batch) (*wire.Batch, error) {
	r, err := s.send(ctx, in)
	if err != nil {
		return nil, err
	}
	defer r.release()
	return s.read(r, false)
}

// send sends a batch with both tokens.
func (s *stream) send(ctx context.Context, in *wire.Batch) (*reply, error) {
	s.input = in.Schema
	s.meta = s.meta[:0]
	for _, p := range in.Meta {
		if p.Key != wire.KeyStreamState && p.Key != wire.KeyCallState {
			s.meta = append(s.meta, p)
		}
	}
	s.meta = append(s.meta, wire.Pair{Key: wire.KeyStreamState, Value: s.cursor})
	if s.call != "" {
		s.meta = append(s.meta, wire.Pair{Key: wire.KeyCallState, Value: s.call})
	}
	b := *in
	b.Meta = s.meta
	return s.t.post(ctx, s.s, s.to.exchange, s.req, &b)
}

// withTick is the metadata of a request that is a producer's first tick as well.
// What the request needs for itself a tick cannot change.
func withTick(request, tick wire.Metadata) wire.Metadata {
	out := request
	for _, p := range tick {
		switch p.Key {
		case wire.KeyMethod, wire.KeyProtocol, wire.KeyRequestVersion, wire.KeyProtocolVersion,
			wire.KeyStreamState, wire.KeyCallState, wire.KeyCancel:
		default:
			out = out.With(p.Key, p.Value)
		}
	}
	return out
}

// start opens a stream that had no turn: a call that was made is made on every
// transport.
func (s *stream) start(ctx context.Context) error {
	if s.params == nil {
		return nil
	}
	return s.init(ctx, s.params)
}

// Cancel implements [vgirpc.TurnStream]. That the server could not be told is no
// error: it keeps nothing of a stream between turns.
func (s *stream) Cancel(ctx context.Context) error {
	if s.ended {
		return nil
	}
	s.ended = true
	if err := s.start(ctx); err != nil {
		return err
	}
	if s.cursor == "" {
		return nil
	}
	schema := s.input
	if schema == nil {
		schema = wire.EmptySchema()
	}
	b := wire.EmptyBatch(schema, wire.Metadata{{Key: wire.KeyCancel, Value: "1"}})
	r, err := s.send(ctx, &b)
	if err != nil {
		s.t.opts.Logger.DebugContext(ctx, "a cancellation did not arrive", "method", s.req.Method.String(), "error", err)
		return nil
	}
	defer r.release()
	if _, err := s.read(r, false); err != nil {
		s.t.opts.Logger.DebugContext(ctx, "a cancellation was not answered", "method", s.req.Method.String(), "error", err)
	}
	return nil
}

// Close implements [vgirpc.TurnStream].
func (s *stream) Close(ctx context.Context) error {
	if s.ended {
		return nil
	}
	s.ended = true
	return s.start(ctx)
}

// keep copies a batch that a reader is about to reuse, with the memory of its
// columns where that is lent.
func keep(b *wire.Batch, lent bool) wire.Batch {
	out := wire.Batch{Schema: b.Schema, Rows: b.Rows, Meta: b.Meta, Owned: true}
	var memory []byte
	if lent {
		memory = make([]byte, 0, b.Bytes()+8*int64(len(b.Cols)))
	}
	out.Cols = keepColumns(b.Cols, lent, &memory)
	return out
}

func keepColumns(cols []wire.Column, lent bool, memory *[]byte) []wire.Column {
	if len(cols) == 0 {
		return nil
	}
	out := make([]wire.Column, len(cols))
	copy(out, cols)
	for i := range out {
		c := &out[i]
		if lent {
			c.Validity = keepBytes(c.Validity, memory)
			c.Offsets = keepBytes(c.Offsets, memory)
			c.Data = keepBytes(c.Data, memory)
		}
		c.Children = keepColumns(c.Children, lent, memory)
		if c.Dict != nil {
			c.Dict = &keepColumns([]wire.Column{*c.Dict}, lent, memory)[0]
		}
	}
	return out
}

// keepBytes copies p to memory, at a place where values of any type may lie.
func keepBytes(p []byte, memory *[]byte) []byte {
	if p == nil {
		return nil
	}
	m := *memory
	for len(m)%8 != 0 {
		m = append(m, 0)
	}
	from := len(m)
	m = append(m, p...)
	*memory = m
	return m[from:len(m):len(m)]
}
