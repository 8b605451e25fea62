package recording

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// ErrRedacted refuses to make calls of a recording without payloads.
var ErrRedacted = errors.New("recording: the recording holds no payloads: record again with --payloads to replay it")

// Call is one call of a recording with its answers.
type Call struct {
	Conn int64
	At   time.Duration
	// Protocol and Method are what the request asks for.
	Protocol, Method string
	// Request is the request's batch.
	Request *wire.Batch
	// Stream says that the caller sent inputs, or opened a stream over HTTP.
	Stream bool
	// HasHeader says that the stream began with a header.
	HasHeader bool
	// Ticks says that a stream's inputs are ticks of a producer.
	Ticks bool
	// Inputs are the batches that the caller sent after the request. Those of a
	// producer over HTTP are made up: it has none.
	Inputs []*wire.Batch
	// Cancelled says that the caller cancelled the stream.
	Cancelled bool
	// Header are the batches of the header's stream, Answers those of the
	// result's or of the output, logs and errors among them.
	Header, Answers []*wire.Batch
	// Gap says why the call cannot be made again, "" when it can.
	Gap string

	reply script
}

// script is what a server sends in a call, to be sent again.
type script struct {
	// before is sent as soon as the request is there: a result, or a header.
	before []byte
	// turns are what is sent after the first, the second input, and so on; the
	// first element is sent ahead of all inputs.
	turns [][]byte
}

// stream is one Arrow IPC stream of a recording.
type stream struct {
	parts []part
	ended bool
}

type part struct {
	kind  Kind
	bytes []byte
	after int // inputs that the caller had sent by then
}

func (s *stream) add(f *Frame, after int) {
	s.parts = append(s.parts, part{f.Kind, f.Bytes, after})
	s.ended = s.ended || f.Kind == KindEnd
}

// bytes are the stream as it passed.
func (s *stream) bytes() []byte {
	var out []byte
	for _, p := range s.parts {
		out = append(out, p.bytes...)
	}
	return out
}

// batches decodes the stream. Each batch has a reader of its own, whose memory it
// keeps.
func (s *stream) batches() ([]*wire.Batch, error) {
	var before, end []byte
	end = []byte{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0}
	var out []*wire.Batch
	for _, p := range s.parts {
		switch p.kind {
		case KindSchema, KindDictionary:
			before = append(before, p.bytes...)
		case KindBatch:
			r := wire.NewReader(bytes.NewReader(slices.Concat(before, p.bytes, end)), wire.Limits{MaxMessageBytes: maxFrameBytes}, nil)
			if _, err := r.NextStream(); err != nil {
				return nil, err
			}
			b, err := r.Next()
			if err != nil {
				return nil, err
			}
			out = append(out, b)
		default: // the end
		}
	}
	return out, nil
}

// first is the metadata of the stream's first batch.
func (s *stream) first() wire.Metadata {
	for _, p := range s.parts {
		if p.kind == KindBatch {
			_, meta := Header(p.bytes)
			return meta
		}
	}
	return nil
}

// Calls makes the calls of a recording with payloads, in the order in which they
// began. Negotiations of a connection's capabilities are not among them.
func Calls(info Info, frames []Frame) ([]*Call, error) {
	if !info.Payloads {
		return nil, ErrRedacted
	}
	if info.Transport == "http" {
		return httpCalls(frames), nil
	}
	conns := map[int64]*streamConn{}
	var calls []*Call
	for i := range frames {
		f := &frames[i]
		if f.Conn == 0 {
			continue
		}
		c := conns[f.Conn]
		if c == nil {
			c = &streamConn{}
			conns[f.Conn] = c
		}
		if call := c.frame(f); call != nil {
			calls = append(calls, call.Call)
			c.began = append(c.began, call)
		}
	}
	for _, c := range conns {
		for _, b := range c.began {
			b.finish()
		}
	}
	return slices.DeleteFunc(calls, func(c *Call) bool { return strings.HasPrefix(c.Method, "__") && c.Gap == "" }), nil
}

// streamConn follows one byte stream.
type streamConn struct {
	began  []*streamCall
	call   *streamCall // the last one
	client *stream     // that has begun
	known  bool        // it is known whose it is
	server *stream
	lost   string
}

// streamCall is a call on a byte stream while it is put together.
type streamCall struct {
	*Call
	request *stream
	input   *stream
	sent    int // inputs, and the end of them
	server  []*stream
	before  int // of them had begun when the input did
}

// frame takes the next frame, and returns the call that it begins.
func (c *streamConn) frame(f *Frame) *streamCall {
	switch {
	case f.Kind == KindDropped, f.Kind == KindRaw:
		c.lose(f)
	case f.Bytes == nil:
	case f.From == Client:
		return c.fromClient(f)
	case f.From == Server:
		c.fromServer(f)
	}
	return nil
}

// lose notes that the conversation has a hole.
func (c *streamConn) lose(f *Frame) {
	c.lost = "messages of its connection are missing"
	if f.Kind == KindRaw {
		c.lost = "its connection did not carry whole messages"
	}
	if c.call != nil {
		c.call.Gap = c.lost
	}
}

func (c *streamConn) fromClient(f *Frame) (began *streamCall) {
	if f.Kind == KindSchema {
		c.client, c.known = &stream{}, false
	}
	if c.client == nil {
		return nil
	}
	c.client.add(f, 0)
	if !c.known && f.Kind != KindSchema && f.Kind != KindDictionary {
		c.known = true
		began = c.settle(f)
	}
	if c.call != nil && c.call.input == c.client && (f.Kind == KindBatch || f.Kind == KindEnd) {
		c.call.sent++
	}
	return began
}

// settle decides whether the client's stream is a request or an input.
func (c *streamConn) settle(f *Frame) (began *streamCall) {
	meta := c.client.first()
	switch {
	case meta.Has(wire.KeyMethod):
		began = &streamCall{
			Call: &Call{
				Conn: f.Conn, At: f.At, Protocol: meta.Value(wire.KeyProtocol), Method: meta.Value(wire.KeyMethod), Gap: c.lost,
			},
			request: c.client,
		}
		c.call, c.lost = began, ""
	case c.call != nil:
		c.call.input, c.call.before = c.client, len(c.call.server)
	}
	return began
}

func (c *streamConn) fromServer(f *Frame) {
	if f.Kind == KindSchema {
		c.server = &stream{}
		if c.call != nil {
			c.call.server = append(c.call.server, c.server)
		}
	}
	if c.server == nil || c.call == nil {
		return
	}
	c.server.add(f, c.call.sent)
}

// finish makes a call of its streams.
func (b *streamCall) finish() {
	request, err := b.request.batches()
	if err != nil || len(request) != 1 {
		b.gap("its request is no single batch", err)
		return
	}
	b.Request = request[0]
	b.Stream = b.input != nil
	output := len(b.server) - 1
	if b.Stream {
		b.HasHeader = b.headed()
		if b.Inputs, err = b.input.batches(); err != nil {
			b.gap("its inputs cannot be read", err)
			return
		}
		b.Ticks = ticks(b.Inputs)
		b.cancelled()
		if b.HasHeader {
			if b.Header, err = b.server[0].batches(); err != nil {
				b.gap("its header cannot be read", err)
				return
			}
			b.reply.before = b.server[0].bytes()
			output = 1
		}
	}
	switch {
	case output >= 0 && output < len(b.server):
		if b.Answers, err = b.server[output].batches(); err != nil {
			b.gap("its answer cannot be read", err)
			return
		}
		b.script(b.server[output])
	case !b.HasHeader:
		b.gap("it was not answered", nil)
	}
	b.check()
}

// headed reports whether the first thing that the server sent was a header. An
// error ahead of the input may be either, and is taken for the output.
func (b *streamCall) headed() bool {
	if len(b.server) > 1 {
		return true
	}
	if len(b.server) == 0 || b.before == 0 {
		return false
	}
	batches, err := b.server[0].batches()
	return err == nil && slices.ContainsFunc(batches, func(b *wire.Batch) bool { return b.Kind() == wire.KindData })
}

// ticks reports whether inputs are those of a producer.
func ticks(inputs []*wire.Batch) bool {
	return !slices.ContainsFunc(inputs, func(b *wire.Batch) bool { return b.Rows > 0 || b.Schema.NumFields() > 0 })
}

// cancelled takes a cancellation from the inputs.
func (c *Call) cancelled() {
	if n := len(c.Inputs); n > 0 && c.Inputs[n-1].Meta.Has(wire.KeyCancel) {
		c.Inputs, c.Cancelled = c.Inputs[:n-1], true
	}
}

// script keeps the output as it was sent, by turns.
func (b *streamCall) script(s *stream) {
	if !b.Stream {
		b.reply.before = s.bytes()
		return
	}
	for _, p := range s.parts {
		for len(b.reply.turns) <= p.after {
			b.reply.turns = append(b.reply.turns, nil)
		}
		b.reply.turns[p.after] = append(b.reply.turns[p.after], p.bytes...)
	}
}

func (c *Call) gap(why string, err error) {
	if err != nil {
		why += ": " + err.Error()
	}
	if c.Gap == "" {
		c.Gap = why
	}
}

// check finds what a recording cannot hold.
func (c *Call) check() {
	if c.Request != nil && c.Request.Meta.Has(vgirpc.KeyFiles) {
		c.gap("it brought files", nil)
	}
	for _, batches := range [][]*wire.Batch{{c.Request}, c.Inputs, c.Header, c.Answers} {
		for _, b := range batches {
			if b == nil {
				continue
			}
			switch b.Kind() {
			case wire.KindSHM:
				c.gap("a batch of it went through shared memory, which is not recorded", nil)
			case wire.KindExternal:
				c.gap("a batch of it is in external storage, which is not recorded", nil)
			default:
			}
		}
	}
}

// Canonical are the bytes by which two batches are the same: schema and values, in
// this package's own encoding, without metadata.
func Canonical(b *wire.Batch) ([]byte, error) {
	var out bytes.Buffer
	w := wire.NewWriter(&out)
	plain := *b
	plain.Meta = nil
	if err := errors.Join(w.Open(b.Schema), w.Batch(&plain), w.Close(), w.Flush()); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	return out.Bytes(), nil
}

// streamsOf splits a body into its streams, and reports whether it was whole.
func streamsOf(frames []*Frame) (streams []*stream, whole bool) {
	whole = true
	var cur *stream
	for _, f := range frames {
		switch f.Kind {
		case KindSchema:
			cur = &stream{}
			streams = append(streams, cur)
		case KindRaw, KindDropped:
			whole = false
		default:
		}
		if cur != nil && f.Bytes != nil && f.Kind != KindRaw {
			cur.add(f, 0)
		}
	}
	return streams, whole && (cur == nil || cur.ended)
}
