package httpserver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/session"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// Headers of sticky sessions, in canonical form (sticky-sessions-spec section 2).
const (
	headerSession       = "Vgi-Session"
	headerSessionAccept = "Vgi-Session-Accept"
	headerSessionClose  = "Vgi-Session-Close"
	prefixEcho          = "VGI-Echo-"
)

// hostSessions prepares sticky sessions.
func (h *Handler) hostSessions() (err error) {
	sticky := h.opts.Sticky
	if sticky == nil {
		return nil
	}
	h.sessions, err = session.New(session.Options{
		TTL: sticky.TTL, MaxSessions: sticky.MaxSessions, Keys: h.keys, ServerID: h.server.ID(), Logger: h.log,
	})
	if err != nil {
		return fmt.Errorf("httpserver: %w", err)
	}
	for name, value := range sticky.EchoHeaders {
		h.echo = append(h.echo, newHeader(prefixEcho+name, value))
	}
	return nil
}

// echoNames lists the echo headers.
func echoNames(echo map[string]string) string {
	names := make([]string, 0, len(echo))
	for name := range echo {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// enterSession takes up the session that the request names, if any, and waits
// for its turn.
func (q *request) enterSession() (err error) {
	if q.h.sessions == nil {
		return nil
	}
	token, has := single(q.r.Header[headerSession])
	accept, _ := single(q.r.Header[headerSessionAccept])
	q.session, err = q.h.sessions.Begin(q, token, has, strings.EqualFold(accept, "true"), &q.peer.Identity)
	if err != nil {
		return &statusError{http.StatusOK, err}
	}
	return nil
}

// single is the value of a header that may be there once; a repeated one is
// there without a value that anybody could honour.
func single(values []string) (value string, ok bool) {
	switch len(values) {
	case 0:
		return "", false
	case 1:
		return values[0], true
	}
	return "", true
}

// leaveSession lets the next call of the session in, and tells the client what
// became of it.
func (q *request) leaveSession() {
	if q.session == nil {
		return
	}
	q.delivery.SessionAction, q.delivery.SessionID = q.session.Action(), q.session.ID()
	token, closed := q.session.Finish()
	out := q.w.Header()
	if closed {
		out[headerSessionClose] = []string{"true"}
	}
	if token != "" {
		out[headerSession] = []string{token}
		for i := range q.h.echo {
			out[q.h.echo[i].name] = q.h.echo[i].value
		}
	}
	q.session = nil
}

// serveTeardown ends a session at its client's wish. Whether there was one is
// told by nothing but the status.
func (h *Handler) serveTeardown(w http.ResponseWriter, r *http.Request) {
	var who vgirpc.Identity
	if id, ok := r.Context().Value(identityKey{}).(*vgirpc.Identity); ok {
		who = *id
	}
	token, ok := single(r.Header[headerSession])
	if ok && h.sessions.Teardown(r.Context(), token, &who) {
		w.Header()[headerSessionClose] = []string{"true"}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// sessionOf is the session machinery of a handler's context.
func sessionOf(ctx context.Context) (*session.Call, error) {
	if q := requestFrom(ctx); q != nil && q.session != nil {
		return q.session, nil
	}
	return nil, &vgirpc.Error{
		Code: vgirpc.FailedPrecondition, Type: "RuntimeError", Message: "sticky sessions not available on this transport",
	}
}

// OpenSession keeps state in this process and tells the client how to come back
// to it. ttl is how long, whatever happens meanwhile; 0 is the handler's own. A
// state that has a Close method is closed when the session ends. It fails where
// there are no sessions, when the client did not say that it keeps track of
// them (VGI-Session-Accept), when the call has a session already, and while the
// server drains.
func OpenSession(ctx context.Context, state any, ttl time.Duration) error {
	s, err := sessionOf(ctx)
	if err != nil {
		return err
	}
	return s.Open(state, ttl)
}

// Session is the state that the call's session was opened with, or nil.
func Session(ctx context.Context) any {
	s, err := sessionOf(ctx)
	if err != nil {
		return nil
	}
	return s.State()
}

// SessionID names the call's session in logs, with 24 hex digits; "" without
// one.
func SessionID(ctx context.Context) string {
	s, err := sessionOf(ctx)
	if err != nil {
		return ""
	}
	return s.ID()
}

// CloseSession ends the call's session, if it has one, and returns what closing
// its state returned.
func CloseSession(ctx context.Context) error {
	s, err := sessionOf(ctx)
	if err != nil {
		return err
	}
	return s.Close()
}

// Drain refuses new sessions from now on; open ones go on.
func (h *Handler) Drain() {
	if h.sessions != nil {
		h.sessions.Drain()
	}
}

// Undrain takes Drain back.
func (h *Handler) Undrain() {
	if h.sessions != nil {
		h.sessions.Undrain()
	}
}

// Shutdown closes every session. It waits for their calls as long as ctx lets
// it.
func (h *Handler) Shutdown(ctx context.Context) error {
	if h.sessions == nil {
		return nil
	}
	return h.sessions.Shutdown(ctx)
}
