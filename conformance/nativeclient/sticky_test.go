package nativeclient_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

// TestSticky is the lane of sticky sessions.
func TestSticky(t *testing.T) {
	bothServers(t, mode{prefix: "/vgi", sticky: true}, func(t *testing.T, e endpoint) {
		tr, rec := newTransport(t, e.url, httpclient.Options{}, vgirpc.ClientOptions{})
		t.Run("discovery tells of sessions, of their time and of the header to echo", func(t *testing.T) {
			_, h, err := e.do(t, http.MethodOptions, e.url+"/health")
			noError(t, err)
			equal(t, []string{h.Get("Vgi-Sticky-Enabled"), h.Get("Vgi-Sticky-Default-Ttl"), h.Get("Vgi-Sticky-Echo-Headers")},
				[]string{"true", "60", echoHeader})
			caps, err := tr.Capabilities(t.Context())
			noError(t, err)
			equal(t, []any{caps.Sticky, caps.StickyTTL, caps.StickyEcho}, []any{true, sessionTTL, []string{echoHeader}})
		})
		t.Run("a session goes from 10 over 15 to 13, and its token is stale after its close", func(t *testing.T) {
			testSession(t, tr, rec)
		})
		t.Run("streams carry the session", func(t *testing.T) { testSessionStreams(t, tr, rec) })
		t.Run("ending a live session tells the server once", func(t *testing.T) { testSessionEnd(t, tr, rec) })
		t.Run("a call outside of the session does not carry it", func(t *testing.T) {
			s := tr.Session()
			openAt(t, s, 1)
			rec.take()
			_, err := incrementSession.Call(t.Context(), tr.Client(), ByParams{By: 1})
			remote(t, err, "RuntimeError")
			h := rec.take()[0].header
			equal(t, []string{h.Get("Vgi-Session"), h.Get(echoHeader), h.Get("Vgi-Session-Accept")}, []string{"", "", ""})
			noError(t, s.End(t.Context()))
		})
		t.Run("without the client's consent no session is opened", func(t *testing.T) {
			_, err := openClientSession.Call(t.Context(), tr.Client(), InitialParams{Initial: 10})
			equal(t, vgirpc.IsRemote(err), true)
		})
	})
}

func openAt(t *testing.T, s *httpclient.Session, initial int64) {
	t.Helper()
	got, err := openClientSession.Call(t.Context(), s.Client(), InitialParams{Initial: initial})
	noError(t, err)
	equal(t, got, initial)
}

func testSession(t *testing.T, tr *httpclient.Transport, rec *recorder) {
	t.Helper()
	rec.take()
	s := tr.Session()
	openAt(t, s, 10)
	opening := rec.take()[0]
	equal(t, opening.header["Vgi-Session-Accept"], []string{"true"})
	token, echo := s.Token(), s.EchoHeaders()
	equal(t, token != "", true)
	equal(t, token, opening.respHeader.Get("Vgi-Session"))
	equal(t, opening.respHeader.Get("Vgi-Echo-"+echoHeader), echoText)
	equal(t, echo, map[string]string{http.CanonicalHeaderKey(echoHeader): echoText})

	for _, step := range []struct{ by, want int64 }{{5, 15}, {-2, 13}} {
		got, err := incrementSession.Call(t.Context(), s.Client(), ByParams{By: step.by})
		noError(t, err)
		equal(t, got, step.want)
		carries(t, rec.take(), token)
	}
	got, err := closeClientSession.Call(t.Context(), s.Client(), vgirpc.None{})
	noError(t, err)
	equal(t, got, int64(13))
	closing := rec.take()
	carries(t, closing, token)
	equal(t, closing[0].respHeader.Get("Vgi-Session-Close"), "true")
	equal(t, s.Token(), "")
	equal(t, len(s.EchoHeaders()), 0)
	noError(t, s.End(t.Context()))
	equal(t, len(rec.take()), 0) // nothing is left to be told

	stale, err := tr.Resume(token, echo)
	noError(t, err)
	_, err = incrementSession.Call(t.Context(), stale.Client(), ByParams{By: 1})
	remote(t, err, "SessionLostError")
	equal(t, errors.Is(err, &vgirpc.Error{Kind: vgirpc.KindSessionLost}), true)
	carries(t, rec.take(), token)
}

// carries reports requests without the session's token and echo header.
func carries(t *testing.T, all []seen, token string) {
	t.Helper()
	if len(all) == 0 {
		t.Error("there was no request")
	}
	for _, s := range all {
		equal(t, []string{s.header.Get("Vgi-Session"), s.header.Get(echoHeader)}, []string{token, echoText})
	}
}

func testSessionStreams(t *testing.T, tr *httpclient.Transport, rec *recorder) {
	t.Helper()
	s := tr.Session()
	openAt(t, s, 1)
	rec.take()
	got, _ := produce(t, s.Client(), producerSequence, SequenceParams{Count: 2, PayloadBytes: 4})
	equal(t, got, items(2, 4))
	x, err := typedExchange.Open(t.Context(), s.Client(), vgirpc.None{})
	noError(t, err)
	_, err = x.Exchange(t.Context(), populated(t))
	noError(t, err)
	noError(t, x.Close())
	seen := rec.take()
	equal(t, len(seen), 5)
	carries(t, seen, s.Token())
	noError(t, s.End(t.Context()))
}

func testSessionEnd(t *testing.T, tr *httpclient.Transport, rec *recorder) {
	t.Helper()
	s := tr.Session()
	openAt(t, s, 1)
	token, echo := s.Token(), s.EchoHeaders()
	rec.take()
	noError(t, s.End(t.Context()))
	noError(t, s.End(t.Context()))
	noError(t, s.Client().Close())
	seen := rec.take()
	equal(t, lines(seen), []string{"DELETE /vgi/__session__"})
	carries(t, seen, token)
	_, err := incrementSession.Call(t.Context(), s.Client(), ByParams{By: 1})
	equal(t, vgirpc.CodeOf(err), vgirpc.FailedPrecondition)

	gone, err := tr.Resume(token, echo)
	noError(t, err)
	_, err = incrementSession.Call(t.Context(), gone.Client(), ByParams{By: 1})
	remote(t, err, "SessionLostError")
}
