package httpclient

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// Bounds of what a server may ask a session to send back.
const (
	maxEchoHeaders = 32
	maxEchoBytes   = 8 << 10
)

// tokenBytes are what the name of a header consists of (RFC 9110, section 5.6.2).
const tokenBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

// closeTimeout is how long closing a session's client waits for the server.
const closeTimeout = 5 * time.Second

// Session is a scope of calls in which methods may open a sticky session
// (sticky-sessions-spec.md): state that lives in one process of the server until
// it is closed, expires, or that process ends. Calls of [Session.Client] carry
// the session's token, once a method has opened one, and the headers that the
// server asked for; calls of other clients of the same [Transport] do not.
//
// A session that the server does not have any more fails a call with an error of
// kind [vgirpc.KindSessionLost], and nothing is tried again: what the state was, only
// the caller knows. A Session is safe for concurrent use; the server runs the
// calls of one session one after another.
type Session struct {
	t *Transport

	mu       sync.Mutex
	token    string
	echo     map[string]string // by canonical name
	detached bool
	ended    bool
}

// Session returns a new scope, without a session so far.
func (t *Transport) Session() *Session { return &Session{t: t} }

// Resume returns a scope with a session that was detached elsewhere, by its
// token and the headers to send along.
func (t *Transport) Resume(token string, echo map[string]string) (*Session, error) {
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "a session token is one word of ASCII")
	}
	s := &Session{t: t, token: token, echo: map[string]string{}}
	for name, value := range echo {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if !t.mayEcho(canonical, value) {
			return nil, vgirpc.Errorf(vgirpc.InvalidArgument, "a session cannot send the header %q", wire.Clip(name, 60))
		}
		s.echo[canonical] = value
	}
	return s, nil
}

// Client returns a client whose calls belong to the session. Closing it ends the
// session; the transport stays open.
func (s *Session) Client() *vgirpc.Client { return vgirpc.NewClientOn(sessionTransport{s}, s.t.client) }

// Token is the token of the open session, "" without one.
func (s *Session) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// EchoHeaders are the headers that go with the open session, by canonical name.
func (s *Session) EchoHeaders() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.echo)
}

// Detach returns what [Transport.Resume] needs to go on with the session, here
// or in another process, and makes End leave the session to the server. The
// token is "" when no session is open. The token is a credential.
func (s *Session) Detach() (token string, echo map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detached = true
	return s.token, maps.Clone(s.echo)
}

// End ends the scope: its clients refuse further calls, and the server is told
// to close the session, unless there is none or it was detached. Ending again
// does nothing. The error says that the server was not told: the session lives
// there until it expires.
func (s *Session) End(ctx context.Context) error {
	s.mu.Lock()
	token, echo := s.token, s.echo
	tell := !s.ended && !s.detached && token != ""
	s.ended, s.token, s.echo = true, "", nil
	s.mu.Unlock()
	if !tell {
		return nil
	}
	return s.t.endSession(ctx, token, echo)
}

// endSession tells the server to close a session.
func (t *Transport) endSession(ctx context.Context, token string, echo map[string]string) error {
	req := t.session.WithContext(ctx)
	req.Header = maps.Clone(req.Header)
	if t.opts.Authorize != nil {
		if err := t.opts.Authorize(ctx, req.Header); err != nil {
			return authorizeError(err)
		}
	}
	sendBack(req.Header, echo)
	req.Header[headerSession] = []string{token}
	resp, err := t.rt.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return vgirpc.ContextError(ctx)
		}
		return t.lost(err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxForeign))
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return unauthorized(resp, body)
	case resp.StatusCode/100 != 2:
		return statusError(resp, "end of a session", time.Now())
	case err != nil:
		return brokenOff(err)
	}
	return nil
}

// apply sets the headers of a request of the session, and returns the token that
// it carries.
func (s *Session) apply(h http.Header) (token string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return "", vgirpc.Errorf(vgirpc.FailedPrecondition, "the session has ended")
	}
	h[headerSessionAccept] = []string{"true"}
	if s.token != "" {
		h[headerSession] = []string{s.token}
		sendBack(h, s.echo)
	}
	return s.token, nil
}

// sendBack puts the headers that the server asked for beside those that h has:
// what the caller has set, Authorize too, is not the server's to replace.
func sendBack(h http.Header, echo map[string]string) {
	for name, value := range echo {
		if _, taken := h[name]; !taken {
			h[name] = []string{value}
		}
	}
}

// observe takes what a response says of the session: sent is the token that the
// request carried.
func (s *Session) observe(sent string, h http.Header) {
	minted, closed := h.Get(headerSession), h.Get(headerSessionClose) == "true"
	if minted == "" && !closed {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if minted != "" {
		s.token, s.echo = minted, s.t.echoes(h)
		return
	}
	// A session that was opened since is not the one that was closed.
	if s.token == sent {
		s.token, s.echo = "", nil
	}
}

// echoes are the headers that an opening response asks to send back.
func (t *Transport) echoes(h http.Header) map[string]string {
	out := map[string]string{}
	for key, values := range h {
		name, ok := strings.CutPrefix(key, headerEchoPrefix)
		if !ok || len(values) == 0 {
			continue
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if len(out) == maxEchoHeaders || !t.mayEcho(name, values[0]) {
			t.opts.Logger.Debug("an echo header of the server is ignored", "name", wire.Clip(name, 60))
			continue
		}
		out[name] = values[0]
	}
	return out
}

// mayEcho reports whether a server may have the client send a header: none that
// the protocol, the connection or the caller sets, and no credential.
func (t *Transport) mayEcho(name, value string) bool {
	if name == "" || len(name)+len(value) > maxEchoBytes || slices.Contains(reserved, name) {
		return false
	}
	if strings.Trim(name, tokenBytes) != "" {
		return false
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return false
	}
	switch name {
	case "Authorization", "Cookie", headerRequestID, "Keep-Alive":
		return false
	}
	if strings.HasPrefix(name, "Vgi-") || strings.HasPrefix(name, "Proxy-") {
		return false
	}
	_, callers := t.rpcHeader[name]
	return !callers
}

// sessionTransport is a session as the transport of a client.
type sessionTransport struct{ s *Session }

// Call implements [vgirpc.Transport].
func (v sessionTransport) Call(ctx context.Context, req *vgirpc.ClientRequest) (*wire.Batch, func(), error) {
	return v.s.t.call(ctx, v.s, req)
}

// Open implements [vgirpc.Transport].
func (v sessionTransport) Open(ctx context.Context, req *vgirpc.ClientRequest) (vgirpc.TurnStream, error) {
	return v.s.t.open(ctx, v.s, req)
}

// Close implements [vgirpc.Transport].
func (v sessionTransport) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return v.s.End(ctx)
}
