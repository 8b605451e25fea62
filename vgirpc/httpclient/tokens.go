package httpclient

import (
	"context"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// StreamTokens are all that a stream consists of between two turns (WIRE_PROTOCOL
// section 10): whoever has them can go on with it, in another process or against
// another server of the same keys. Both are opaque text, sealed by the server and
// bound to the method and to who called it. They are credentials: keep them out
// of logs.
type StreamTokens struct {
	// Cursor is where the stream is. Each turn gives a new one.
	Cursor string
	// Call is what all turns share; "" where the server has no use for it.
	Call string
}

// Tokens returns the tokens with which s goes on after the batch that its last
// Turn returned. There are none before the first turn, after the end, and of a
// stream that does not travel over HTTP.
func Tokens(s vgirpc.TurnStream) (StreamTokens, bool) {
	for s != nil {
		if st, ok := s.(*stream); ok {
			return StreamTokens{st.cursor, st.call}, st.cursor != "" && st.first == nil && !st.ended
		}
		wrapper, ok := s.(interface{ Unwrap() vgirpc.TurnStream })
		if !ok {
			break
		}
		s = wrapper.Unwrap()
	}
	return StreamTokens{}, false
}

// ResumeStream goes on with a stream of m from where tokens were taken. Its
// header, if it had one, has been read: that of the new stream is nil. Nothing
// is sent before its first turn, so that tokens which the server does not take
// any more fail that.
func (t *Transport) ResumeStream(ctx context.Context, m *vgirpc.Method, tokens StreamTokens) (vgirpc.TurnStream, error) {
	return resume(ctx, resumed{Transport: t, tokens: tokens}, m)
}

// ResumeStream is [Transport.ResumeStream] with the session's headers, for a
// stream that was opened in the session.
func (s *Session) ResumeStream(ctx context.Context, m *vgirpc.Method, tokens StreamTokens) (vgirpc.TurnStream, error) {
	return resume(ctx, resumed{Transport: s.t, s: s, tokens: tokens}, m)
}

func resume(ctx context.Context, r resumed, m *vgirpc.Method) (vgirpc.TurnStream, error) {
	if r.tokens.Cursor == "" {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "a stream of %s cannot go on without a cursor", m)
	}
	nothing := wire.EmptyBatch(wire.EmptySchema(), nil)
	return vgirpc.NewClientOn(r, r.client).OpenBatches(ctx, m, &nothing)
}

// resumed is a transport whose one stream is open already: by way of it, a client
// gives the stream all that it gives to streams that it opens.
type resumed struct {
	*Transport

	s      *Session // nil outside one
	tokens StreamTokens
}

// Open implements [vgirpc.Transport].
func (r resumed) Open(_ context.Context, req *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	return &stream{t: r.Transport, s: r.s, req: req, to: r.endpoint(req.Method), cursor: r.tokens.Cursor, call: r.tokens.Call}, nil
}
